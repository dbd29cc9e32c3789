"""The problem of a Kattis package: settings, statement, tests, and how outputs are compared; `kattis.py`
says what is read.
"""

from __future__ import annotations

import configparser
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from pipeline.adapters import ReadItem, ReadProblem, Refused
from pipeline.adapters.bounded_yaml import load_yaml
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.source_policy import SourceRefused, is_about_this_machine, printable
from pipeline.text import plain_tex

TEST_FOLDERS = {"data/sample": "public", "data/secret": "private"}
MAX_TESTS_BYTES = 192 << 20
MAX_STATEMENT_BYTES, MAX_INI_BYTES = 1 << 20, 8 << 10
PROGRAM_FOLDERS = {
    "output_validators": ("checker", "output_validator"),
    "output_validator": ("checker", "output_validator"),
    "input_validators": ("validator", "input_validator"),
}
STATEMENT_FOLDERS, STATEMENT_NAMES = ("problem_statement", "statement"), ("problem.en", "problem")
# Where a file that is not read refuses something; anywhere else it is only counted.
NEEDED = (
    "problem.yaml",
    ".timelimit",
    "domjudge-problem.ini",
    *STATEMENT_FOLDERS,
    *PROGRAM_FOLDERS,
    "data",
    "submissions",
)


def problem_item(package: PackageFiles) -> ReadItem:
    """The problem of a package; refused as a whole, with the file at fault, where it cannot be read."""
    try:
        facts = mapping(package, "problem.yaml")
        tests = tests_of(package)
        row = problem_row(package, facts)
    except SourceRefused as refusal:
        return Refused(1, package.listing, str(refusal))
    except Exception as error:
        if is_about_this_machine(error):
            raise
        # A value of another kind than the format's fails in many ways; the exception's name tells which, if
        # it is one of ours.
        known = isinstance(error, ValueError | yaml.YAMLError | configparser.Error)
        said = f"{'' if known else type(error).__name__ + ' '}{' '.join(str(error).split())[:300]}"
        return Refused(1, package.listing, f"not a problem package that can be read: {printable(said)}")
    size = sum(len(test["input"]) + len(test["expected_output"] or "") for test in tests)
    return ReadProblem(1, package.listing, row, tests, size)


def mapping(package: PackageFiles, name: str) -> dict[str, Any]:
    """A YAML file that holds a mapping, or nothing. Raises ValueError, yaml.YAMLError."""
    value = load_yaml(package.text(name), name) if name in package.entries else {}
    if not isinstance(value, dict | None):
        raise ValueError(f"{name} does not hold a mapping")
    return value or {}


def tests_of(package: PackageFiles) -> list[dict[str, Any]]:
    """Tests by path below data/, samples first. Raises ValueError where they are too large or not text."""
    entries = [(kind, entry) for folder, kind in TEST_FOLDERS.items() for entry in package.below(folder)]
    faults = [entry.fault for _, entry in entries if entry.fault]
    if faults:
        raise SourceRefused(faults[0])
    size = sum(entry.size_bytes for _, entry in entries if entry.name.endswith((".in", ".ans")))
    if size > MAX_TESTS_BYTES:
        raise ValueError(f"tests of {size} bytes; at most {MAX_TESTS_BYTES}")
    stems = [(kind, entry.name.removesuffix(".in")) for kind, entry in entries if entry.name.endswith(".in")]
    return [
        {
            "test_id": stem.removeprefix("data/"),
            "kind": kind,
            "mode": "stdin",
            "input": package.text(f"{stem}.in", MAX_TESTS_BYTES),
            "expected_output": package.text(f"{stem}.ans", MAX_TESTS_BYTES)
            if f"{stem}.ans" in package.entries
            else None,
        }
        for kind, stem in stems
    ]


def problem_row(package: PackageFiles, facts: dict[str, Any]) -> dict[str, Any]:
    title = facts.get("name") or package.name.rpartition("/")[2]
    if isinstance(title, dict):
        title = title.get("en") or next(iter(title.values()))
    limits = facts.get("limits") or {}
    memory = limits.get("memory")
    return {
        "problem_id": package.name,
        "source": package.name.partition("/")[0],
        "split": "none",
        "title": str(title),
        "statement": statement(package),
        "input_mode": "stdin",
        "time_limit_s": time_limit_s(package, limits),
        "memory_limit_mb": finite(memory, "limits.memory") if memory else None,
        "tags": [str(tag) for tag in facts.get("keywords") or []]
        if isinstance(facts.get("keywords"), list)
        else [],
        "licence": str(facts["license"]) if facts.get("license") else None,
        "tests_quality": "full" if "data/secret" in package.folders else "examples",
        **checker(package, facts),
    }


def checker(package: PackageFiles, facts: dict[str, Any]) -> dict[str, Any]:
    """How outputs are compared, and the programs of the package that do so or check inputs."""
    groups = [mapping(package, f"data/{name}") for name in ("testdata.yaml", "test_group.yaml")]
    given = [facts.get("validator_flags")]
    given += [
        group.get(key) for group in groups for key in ("output_validator_flags", "output_validator_args")
    ]
    flags = " ".join(" ".join(one) if isinstance(one, list) else str(one) for one in given if one).split()
    validation = str(facts.get("validation", "default")).split()
    kinds = facts.get("type") or []
    is_interactive = "interactive" in validation or "interactive" in kinds
    is_custom = "custom" in validation or is_interactive or "multi-pass" in kinds
    programs: list[dict[str, Any]] = [
        {"role": role, "interface": interface, "path": f"{folder}/{path}", "text": text}
        for folder, (role, interface) in PROGRAM_FOLDERS.items()
        for path, text in package.sources(folder)
    ]
    for program in programs:
        if program["role"] == "checker":
            how = (
                {"interface": "multi-pass"}
                if "multi-pass" in kinds
                else {"role": "interactor"}
                if is_interactive
                else {}
            )
            program |= how | ({"arguments": flags} if flags else {})
    legacy = "validation" in facts or not any(
        name in package.folders for name in ("output_validator", "output_validators")
    )
    if is_custom or not legacy:
        found: dict[str, Any] = {"checker": "custom", "case_sensitive": True}
    else:
        tolerances = [float(value) for flag, value in pairwise(flags) if "float" in flag]
        kind = "float" if tolerances else "exact" if "space_change_sensitive" in flags else "tokens"
        found = {"checker": kind, "case_sensitive": "case_sensitive" in flags}
        found["float_tol"] = max(tolerances, default=None)
    return found | {"programs": json.dumps(programs, ensure_ascii=False) if programs else None}


def time_limit_s(package: PackageFiles, limits: dict[str, Any]) -> float | None:
    if limits.get("time_limit"):
        return finite(limits["time_limit"], "limits.time_limit")
    if ".timelimit" in package.entries:
        return finite("".join(package.text(".timelimit").split()[:1]), ".timelimit")
    if "domjudge-problem.ini" in package.entries:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string("[problem]\n" + package.text("domjudge-problem.ini", MAX_INI_BYTES))
        found = parser["problem"].get("timelimit")
        return finite(found.strip("'\" "), "timelimit") if found else None
    return None


def finite(value: Any, name: str) -> float:
    """A number that a package states. Raises ValueError for anything else, infinities included."""
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{name} is not a number but {str(value)[:40]!r}; write the number, or remove it"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; write a finite number, or remove it")
    return number


def statement(package: PackageFiles) -> str:
    """The statement, English before any other. Raises ValueError where there is none."""
    found = [
        entry.name
        for folder in STATEMENT_FOLDERS
        for entry in package.below(folder)
        if re.fullmatch(r"problem[^/]*\.(tex|md)", entry.name.removeprefix(f"{folder}/"))
    ]
    first = [name for stem in STATEMENT_NAMES for name in found if Path(name).stem == stem]
    if not found:
        raise ValueError("no statement: problem_statement/problem.en.tex, or statement/problem.en.md")
    name = (first or found)[0]
    text = package.text(name, MAX_STATEMENT_BYTES)
    return (plain_tex(text) if name.endswith(".tex") else text).strip()
