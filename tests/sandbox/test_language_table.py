"""The language table: the names that sites and data sets use, and that each row names one language alone."""

from __future__ import annotations

import pytest

from sandbox import languages
from sandbox.languages import (
    LANGUAGES,
    Language,
    UnknownLanguage,
    find_language,
    language_of_fence,
    language_of_suffix,
    require_language,
)

# As the sites print them, versions and all; the right side is the row that judges such a program.
NAMES_OF_SITES = {
    "codeforces": {
        "GNU C11": "c11",
        "GNU C++17 7.3.0": "cpp17",
        "GNU C++17 (64)": "cpp17",
        "GNU C++14": "cpp14",
        "GNU C++20 13 (64 bit, winlibs)": "cpp20",
        "C++20 (GCC 13-64)": "cpp20",
        "C++23 (GCC 14-64, msys2)": "cpp23",
        "C++17 (GCC 7-32)": "cpp17",
        "GNU C++11 5.1.0": "cpp11",
        "GNU C++0x 4": "cpp11",
        "MS C++": "cpp",
        "MS C++ 2017": "cpp",
        "Microsoft Visual C++ 2010": "cpp",
        "Clang++17 Diagnostics": "cpp17",
        "Clang++20 Diagnostics": "cpp20",
        "Python 2": "python2",
        "Python 3": "python3",
        "PyPy 2": "pypy2",
        "PyPy 3": "pypy3",
        "PyPy 3-64": "pypy3",
        "PYP3": "pypy3",
        "C99_STRICT": "c11",
        "PAS_FPC": "pascal",
        "CAML": "ocaml",
        "c_cpp": "cpp",
        "C# 11.0 AOT (.NET 7.0.7)": "csharp",
        "JavaScript Node 20": "javascript",
        "PyPy 3.6 (7.2.0)": "pypy3",
        "Python 3.8.10": "python3",
        "Java 8": "java",
        "Java 21 64bit": "java",
        "Kotlin 1.9": "kotlin",
        "Mono C#": "csharp",
        "C# 8, .NET Core 3.1": "csharp",
        "JavaScript": "javascript",
        "Node.js 15.8.0 (64bit)": "javascript",
        "Go 1.22.2": "go",
        "Rust 1.75.0 (2021)": "rust",
        "Haskell": "haskell",
        "FPC 3.2.2": "pascal",
        "Delphi 7": "pascal",
        "PascalABC.NET": "pascal",
        "PHP 8.1.7": "php",
        "Ruby 3": "ruby",
        "Scala 2.12": "scala",
        "D DMD32 v2.105.0": "d",
        "OCaml 4.02.1": "ocaml",
        "Perl 5.20.1": "perl",
        "C# 10, .NET SDK 6.0": "csharp",
        "C# Mono 6.8": "csharp",
        "Java 11.0.6": "java",
        "Kotlin 1.7": "kotlin",
        "Free Pascal 3.0.2": "pascal",
        "FPC": "pascal",
    },
    "atcoder": {
        "C (gcc 12.2.0)": "c",
        "C++ 20 (gcc 12.2)": "cpp20",
        "C++ 23 (gcc 12.2)": "cpp23",
        "C++ 17 (Clang 16.0.6)": "cpp17",
        "C++ (GCC 9.2.1)": "cpp",
        "C++14 (GCC 5.4.1)": "cpp14",
        "Python (CPython 3.11.4)": "python3",
        "Python (PyPy 3.10-v7.3.12)": "pypy3",
        "PyPy3 (7.3.0)": "pypy3",
        "Python3 (3.8.2)": "python3",
        "Python2 (2.7.6)": "python2",
        "Java (OpenJDK 17)": "java",
        "Java8 (OpenJDK 1.8.0)": "java",
        "C# 11.0 (.NET 7.0.7)": "csharp",
        "JavaScript (Node.js 18.16.1)": "javascript",
        "Kotlin (Kotlin/JVM 1.8.20)": "kotlin",
        "Scala 3.3.0 (Scala Native 0.4.14)": "scala",
        "Haskell (GHC 9.4.5)": "haskell",
        "Ruby (ruby 3.2.2)": "ruby",
        "Perl (perl 5.34)": "perl",
        "PHP (php 8.2.8)": "php",
        "D (LDC 1.32.2)": "d",
        "Lua (Lua 5.4.6)": "lua",
        "Lua (LuaJIT 2.1.0)": "lua",
        "Bash (bash 5.2.2)": "bash",
        "TypeScript 5.1 (Node.js 18.16.1)": "typescript",
        "R (GNU R 4.2.1)": "r",
        "Julia (Julia 1.9.2)": "julia",
        "Swift (swift 5.8.1)": "swift",
        "OCaml (ocamlopt 5.0.0)": "ocaml",
        "Pascal (fpc 3.2.2)": "pascal",
        "Go (go 1.20.6)": "go",
        "Rust (rustc 1.70.0)": "rust",
    },
    "codechef": {
        "C++17": "cpp17",
        "JAVA": "java",
        "PYTH": "python2",
        "PYTH 3": "python3",
        "PYTH 3.6": "python3",
        "PYPY 3": "pypy3",
        "KTLN": "kotlin",
        "NODEJS": "javascript",
        "JS": "javascript",
        "PAS fpc": "pascal",
        "HASK": "haskell",
        "RUBY": "ruby",
    },
    "kattis": {"C#": "csharp", "JavaScript (Node.js)": "javascript", "Python 2": "python2", "C++": "cpp"},
    "dmoj": {
        "PY2": "python2",
        "PY3": "python3",
        "PYPY3": "pypy3",
        "CPP17": "cpp17",
        "CPP20": "cpp20",
        "CPP03": "cpp98",
        "CPP11": "cpp11",
        "CPP14": "cpp14",
        "C11": "c11",
        "JAVA8": "java",
        "MONOCS": "csharp",
        "V8JS": "javascript",
        "PAS": "pascal",
        "GO": "go",
    },
    "data sets": {"cpp": "cpp", "python2?": "python2", "python": "python3", "golang": "go", "rs": "rust"},
}  # fmt: skip
CASES = [(site, name, row) for site, names in NAMES_OF_SITES.items() for name, row in names.items()]


@pytest.mark.parametrize(("site", "name", "row"), CASES, ids=[f"{site} {name}" for site, name, _ in CASES])
def test_the_names_that_sites_use(site, name, row):
    assert require_language(name).name == row


@pytest.mark.parametrize("name", ["", "befunge", "python three", "text", "3", "unknown", "++"])
def test_other_names_are_unknown(name):
    assert find_language(name) is None


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("pyhton", "python3"), ("javasript", "javascript"), ("rustt", "rust"), ("pythn2", "python2")],
)
def test_an_unknown_name_suggests_a_similar_one(name, suggested):
    with pytest.raises(
        UnknownLanguage,
        match=rf"unknown language '{name}'; did you mean .*{suggested}.*\?; known are: bash, c, ",
    ):
        require_language(name)


def test_nothing_is_suggested_where_nothing_is_similar():
    with pytest.raises(UnknownLanguage, match=r"^unknown language 'befunge'; known are: "):
        require_language("befunge")


@pytest.mark.parametrize(
    ("suffix", "row"),
    [(".py", "python3"), (".C", "cpp"), (".c", "c"), (".CC", "cpp"), (".Java", "java"), (".txt", None)],
)
def test_suffixes(suffix, row):
    actual = language_of_suffix(suffix)
    assert (actual and actual.name) == row


@pytest.mark.parametrize(
    ("word", "row"),
    [("python", "python3"), ("c++", "cpp"), ("objectpascal", "pascal"), ("text", None), ("", None)],
)
def test_words_behind_a_fence(word, row):
    actual = language_of_fence(word)
    assert (actual and actual.name) == row


def test_two_rows_with_one_name_are_refused(monkeypatch):
    """Otherwise the order of the files would decide which one is found."""
    monkeypatch.setattr(languages.table, "LANGUAGES", (*LANGUAGES, Language("other", aliases=("golang",))))
    with pytest.raises(ValueError, match="languages go and other share the name 'golang'"):
        languages.table._index("name", lambda row: (row.name, *row.aliases))


def test_variants_are_stored_under_a_language_of_the_table():
    assert {row.name: row.stored_name for row in LANGUAGES if row.variant_of} == {
        "c11": "c", "cpp98": "cpp", "cpp11": "cpp", "cpp14": "cpp", "cpp17": "cpp", "cpp20": "cpp",
        "cpp23": "cpp", "pypy3": "python3", "pypy2": "python2", "go_test": "go", "d_ut": "d",
        "java_assertions": "java", "junit": "java", "kotlin_script": "kotlin", "pytest": "python3",
        "jest": "typescript", "python_gpu": "python3",
    }  # fmt: skip


SLOW_COMPILERS = ("kotlin", "kotlin_script", "junit", "scala", "haskell")
JUDGED = [
    pytest.param(row, id=row.name, marks=[pytest.mark.slow] if row.name in SLOW_COMPILERS else [])
    for row in LANGUAGES
    if languages.toolchain(row)
]


@pytest.mark.parametrize("row", JUDGED)
def test_the_hello_program_runs(judge, row):
    """The proof that the tool chain works, by the row's own program."""
    judgement = judge(row.name, row.hello, ("world\n", "Hello, world!\n"))
    assert judgement.verdict == "accepted", judgement
