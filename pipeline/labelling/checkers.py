"""How a problem's outputs are compared: by a comparison it names, or by a program that its source brought
along.

`problems.programs` holds such programs as [{role, interface, path, text}], with `arguments` for their command
line where there are any. Used are a single one of role `checker` or `interactor` whose interface is
testlib's, or that of Kattis's output validators, written in one source file with the headers beside it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any, Literal

from pipeline.adapters.source_policy import is_plain_name
from pipeline.text import suffix_language
from sandbox import Checker
from sandbox.judging import CheckerFailed, parts_of

KINDS: dict[str, Literal["tokens", "exact", "lines", "float"]] = {
    "tokens": "tokens",
    "exact": "exact",
    "lines": "lines",
    "float": "float",
    "function": "tokens",
}
CONVENTIONS: dict[str, Literal["testlib", "kattis"]] = {"testlib": "testlib", "output_validator": "kattis"}
ROLES = ("checker", "interactor")
HEADERS = (".h", ".hh", ".hpp", ".hxx")


class CheckerMissing(Exception):
    """The problem cannot be judged here; the text says why, and where something mends it, what."""


def checker_of(problem: dict[str, Any]) -> Checker:
    """The comparison a problem asks for. Function problems compare values; their text, if any, by tokens.

    Raises CheckerMissing. `problem` is a row of `problems`.
    """
    if problem["checker"] != "custom":
        return Checker(KINDS[problem["checker"]], problem["case_sensitive"], problem["float_tol"] or 1e-6)
    if problem["input_mode"] != "stdin":
        raise CheckerMissing("a checker of its own for a function problem")
    programs = [one for one in json.loads(problem["programs"] or "[]") if one["role"] in ROLES]
    if not programs:
        raise CheckerMissing("its checker is not at hand")
    checker = program_checker(programs)
    try:
        parts_of(checker)
    except CheckerFailed as error:
        raise CheckerMissing(str(error)) from error
    return checker


def program_checker(files: list[dict[str, Any]]) -> Checker:
    """The checker that some files make up. Raises CheckerMissing where that is none, several, or one of
    several sources.
    """
    # The rows of a store may come from somebody else: a name becomes that of a file in a folder of ours.
    odd = [file["path"] for file in files if not is_plain_name(PurePosixPath(file["path"]).name)]
    if odd:
        raise CheckerMissing(f"a file of its checker has no plain name: {odd[0]!r}")
    of_program = defaultdict(list)
    for file in files:
        of_program[folder_of(file["path"])].append(file)
    if len(of_program) > 1:
        raise CheckerMissing(f"several checkers: {', '.join(sorted(of_program))}")
    (files,) = of_program.values()
    sources = [file for file in files if language_of(file["path"])]
    strange = [file["path"] for file in files if file not in sources and not file["path"].endswith(HEADERS)]
    if len(sources) != 1 or strange:
        raise CheckerMissing(
            f"its checker is not one source: {', '.join(sorted(strange or [file['path'] for file in sources]))}"
        )
    main = sources[0]
    if main["interface"] not in CONVENTIONS:
        raise CheckerMissing(
            f"its checker has the interface {main['interface']}; known are {', '.join(CONVENTIONS)}"
        )
    headers = tuple(
        sorted((PurePosixPath(file["path"]).name, file["text"]) for file in files if file is not main)
    )
    try:
        return Checker(
            CONVENTIONS[main["interface"]],
            program=main["text"],
            language=language_of(main["path"]) or "",
            files=headers,
            arguments=tuple(main.get("arguments") or ()),
            interactive=main["role"] == "interactor",
        )
    except ValueError as error:
        raise CheckerMissing(str(error)) from error


def folder_of(path: str) -> str:
    """What tells one program from another: its folder below output_validators/, or the file itself where
    it lies there.
    """
    parts = PurePosixPath(path).parts
    return "/".join(parts[:2]) if parts[0] == "output_validators" else parts[0]


def language_of(path: str) -> str | None:
    name = PurePosixPath(path)
    return suffix_language(name.suffix) if name.suffix not in HEADERS else None
