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
        "GNU C11": "c",
        "GNU C++17 7.3.0": "cpp17",
        "GNU C++17 (64)": "cpp17",
        "GNU C++14": "cpp17",
        "GNU C++20 13 (64 bit, winlibs)": "cpp",
        "C++20 (GCC 13-64)": "cpp",
        "C++23 (GCC 14-64, msys2)": "cpp",
        "C++17 (GCC 7-32)": "cpp17",
        "MS C++ 2017": "cpp",
        "Clang++17 Diagnostics": "cpp17",
        "Python 2": "python2",
        "Python 3": "python3",
        "PyPy 2": "python2",
        "PyPy 3": "python3",
        "PyPy 3-64": "python3",
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
    },
    "atcoder": {
        "C (gcc 12.2.0)": "c",
        "C++ 20 (gcc 12.2)": "cpp",
        "C++ (GCC 9.2.1)": "cpp",
        "C++14 (GCC 5.4.1)": "cpp17",
        "Python (CPython 3.11.4)": "python3",
        "Python (PyPy 3.10-v7.3.12)": "python3",
        "PyPy3 (7.3.0)": "python3",
        "Python3 (3.8.2)": "python3",
        "Python2 (2.7.6)": "python2",
        "Java (OpenJDK 17)": "java",
        "Java8 (OpenJDK 1.8.0)": "java",
        "C# 11.0 (.NET 7.0.7)": "csharp",
        "JavaScript (Node.js 18.16.1)": "javascript",
        "Kotlin (Kotlin/JVM 1.8.20)": "kotlin",
        "Scala 3.3.0 (Scala Native 0.4.14)": "scala",
        "Haskell (GHC 9.4.5)": "haskell",
    },
    "codechef": {
        "C++17": "cpp17",
        "JAVA": "java",
        "PYTH": "python2",
        "PYTH 3": "python3",
        "PYTH 3.6": "python3",
        "PYPY 3": "python3",
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
        "PYPY3": "python3",
        "CPP17": "cpp17",
        "CPP20": "cpp",
        "C11": "c",
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


@pytest.mark.parametrize("name", ["", "befunge", "python three", "text", "sql", "3", "unknown", "++"])
def test_other_names_are_unknown(name):
    assert find_language(name) is None


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("pyhton", "python3"), ("javasript", "javascript"), ("rustt", "rust"), ("pythn2", "python2")],
)
def test_an_unknown_name_suggests_a_similar_one(name, suggested):
    with pytest.raises(
        UnknownLanguage, match=rf"unknown language '{name}'; did you mean .*{suggested}.*\?; known are: c, "
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
    found = language_of_suffix(suffix)
    assert (found and found.name) == row


@pytest.mark.parametrize(
    ("word", "row"),
    [("python", "python3"), ("c++", "cpp"), ("objectpascal", "pascal"), ("text", None), ("", None)],
)
def test_words_behind_a_fence(word, row):
    found = language_of_fence(word)
    assert (found and found.name) == row


def test_two_rows_with_one_name_are_refused(monkeypatch):
    """Otherwise the order of the files would decide which one is found."""
    monkeypatch.setattr(languages.table, "LANGUAGES", (*LANGUAGES, Language("other", aliases=("golang",))))
    with pytest.raises(ValueError, match="languages go and other share the name 'golang'"):
        languages.table._index("name", lambda row: (row.name, *row.aliases))


def test_variants_are_stored_under_a_language_of_the_table():
    assert {row.name: row.stored_name for row in LANGUAGES if row.variant_of} == {"cpp17": "cpp"}


JUDGED = [row for row in LANGUAGES if languages.toolchain(row)]


@pytest.mark.parametrize("row", JUDGED, ids=lambda row: row.name)
def test_the_hello_program_runs(judge, row):
    """The proof that the tool chain works, by the row's own program."""
    judgement = judge(row.name, row.hello, ("", "Hello, world!\n"))
    assert judgement.verdict == "accepted", judgement
