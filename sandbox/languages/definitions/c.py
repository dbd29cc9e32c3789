"""C and C++ by GCC, linked statically."""

from sandbox.languages.language import Language

C_HELLO = '#include <stdio.h>\nint main(void) { puts("Hello, world!"); return 0; }\n'
CPP_HELLO = '#include <iostream>\nint main() { std::cout << "Hello, world!\\n"; }\n'
OPTIONS = ("-O2", "-static", "-pipe", "-w", "-DONLINE_JUDGE", "-o", "main", "{source}")


def _cpp(name: str, standard: str, **names: object) -> Language:
    return Language(
        name,
        lexer="cpp",
        family="c",
        hello=CPP_HELLO,
        source_name="main.cpp",
        run=("{program}/main",),
        compile=("g++", "-x", "c++", f"-std={standard}", *OPTIONS),
        version=("g++", "--version"),
        static=True,
        precompiled_header=True,
        in_landlock=True,
        **names,  # type: ignore[arg-type]
    )


LANGUAGES = (
    Language(
        "c",
        aliases=("gnu c", "c11", "c17", "c99", "gcc", "clang"),
        suffixes=(".c",),
        lexer="cpp",
        family="c",
        hello=C_HELLO,
        source_name="main.c",
        run=("{program}/main",),
        compile=("gcc", "-std=gnu17", *OPTIONS, "-lm"),
        version=("gcc", "--version"),
        static=True,
        in_landlock=True,
    ),
    _cpp(
        "cpp",
        "gnu++20",
        aliases=(
            "c++", "cc", "cxx", "g++", "gnu c++", "gnu g++", "ms c++", "microsoft visual c++", "visual c++",
            "clangx", "cpp20", "c++20", "g++20", "gnu c++20", "gnu g++20", "cpp23", "c++23", "g++23",
            "gnu c++23", "gnu g++23",
        ),
        suffixes=(".cpp", ".cc", ".cxx", ".c++", ".C"),
    ),
    _cpp(
        "cpp17",
        "gnu++17",
        aliases=(
            "c++17", "g++17", "gnu c++17", "gnu g++17", "clang++17 diagnostics", "gnu c++17 diagnostics",
            "cpp14", "c++14", "g++14", "gnu c++14", "gnu g++14", "cpp11", "c++11", "g++11", "gnu c++11",
            "gnu c++0x", "c++0x", "cpp03", "c++03",
        ),
        variant_of="cpp",
    ),
)  # fmt: skip
