"""The checker of a problem: a named comparison, or a program from the problem's source.

`problems.programs` has such programs as [{role, interface, path, text}], with `arguments` for their command
line and `limits` (time_s, memory_mb) if there are any. Supported is one program of role `checker` or
`interactor`, with the interface of testlib or of Kattis output validators, with its headers next to it, and
with a testlib interactor the checker of what it writes: one source file, several of C++, or a folder with a
script `build` or `run`, which gets all files of the folder. Without a script, other files of a package's
program (documentation, data) are not shown to it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

from pipeline.adapters.source_policy import is_plain_name
from pipeline.text import suffix_language
from sandbox import Checker
from sandbox.building import script_of
from sandbox.judging import STANDARD_CHECKERS, WITH_FLAGS, CheckerFailed, checker_parts
from sandbox.scoring import GraderProgram
from sandbox.validator_flags import parse_flags

COMPARISONS: dict[str, Literal["tokens", "exact", "lines", "float"]] = {
    "tokens": "tokens",
    "exact": "exact",
    "lines": "lines",
    "float": "float",
    "function": "tokens",
}
CONVENTIONS: dict[str, Literal["testlib", "kattis"]] = {"testlib": "testlib", "output_validator": "kattis"}
UNORDERED = "unordered_levels"
ROLES = ("checker", "interactor")
FOLDERS_OF_PROGRAMS = ("output_validators", "graders")
HEADERS = (".h", ".hh", ".hpp", ".hxx")
MAIN = re.compile(r"\bmain\s*\(")


class CheckerUnavailable(Exception):
    """The problem cannot be judged here; the message says why and, if possible, how to fix it."""


def problem_checker(problem: dict[str, Any]) -> Checker:
    """The checker of a row of `problems`. Function problems compare values, and their text, if any, by
    tokens.

    Raises CheckerUnavailable.
    """
    if problem["checker"] != "custom":
        try:
            return named_checker(problem)
        except ValueError as error:
            raise CheckerUnavailable(str(error)) from error
    if problem["input_mode"] != "stdin":
        raise CheckerUnavailable("a function problem has a custom checker")
    programs = [one for one in json.loads(problem["programs"] or "[]") if one["role"] in ROLES]
    if not programs:
        raise CheckerUnavailable("its source has no checker program")
    # What an interactor has written, a checker may judge.
    by_role = [[one for one in programs if one["role"] == role] for role in reversed(ROLES)]
    checker, *others = [program_checker(files) for files in by_role if files]
    if others:
        try:
            checker = replace(checker, then=others[0])
        except ValueError as error:
            raise CheckerUnavailable(str(error)) from error
    checker = replace(checker, arguments=tuple(problem.get("checker_arguments") or checker.arguments))
    if checker.kind == "kattis":
        passes = problem.get("validation_passes") or 1
        checker = replace(checker, passes=passes, scores=problem.get("scoring") is not None)
    try:
        checker_parts(checker)
        if checker.then:
            checker_parts(checker.then)
    except CheckerFailed as error:
        raise CheckerUnavailable(str(error)) from error
    return checker


def named_checker(problem: dict[str, Any]) -> Checker:
    """The checker of a row that names a comparison. Its `checker_arguments` are flags: of the validators
    their own; of float checkers and function problems their tolerances; and of the latter how many levels of
    lists have no order, `unordered_levels N`. Raises ValueError.
    """
    kind, words = problem["checker"], list(problem.get("checker_arguments") or ())
    if kind in WITH_FLAGS:
        return Checker(kind, arguments=tuple(words))
    if kind in STANDARD_CHECKERS:
        return Checker(kind)
    levels = 0
    if kind == "function" and UNORDERED in words:
        at = words.index(UNORDERED)
        levels = int(words[at + 1]) if words[at + 1 : at + 2] and words[at + 1].isdecimal() else -1
        del words[at : at + 2]
    flags = parse_flags(words)
    has_tolerance = flags.compares_numbers or problem["float_tol"] is not None
    return Checker(
        "float" if kind == "function" and has_tolerance else COMPARISONS[kind],
        problem["case_sensitive"],
        1e-6 if problem["float_tol"] is None else problem["float_tol"],
        float_abs_tol=flags.absolute_tol,
        float_rel_tol=flags.relative_tol,
        unordered_levels=levels,
    )


def program_checker(files: list[dict[str, Any]]) -> Checker:
    """The checker in some files.

    Raises CheckerUnavailable unless they are one program: a source file, several of C++, or a script `build`
    or `run` with what it needs.
    """
    # Rows are untrusted, and these names become file names in one of our folders.
    bad_names = [file["path"] for file in files if not is_plain_name(PurePosixPath(file["path"]).name)]
    if bad_names:
        raise CheckerUnavailable(f"a file of its checker has an unsafe name: {bad_names[0]!r}")
    by_program = defaultdict(list)
    for file in files:
        by_program[program_folder(file["path"])].append(file)
    if len(by_program) > 1:
        raise CheckerUnavailable(f"it has several checkers: {', '.join(sorted(by_program))}")
    (files,) = by_program.values()
    main, language, beside = program_parts(files)
    if main["interface"] not in CONVENTIONS:
        raise CheckerUnavailable(
            f"its checker has the interface {main['interface']}; supported: {', '.join(CONVENTIONS)}"
        )
    limits = main.get("limits") or {}
    try:
        return Checker(
            CONVENTIONS[main["interface"]],
            program=main["text"],
            language=language,
            files=beside,
            arguments=tuple(main.get("arguments") or ()),
            interactive=main["role"] == "interactor",
            time_s=limits.get("time_s", Checker.time_s),
            memory_mb=limits.get("memory_mb", Checker.memory_mb),
        )
    except ValueError as error:
        raise CheckerUnavailable(str(error)) from error


def grader_of(programs: str | None) -> GraderProgram:
    """The grader in the column `programs` of `problems`. Raises CheckerUnavailable unless there is one."""
    files = [one for one in json.loads(programs or "[]") if one["role"] == "grader"]
    if len(names := sorted({program_folder(file["path"]) for file in files})) != 1:
        raise CheckerUnavailable(f"it needs one grader, and has: {', '.join(names) or 'none'}")
    main, language, beside = program_parts(files)
    return GraderProgram(main["text"], language, beside)


def program_parts(files: list[dict[str, Any]]) -> tuple[dict[str, Any], str, tuple[tuple[str, str], ...]]:
    """(main file, its language, (name, text) of what belongs beside it) of a program. Raises
    CheckerUnavailable.
    """
    scripts = {path_in_program(file["path"]): file for file in files}
    if script := script_of(scripts):
        main, language, beside = scripts.pop(script), script, scripts
    else:
        main = main_source([file for file in files if source_language(file["path"])])
        language = source_language(main["path"]) or ""
        beside = {PurePosixPath(f["path"]).name: f for f in files if f is not main and is_code(f["path"])}
    return main, language, tuple(sorted((name, file["text"]) for name, file in beside.items()))


def main_source(sources: list[dict[str, Any]]) -> dict[str, Any]:
    """The source that a program begins in: the only one, or of several of C++ the one that has `main`.

    Raises CheckerUnavailable.
    """
    if len(sources) == 1:
        return sources[0]
    names = ", ".join(sorted(file["path"] for file in sources))
    with_main = [file for file in sources if MAIN.search(file["text"])]
    if {source_language(file["path"]) for file in sources} != {"cpp"} or len(with_main) != 1:
        raise CheckerUnavailable(f"its checker is not a single source file: {names or 'it has none'}")
    return with_main[0]


def is_code(path: str) -> bool:
    return path.endswith(HEADERS) or source_language(path) is not None


def program_folder(path: str) -> str:
    """Identifies the program of a file: its folder below output_validators/, or the file itself if it is
    directly there.
    """
    parts = PurePosixPath(path).parts
    return "/".join(parts[:2]) if parts[0] in FOLDERS_OF_PROGRAMS else parts[0]


def path_in_program(path: str) -> str:
    """The path of a file below the folder of its program."""
    return path.removeprefix(f"{program_folder(path)}/")


def source_language(path: str) -> str | None:
    name = PurePosixPath(path)
    return suffix_language(name.suffix) if name.suffix not in HEADERS else None
