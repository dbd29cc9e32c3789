"""One vocabulary for languages and verdicts: what other files say of them is in the table, or in the
enumeration.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.dedup.lexers import LEXERS, lexer_of
from pipeline.store.tables import TABLES
from pipeline.text.detect import LANGUAGE_PATTERNS
from pipeline.text.names import VERDICT_NAMES, language_name, suffix_language
from sandbox.languages import LANGUAGES

STORE = Path(__file__).parents[2] / "pipeline" / "store"
QUERIES = sorted([*(STORE / "views").glob("*.sql"), *(STORE / "questions").glob("*.sql")])
VERDICTS = {
    "accepted", "wrong_answer", "runtime_error", "time_limit_exceeded", "memory_limit_exceeded",
    "output_limit_exceeded", "compile_error", "no_program", "language_unavailable", "judge_error",
}  # fmt: skip
CLAIMS = (VERDICTS - {"language_unavailable", "judge_error"}) | {"partial", "rejected"}
COMPARED = re.compile(
    r"(?:verdict|claimed_verdict)\s*(?:=|<>|(?:NOT\s+)?IN)\s*\(?((?:\s*'\w+'\s*,?)+)", re.IGNORECASE
)


def allowed(table: str, column: str) -> set[str]:
    (rule,) = TABLES[table].schema.columns()[column].check.values()
    return set(rule.allowed)


def test_the_enumerations_are_the_contracts():
    assert allowed("verdicts", "verdict") == VERDICTS
    assert allowed("trajectories", "claimed_verdict") == CLAIMS
    assert allowed("trajectories", "language") >= {
        "c", "cpp", "csharp", "go", "haskell", "java", "javascript", "kotlin", "pascal", "php", "python2",
        "python3", "ruby", "rust", "scala", "unknown",
    }  # fmt: skip


def test_names_of_verdicts_lead_to_claims():
    assert set(VERDICT_NAMES.values()) == CLAIMS


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_queries_compare_with_verdicts_that_exist(path):
    compared = {word for words in COMPARED.findall(path.read_text()) for word in re.findall(r"\w+", words)}
    assert compared <= VERDICTS | CLAIMS


def test_the_pattern_finds_verdicts_in_queries():
    """Otherwise the test above could not fail."""
    actual = [
        word
        for path in QUERIES
        for words in COMPARED.findall(path.read_text())
        for word in re.findall(r"\w+", words)
    ]
    assert len(actual) > 20 and {"accepted", "judge_error", "rejected"} <= set(actual)


def test_every_language_has_a_lexer_that_exists():
    assert {row.lexer for row in LANGUAGES} <= set(LEXERS)


def test_the_lexers_of_languages():
    named = {
        name: lexer_of(name).name
        for name in ("python2", "c", "cpp", "java", "go", "php", "haskell", "unknown")
    }
    assert named == {
        "python2": "python", "c": "cpp", "cpp": "cpp", "java": "java", "go": "braces", "php": "php",
        "haskell": "plain", "unknown": "plain",
    }  # fmt: skip


def test_languages_detected_by_their_text_are_in_the_table():
    assert set(LANGUAGE_PATTERNS) <= {row.name for row in LANGUAGES}


def test_names_and_suffixes_lead_to_stored_names():
    """C++17 has a row of its own for the judge; the store knows one C++."""
    assert language_name("GNU C++17 (64)") == "cpp"
    assert language_name("brainfuck") == "brainfuck"
    assert language_name(None) is None
    assert [suffix_language(suffix) for suffix in (".cc", ".C", ".c", ".exe")] == ["cpp", "cpp", "c", None]
