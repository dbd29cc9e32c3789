"""C and C++ by GCC, linked statically where the machine has the libraries for it.

Plain C++ is compiled by the standard that most programs are written for, and by an older one where that
refuses the program: `size` and `byte` of the later ones clash with global names.
"""

from sandbox.languages.language import Language

C_HELLO = (
    "#include <stdio.h>\n"
    'int main(void) { char s[99]; if (scanf("%98s", s) == 1) printf("Hello, %s!\\n", s); return 0; }\n'
)
CPP_HELLO = (
    "#include <iostream>\n#include <string>\n"
    'int main() { std::string s; std::cin >> s; std::cout << "Hello, " << s << "!\\n"; }\n'
)
OPTIONS = ("-O2", "-static", "-pipe", "-w", "-DONLINE_JUDGE", "-o", "main", "{source}")
# Since glibc 2.34, <bits/stdc++.h> includes <unistd.h>, through <csignal>: `int link[9]` compiles elsewhere.
UNISTD_CLASH = r"/usr/include/unistd\.h:\d+:\d+: note: previous declaration"
WITHOUT_UNISTD = "#include <features.h>\n#undef __USE_DYNAMIC_STACK_SIZE\n"
LOCALE = ("/usr/lib/locale/C.utf8",)  # of every jail's environment, for std::locale("")


def _c(name: str, standard: str, **fields: object) -> Language:
    return Language(
        name,
        lexer="cpp",
        family="c",
        hello=C_HELLO,
        source_name="main.c",
        run=("{program}/main",),
        compile=("gcc", "-std={standard}", *OPTIONS, "-lm"),
        version=("gcc", "--version"),
        folders=LOCALE,
        standards=(standard,),
        compiles_all=True,
        static=True,
        in_landlock=True,
        **fields,  # type: ignore[arg-type]
    )


def _cpp(name: str, *standards: str, **fields: object) -> Language:
    return Language(
        name,
        lexer="cpp",
        family="c",
        hello=CPP_HELLO,
        source_name="main.cpp",
        run=("{program}/main",),
        compile=("g++", "-x", "c++", "-std={standard}", *OPTIONS),
        version=("g++", "--version"),
        folders=LOCALE,
        standards=standards,
        name_clash=UNISTD_CLASH,
        fewer_names=WITHOUT_UNISTD,
        compiles_all=True,
        static=True,
        precompiled_header=True,
        in_landlock=True,
        **fields,  # type: ignore[arg-type]
    )


def _names(year: str) -> tuple[str, ...]:
    """What sites call C++ of one year, with other names than the row's own."""
    return (
        f"c++{year}", f"g++{year}", f"gnu c++{year}", f"gnu g++{year}", f"clang++{year}",
        f"clang++{year} diagnostics", f"gnu c++{year} diagnostics", f"gnu++{year}",
    )  # fmt: skip


C_SUFFIXES, CPP_SUFFIXES = (".c",), (".cpp", ".cc", ".cxx", ".c++", ".C")

LANGUAGES = (
    _c("c", "gnu17", aliases=("gnu c", "c17", "c18", "gcc", "clang"), suffixes=C_SUFFIXES),
    _c("c11", "gnu11", aliases=("c99", "gnu c11", "gnu c99", "c99 strict"), variant_of="c"),
    _cpp(
        "cpp",
        "gnu++20",
        "gnu++17",
        "gnu++14",
        aliases=(
            "c++", "cc", "cxx", "g++", "gnu c++", "gnu g++", "ms c++", "microsoft visual c++", "visual c++",
            "msvc", "clangx", "clang++", "c cpp", "iso c++",
        ),
        suffixes=CPP_SUFFIXES,
    ),
    _cpp("cpp98", "gnu++98", aliases=(*_names("98"), *_names("03"), "cpp03"), variant_of="cpp"),
    _cpp("cpp11", "gnu++11", aliases=(*_names("11"), *_names("0x"), "cpp0x"), variant_of="cpp"),
    _cpp("cpp14", "gnu++14", aliases=(*_names("14"), "c++1y"), variant_of="cpp"),
    _cpp("cpp17", "gnu++17", aliases=(*_names("17"), "c++1z"), variant_of="cpp"),
    _cpp("cpp20", "gnu++20", aliases=(*_names("20"), "c++2a"), variant_of="cpp"),
    _cpp("cpp23", "gnu++23", aliases=(*_names("23"), "c++2b"), variant_of="cpp"),
)  # fmt: skip
