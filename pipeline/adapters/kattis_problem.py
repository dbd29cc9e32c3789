"""Reads the problem of a Kattis package: settings, statement, tests and checker; see `kattis.py`."""

from __future__ import annotations

import configparser
import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.adapters import ReadItem, ReadProblem, Refused
from pipeline.adapters.kattis_checker import (
    DOMJUDGE_INI,
    PROGRAM_FOLDERS,
    checker_columns,
    has_own_validator,
    refuse_unsupported,
)
from pipeline.adapters.kattis_constants import package_constants, tex_with_constants, with_constants
from pipeline.adapters.kattis_tests import load_groups, load_mapping, tests_of, words_of
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.source_policy import SourceRefused, is_machine_error, printable
from pipeline.text import plain_tex

MAX_STATEMENT_BYTES, MAX_INI_BYTES = 1 << 20, 8 << 10
TEXT_SUFFIXES, OTHER_SUFFIXES = (".tex", ".md", ".txt"), (".pdf", ".html", ".htm", ".ps", ".doc")
STATEMENT_FOLDERS, STATEMENT_NAMES = ("problem_statement", "statement"), ("problem.en", "problem")
DEFAULT_MEMORY_MB, DEFAULT_OUTPUT_MB = 2048.0, 8.0
OUTPUT_FACTOR = 2  # of the longest answer, where that exceeds the default limit of output
EARLIER = "2023-07"  # versions whose accepted submissions alone set the time limit
ASKS_FOR_ANSWERS = "its submissions are answers, not programs"
# An unreadable file here causes a refusal; anywhere else it is only counted.
NEEDED = (
    "problem.yaml",
    ".timelimit",
    DOMJUDGE_INI,
    *STATEMENT_FOLDERS,
    *PROGRAM_FOLDERS,
    "include",
    "data",
    "submissions",
)


def problem_item(package: PackageFiles) -> ReadItem:
    """The problem of a package; a refusal with the file at fault if it cannot be read."""
    try:
        settings = load_mapping(package, "problem.yaml")
        refuse_unsupported(package, settings)
        refuse_missing_programs(package, settings)
        package.constants = package_constants(settings)
        groups = load_groups(package)
        tests = tests_of(package, groups)
        row = problem_row(package, settings) | checker_columns(package, settings, groups, tests)
        row["output_limit_mb"] = output_limit_mb(settings, tests)
    except SourceRefused as refusal:
        return Refused(1, package.listing, str(refusal))
    except Exception as error:
        if is_machine_error(error):
            raise
        # A value of a wrong type can raise many exceptions. Messages of known exceptions need no type name.
        known = isinstance(error, ValueError | yaml.YAMLError | configparser.Error)
        message = f"{'' if known else type(error).__name__ + ' '}{' '.join(str(error).split())[:300]}"
        return Refused(1, package.listing, f"problem package cannot be read: {printable(message)}")
    size = sum(len(test["input"]) + len(test["expected_output"] or "") for test in tests)
    return ReadProblem(1, package.listing, row, tests, size)


def problem_row(package: PackageFiles, settings: dict[str, Any]) -> dict[str, Any]:
    title = settings.get("name") or domjudge_settings(package).get("name") or package.name.rpartition("/")[2]
    if isinstance(title, dict):
        title = title.get("en") or next(iter(title.values()))
    limits = settings.get("limits") or {}
    memory = limits.get("memory")
    return {
        "problem_id": package.name,
        "source": package.name.partition("/")[0],
        "split": "none",
        "title": str(title),
        **statement_columns(package, settings),
        "input_mode": "stdin",
        "time_limit_s": (time_s := time_limit_s(package, limits)),
        "time_limit_rule": None if time_s else time_limit_rule(settings, limits),
        "memory_limit_mb": parse_number(memory, "limits.memory") if memory else DEFAULT_MEMORY_MB,
        "tags": keywords(settings.get("keywords")),
        "licence": str(settings["license"]) if settings.get("license") else None,
        "tests_quality": "full" if "data/secret" in package.folders else "examples",
    }


def output_limit_mb(settings: dict[str, Any], tests: list[dict[str, Any]]) -> float:
    """The stated limit, else the usual default, or more where the answers need it."""
    stated = (settings.get("limits") or {}).get("output")
    if stated is not None:
        return positive(stated, "limits.output")
    longest = max((len(test["expected_output"] or "") for test in tests), default=0)
    return max(DEFAULT_OUTPUT_MB, OUTPUT_FACTOR * longest / (1 << 20))


def keywords(value: Any) -> list[str]:
    """A list, or in the legacy format one text with spaces."""
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [str(word) for word in words]


def time_limit_s(package: PackageFiles, limits: dict[str, Any]) -> float | None:
    if limits.get("time_limit"):
        return parse_number(limits["time_limit"], "limits.time_limit")
    if stated := domjudge_settings(package).get("timelimit"):
        return parse_number(stated, "timelimit")
    if ".timelimit" in package.entries:
        return parse_number("".join(package.read_text(".timelimit").split()[:1]), ".timelimit")
    return None


def domjudge_settings(package: PackageFiles) -> dict[str, str]:
    """The keys of domjudge-problem.ini. As in DOMjudge's importer, they come before `.timelimit` and after
    problem.yaml.
    """
    if DOMJUDGE_INI not in package.entries:
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string("[problem]\n" + package.read_text(DOMJUDGE_INI, MAX_INI_BYTES))
    return {name: value.strip("'\" ") for name, value in parser["problem"].items()}


def refuse_missing_programs(package: PackageFiles, settings: dict[str, Any]) -> None:
    """Raises ValueError where DOMjudge would judge by a program that is not in the package."""
    if has_own_validator(package, settings):
        return
    for key in ("special_compare", "special_run"):
        if program := domjudge_settings(package).get(key):
            raise ValueError(f"{key} is {printable(program)[:60]!r}, a program that is not in the package")


def time_limit_rule(settings: dict[str, Any], limits: dict[str, Any]) -> str:
    """How the limit follows from the slowest accepted submission, by the version of the format."""
    version = str(settings.get("problem_format_version", "legacy"))
    legacy = version.startswith("legacy")
    multipliers = limits.get("time_multipliers") or {}
    factor = limits.get("time_multiplier", 5) if legacy else multipliers.get("ac_to_time_limit", 2)
    resolution = 1 if legacy else limits.get("time_resolution", 1)
    rule = {
        "factor": positive(factor, "the time multiplier"),
        "resolution_s": positive(resolution, "limits.time_resolution"),
        "by_rules": not legacy and not version.startswith(EARLIER),
    }
    return json.dumps(rule)


def positive(value: Any, name: str) -> float:
    number = parse_number(value, name)
    if number <= 0:
        raise ValueError(f"{name} is {number:g}; write a number above 0")
    return number


def parse_number(value: Any, name: str) -> float:
    """A number in a package. Raises ValueError for anything else, also for infinity and NaN."""
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{name} is not a number but {str(value)[:40]!r}; write the number, or remove it"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; write a finite number, or remove it")
    return number


def statement_columns(package: PackageFiles, settings: dict[str, Any]) -> dict[str, Any]:
    """`statement`, preferably the English one, and `not_sampled` where there is none as text, or where no
    program is asked for.
    """
    for folder in STATEMENT_FOLDERS:
        for entry in package.files_below(folder):
            if entry.fault:
                raise SourceRefused(entry.fault)
    names = [
        name
        for name in package.entries
        if re.fullmatch(rf"(?:(?:{'|'.join(STATEMENT_FOLDERS)})/)?problem[^/]*\.[a-z]+", name)
    ]
    texts = [name for name in names if name.endswith(TEXT_SUFFIXES) and name != "problem.yaml"]
    if not texts:
        others = [name for name in names if name.endswith(OTHER_SUFFIXES)]
        why = f"its statement is not text: {others[0]}" if others else "it has no statement"
        return {"statement": "", "not_sampled": ASKS_FOR_ANSWERS if wants_answers(settings) else why}
    first = [name for stem in STATEMENT_NAMES for name in texts if Path(name).stem == stem]
    name = (first or texts)[0]
    text = package.read_text(name, MAX_STATEMENT_BYTES)
    text = plain_tex(tex_with_constants(text, package.constants)) if name.endswith(".tex") else text
    text = with_constants(text, package.constants).strip()
    empty = None if text else f"its statement is empty: {name}"
    return {"statement": text, "not_sampled": ASKS_FOR_ANSWERS if wants_answers(settings) else empty}


def wants_answers(settings: dict[str, Any]) -> bool:
    """Whether submissions are answers, not programs."""
    return "submit-answer" in words_of(settings.get("type"), "type")
