"""Names that sources use for languages, verdicts and checkers, and the contract's word for each."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pipeline.store import CLAIMED_VERDICTS
from sandbox.languages import find_language, language_of_suffix

VERDICT_NAMES = {
    **{name: name for name in CLAIMED_VERDICTS},
    "ac": "accepted",
    "ok": "accepted",
    "correct": "accepted",
    "pass": "accepted",
    "passed": "accepted",
    "wa": "wrong_answer",
    "wrong answer": "wrong_answer",
    "wrong": "wrong_answer",
    "re": "runtime_error",
    "rte": "runtime_error",
    "runtime error": "runtime_error",
    "tle": "time_limit_exceeded",
    "time limit exceeded": "time_limit_exceeded",
    "timeout": "time_limit_exceeded",
    "mle": "memory_limit_exceeded",
    "memory limit exceeded": "memory_limit_exceeded",
    "ole": "output_limit_exceeded",
    "output limit exceeded": "output_limit_exceeded",
    "ce": "compile_error",
    "compile error": "compile_error",
    "compilation error": "compile_error",
    "partially accepted": "partial",
    "fail": "rejected",
    "failed": "rejected",
    "incorrect": "rejected",
}

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}


def split_of(name: str, default: str = "none") -> str:
    """The split that a file or else a folder above it is named after: train-00000-of-00039.parquet,
    set-test.jsonl, train/x.
    """
    for part in reversed(PurePosixPath(name).parts):
        for word in re.split(r"[-._]", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return default


def language_name(name: object) -> object:
    """The store's name of a language; an unknown one is returned as it is, for the contract to refuse."""
    language = find_language(name) if isinstance(name, str) else None
    return language.stored_name if language else name


def suffix_language(suffix: str) -> str | None:
    """The store's name of the language that owns a file suffix such as `.py`; None for any other suffix."""
    language = language_of_suffix(suffix)
    return language.stored_name if language else None


def verdict_name(name: object) -> object:
    """The contract's word for a claimed verdict; null stays null, what is not known is handed on."""
    return VERDICT_NAMES.get(name.strip().lower(), name) if isinstance(name, str) else name
