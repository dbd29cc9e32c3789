"""How a Kattis package judges its submissions: validators, and their flags for problem, group and test.

Formats: legacy, 2023-07-draft and later (https://www.kattis.com/problem-package-format/). What these rules do
not cover is refused, so that no package is judged by other rules than its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from pipeline.adapters.kattis_constants import with_constants
from pipeline.adapters.kattis_scoring import scoring_column
from pipeline.adapters.kattis_tests import Groups, inherited, words_of
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.source_policy import printable
from sandbox.bounds import LARGEST, MAX_PASSES
from sandbox.validator_flags import parse_flags

ARGUMENT_KEYS = ("output_validator_flags", "output_validator_args")
PROGRAM_FOLDERS = {
    "output_validators": ("checker", "output_validator"),
    "output_validator": ("checker", "output_validator"),
    "input_validators": ("validator", "input_validator"),
    "graders": ("grader", "grader"),
}
# Files beside every submission of a language: include/<language>/ and include/default/.
INCLUDED = "include"
DRIVERS = {"python3": ("main.py", "__main__.py"), "java": ("Main.java",), "kotlin": ("Main.kt", "main.kt")}
VALIDATION_WORDS = ("default", "custom", "interactive", "score", "multi-pass")
TYPES = ("pass-fail", "scoring", "interactive", "multi-pass", "submit-answer")
DEFAULT_PASSES = 2
STATIC_VALIDATOR = "static_validator"
DOMJUDGE_INI = "domjudge-problem.ini"


def refuse_unsupported(package: PackageFiles, settings: dict[str, Any]) -> None:
    """Raises ValueError for a package whose programs are not run as this judge runs them."""
    for key, known in (("validation", VALIDATION_WORDS), ("type", TYPES)):
        for word in words_of(settings.get(key), key):
            if word not in known:
                raise ValueError(f"{key} has the unknown word {printable(word)!r}; known: {', '.join(known)}")
    if STATIC_VALIDATOR in package.folders:
        raise ValueError(f"{STATIC_VALIDATOR} judges the source of submissions, which is not supported")
    for path, _ in package.sources("include"):
        language, _, name = path.partition("/")
        if name in DRIVERS.get(language, ()):
            raise ValueError(f"include/{path} is a driver that calls submissions, which is not supported")


def checker_columns(
    package: PackageFiles, settings: dict[str, Any], groups: Groups, tests: list[dict[str, Any]]
) -> dict[str, Any]:
    """The checker columns of a problem, with the package's validators. Tests whose flags differ from those
    of the problem get them.
    """
    words = words_of(settings.get("validation"), "validation") + words_of(settings.get("type"), "type")
    is_interactive, has_passes = "interactive" in words, "multi-pass" in words
    is_custom = is_interactive or has_passes or has_own_validator(package, settings)
    programs = validators(package, is_interactive)
    for program in programs:
        if program["interface"] == "output_validator":
            program["limits"] = validation_limits(settings)
    of_problem = words_of(settings.get("validator_flags"), "validator_flags")
    arguments = {
        test["test_id"]: of_problem + inherited(groups, test["test_id"], ARGUMENT_KEYS) for test in tests
    }
    if not is_custom:
        for words in arguments.values():
            parse_flags(words)
    has_grader = any(one["role"] == "grader" for one in programs)
    scoring = scoring_column(settings, groups, [test["test_id"] for test in tests], has_grader)
    common = most_common(list(arguments.values()))
    for test in tests:
        if arguments[test["test_id"]] != common:
            test["checker_arguments"] = arguments[test["test_id"]]
    flags = parse_flags(common) if not is_custom else None
    return {
        "checker": "custom" if is_custom else "domjudge" if uses_domjudge(package) else "default_validator",
        "case_sensitive": flags is None or flags.case_sensitive,
        "float_tol": None,
        "checker_arguments": common or None,
        "validation_passes": validation_passes(settings) if has_passes else None,
        "scoring": scoring,
        "programs": json.dumps(programs, ensure_ascii=False) if programs else None,
    }


def uses_domjudge(package: PackageFiles) -> bool:
    """Whether a package is made for DOMjudge, whose compare is not Kattis' default output validator."""
    return DOMJUDGE_INI in package.entries


def validation_limits(settings: dict[str, Any]) -> dict[str, Any]:
    """What an output validator may use, by default as Kattis says. Raises ValueError."""
    stated = settings.get("limits") or {}
    limits = {
        name: stated.get(f"validation_{key}", default)
        for name, key, default in (("time_s", "time", 60), ("memory_mb", "memory", 2048))
    }
    for name, value in limits.items():
        largest = LARGEST[name][1]
        if type(value) not in (int, float) or not 0 < value <= largest:
            raise ValueError(f"limits for validation: {name} is {value!r}; write a number up to {largest:g}")
    return {"time_s": limits["time_s"], "memory_mb": math.ceil(limits["memory_mb"])}


def validation_passes(settings: dict[str, Any]) -> int:
    """How many passes a multi-pass problem may have. Raises ValueError."""
    limits = settings.get("limits") or {}
    value = limits.get("validation_passes", settings.get("validation_passes", DEFAULT_PASSES))
    if type(value) is not int or not 1 <= value <= MAX_PASSES:
        raise ValueError(f"validation_passes is {value!r}; write a number from 1 to {MAX_PASSES}")
    return value


def has_own_validator(package: PackageFiles, settings: dict[str, Any]) -> bool:
    if "validation" in settings:
        return "custom" in words_of(settings["validation"], "validation")
    return any(name in package.folders for name in ("output_validator", "output_validators"))


def validators(package: PackageFiles, is_interactive: bool) -> list[dict[str, Any]]:
    """Output and input validators and included files, as in `problems.programs`."""
    programs: list[dict[str, Any]] = []
    for folder, (role, interface) in PROGRAM_FOLDERS.items():
        if role == "validator" and any(entry.fault for entry in package.files_below(folder)):
            continue  # nothing is judged by input validators
        role = "interactor" if role == "checker" and is_interactive else role
        programs += [
            {"role": role, "interface": interface, "path": f"{folder}/{path}", "text": text}
            for path, text in sources(package, folder)
        ]
    programs += [
        {"role": INCLUDED, "interface": INCLUDED, "path": f"{INCLUDED}/{path}", "text": text}
        for path, text in sources(package, INCLUDED)
    ]
    return programs


def sources(package: PackageFiles, folder: str) -> Iterator[tuple[str, str]]:
    """(path, text with the package's constants) of the sources below a folder."""
    for path, text in package.sources(folder):
        yield path, with_constants(text, package.constants)


def most_common(values: list[list[str]]) -> list[str]:
    """The value that occurs most often, the first of several; empty without any."""
    return max(values, key=values.count, default=[])
