"""Names that sources use for languages, verdicts and checkers, and the contract's word for each."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pipeline.store import CLAIMED_VERDICTS, LANGUAGES

LANGUAGE_NAMES = {
    **{name: name for name in LANGUAGES},
    "python": "python3",
    "py": "python3",
    "py3": "python3",
    "python 3": "python3",
    "pypy": "python3",
    "pypy3": "python3",
    "pypy 3": "python3",
    "py2": "python2",
    "python 2": "python2",
    "python2?": "python2",
    "pypy2": "python2",
    "c++": "cpp",
    "cc": "cpp",
    "cxx": "cpp",
    "g++": "cpp",
    "gnu c++": "cpp",
    "c++11": "cpp",
    "c++14": "cpp",
    "c++17": "cpp",
    "c++20": "cpp",
    "cpp11": "cpp",
    "cpp14": "cpp",
    "cpp17": "cpp",
    "cpp20": "cpp",
    "gnu c": "c",
    "c11": "c",
    "c99": "c",
    "java8": "java",
    "java 8": "java",
    "java11": "java",
    "java17": "java",
    "java21": "java",
    "c#": "csharp",
    "cs": "csharp",
    "golang": "go",
    "hs": "haskell",
    "js": "javascript",
    "node": "javascript",
    "nodejs": "javascript",
    "rs": "rust",
    "rb": "ruby",
    "kt": "kotlin",
    "pas": "pascal",
}

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

SUFFIX_LANGUAGES = {
    ".py": "python3",
    ".py3": "python3",
    ".py2": "python2",
    ".cpp": "cpp",
    ".cc": "cpp",
    ".cxx": "cpp",
    ".c++": "cpp",
    ".c": "c",
    ".java": "java",
    ".cs": "csharp",
    ".go": "go",
    ".hs": "haskell",
    ".js": "javascript",
    ".rs": "rust",
    ".rb": "ruby",
    ".kt": "kotlin",
    ".php": "php",
    ".pas": "pascal",
    ".scala": "scala",
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
    """The split that a file or else a folder above it is named after: train-00000-of-00039.parquet, set-test.jsonl, train/x."""
    for part in reversed(PurePosixPath(name).parts):
        for word in re.split(r"[-._]", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return default


def language_name(name: object) -> object:
    """The contract's word for a language; what is not known is handed on, for the contract to refuse."""
    return LANGUAGE_NAMES.get(name.strip().lower(), name) if isinstance(name, str) else name


def verdict_name(name: object) -> object:
    """The contract's word for a claimed verdict; null stays null, what is not known is handed on."""
    return VERDICT_NAMES.get(name.strip().lower(), name) if isinstance(name, str) else name
