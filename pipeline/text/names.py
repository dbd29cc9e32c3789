"""Maps the names that sources use for languages, verdicts and splits to the names in the contracts."""

from __future__ import annotations

import re
from functools import lru_cache
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
    "no program": "no_program",
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


def split_name(name: str, default: str = "none") -> str:
    """The split in the name of a file, else of a folder above it: train-00000-of-00039.parquet, train/x."""
    for part in reversed(PurePosixPath(name).parts):
        for word in re.split(r"[-._]", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return default


def language_name(name: object) -> object:
    """The store's name of a language. An unknown name is returned unchanged; the contract will refuse it."""
    return _stored_language(name) if isinstance(name, str) else name


@lru_cache(1024)
def _stored_language(name: str) -> str:
    language = find_language(name)
    return language.stored_name if language else name


def suffix_language(suffix: str) -> str | None:
    """The store's name of the language of a file suffix such as `.py`; None if there is none."""
    language = language_of_suffix(suffix)
    return language.stored_name if language else None


def verdict_name(name: object) -> object:
    """The contract's name of a claimed verdict. Null and unknown names are returned unchanged."""
    return _contract_verdict(name) if isinstance(name, str) else name


@lru_cache(1024)
def _contract_verdict(name: str) -> str:
    return VERDICT_NAMES.get(name.strip().lower(), name)
