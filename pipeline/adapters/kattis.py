"""Kattis/ICPC problem packages: a package (a folder with problem.yaml) or a folder of packages, each a batch of its own.

Format: the Problem Package Format, legacy and 2023-07-draft (https://www.kattis.com/problem-package-format/). Read are
* problem.yaml: name, licence, limits (memory in MiB, time_limit in seconds), validation and validator_flags, type;
  `.timelimit` and domjudge-problem.ini (timelimit) for the time;
* the statement, English first: problem_statement/problem[.en].tex or .md (also statement/), its TeX slightly reduced;
* data/sample/**/*.in and data/secret/**/*.in with their .ans; flags in data/testdata.yaml or test_group.yaml;
* submissions/<verdict>/<file>, claimed as the folder says (judges put them there). Submissions of several files are refused;
* output_validators/, output_validator/, input_validators/ into `problems.programs`.

The default output validator compares tokens, case folded unless `case_sensitive`, floats within the tolerance given, and with
`space_change_sensitive` exactly. A package with an output validator of its own, or an interactive one, is `custom`; the
validator's flags are kept with it, and an interactive one has the role `interactor`.
The problem is named <name of the folder that holds the packages>/<path of the package below it>.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from pipeline.adapters import ReadItem, ReadProblem, Refused, SourceError, SourceFile, register
from pipeline.adapters.sample import take_problems
from pipeline.adapters.trees import (
    MAX_PROGRAM_BYTES,
    VERDICT_FOLDERS,
    files_below,
    folder_file,
    program_item,
)

MAX_TESTS_BYTES = 192 << 20
PROGRAM_FOLDERS = {
    "output_validators": ("checker", "output_validator"),
    "output_validator": ("checker", "output_validator"),
    "input_validators": ("validator", "input_validator"),
}
STATEMENT_FOLDERS, STATEMENT_NAMES = ("problem_statement", "statement"), ("problem.en", "problem")
BASIS = "folder of the problem package (set by the judges)"
TEX = (
    (re.compile(r"(?<!\\)%.*"), ""),
    (re.compile(r"\\problemname\{([^}]*)\}"), r"\1\n"),
    (re.compile(r"\\(?:sub)*section\*?\{([^}]*)\}"), r"\n\1\n"),
    (re.compile(r"\\(?:begin|end)\{(?:itemize|enumerate|center|figure)\}(?:\[[^\]]*\])?"), ""),
    (re.compile(r"\\item\b\s*"), "- "),
    (re.compile(r"\\(?:emph|textbf|textit|texttt|text)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\n{3,}"), "\n\n"),
)


class Kattis:
    name = "kattis"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        packages = (
            [root]
            if (root / "problem.yaml").is_file()
            else sorted(path.parent for path in root.rglob("problem.yaml"))
        )
        if not packages:
            raise SourceError(f"no problem package in {source}: a folder with problem.yaml")
        # A single package is named after the folder it lies in, as it would be among others.
        above = root.resolve().parent if packages == [root] else root
        if limit is not None:
            taken = take_problems((("", str(package)) for package in packages), limit)
            packages = [package for package in packages if str(package) in taken]
        files = [folder_file(package, above) for package in packages]
        return files if limit is None else [replace(file, options={"limit": limit}) for file in files]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        package = Path(file.path)
        file.rows_in_file = 1
        yield problem_item(package, file.name)
        submissions = package / "submissions"
        for path in files_below(submissions) if submissions.is_dir() else []:
            file.rows_in_file += 1
            file.bytes_read += path.stat().st_size
            with path.open("rb") as stored:
                yield submission(
                    file.rows_in_file,
                    stored.read(MAX_PROGRAM_BYTES + 1),
                    path.relative_to(submissions).as_posix(),
                    file.name,
                )

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """A submission; a package that was refused as a problem is read again from its folder, once that has changed."""
        name, _, program = raw.partition(b"\n")
        if line == 1:
            return [
                Refused(line, raw, "a package is read from its folder: mend it there, and ingest it again")
            ]
        return [submission(line, program, name.decode(errors="replace"), file.name)]


register(Kattis())


def submission(line: int, raw: bytes, name: str, problem_id: str) -> ReadItem:
    verdict, *rest = name.split("/")
    if len(rest) != 1:
        return Refused(
            line,
            name.encode() + b"\n" + raw,
            f"{name}: a submission of several files, or in no verdict's folder",
        )
    return program_item(line, raw, name, problem_id, VERDICT_FOLDERS.get(verdict), BASIS)


def problem_item(package: Path, name: str) -> ReadItem:
    """The problem of a package; refused as a whole, with the file at fault, where it cannot be read."""

    def listing() -> bytes:
        files = {path.relative_to(package).as_posix(): path.stat().st_size for path in files_below(package)}
        yaml_text = (package / "problem.yaml").read_text(errors="backslashreplace")
        return json.dumps({"problem.yaml": yaml_text, "files": files}, ensure_ascii=False).encode(
            errors="backslashreplace"
        )

    try:
        facts = mapping(package / "problem.yaml")
        tests = tests_of(package)
        row = problem_row(package, name, facts)
    except (ValueError, TypeError, AttributeError, yaml.YAMLError, configparser.Error) as error:
        return Refused(
            1, listing, f"not a problem package that can be read: {' '.join(str(error).split())[:300]}"
        )
    size = sum(len(test["input"]) + len(test["expected_output"] or "") for test in tests)
    return ReadProblem(1, listing, row, tests, size)


def mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, or nothing. Raises ValueError, yaml.YAMLError."""
    value = yaml.safe_load(text_of(path)) if path.is_file() else {}
    if not isinstance(value, dict | None):
        raise ValueError(f"{path.name} holds no mapping")
    return value or {}


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8: {error.reason} at byte {error.start}") from error


def tests_of(package: Path) -> list[dict[str, Any]]:
    """Tests by path below data/, samples first. Raises ValueError where they are too large or not text."""
    data = package / "data"
    kinds = {"sample": "public", "secret": "private"}
    there = [kind for kind in kinds if (data / kind).is_dir()]
    inputs = {kind: [path for path in files_below(data / kind) if path.suffix == ".in"] for kind in there}
    answers = {path: path.with_suffix(".ans") for paths in inputs.values() for path in paths}
    size = sum(path.stat().st_size for path in [*answers, *answers.values()] if path.is_file())
    if size > MAX_TESTS_BYTES:
        raise ValueError(f"tests of {size} bytes; at most {MAX_TESTS_BYTES}")
    return [
        {
            "test_id": path.relative_to(data).with_suffix("").as_posix(),
            "kind": kinds[kind],
            "mode": "stdin",
            "input": text_of(path),
            "expected_output": text_of(answers[path]) if answers[path].is_file() else None,
        }
        for kind, paths in inputs.items()
        for path in paths
    ]


def problem_row(package: Path, name: str, facts: dict[str, Any]) -> dict[str, Any]:
    title = facts.get("name") or package.name
    if isinstance(title, dict):
        title = title.get("en") or next(iter(title.values()))
    limits = facts.get("limits") or {}
    memory = limits.get("memory")
    return {
        "problem_id": name,
        "source": name.partition("/")[0],
        "split": "none",
        "title": str(title),
        "statement": statement(package),
        "input_mode": "stdin",
        "time_limit_s": time_limit_s(package, limits),
        "memory_limit_mb": float(memory) if memory else None,
        "tags": [str(tag) for tag in facts.get("keywords") or []]
        if isinstance(facts.get("keywords"), list)
        else [],
        "licence": str(facts["license"]) if facts.get("license") else None,
        "tests_quality": "full" if (package / "data" / "secret").is_dir() else "examples",
        **checker(package, facts),
    }


def checker(package: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """How outputs are compared, and the programs of the package that do so or check inputs."""
    groups = [mapping(package / "data" / name) for name in ("testdata.yaml", "test_group.yaml")]
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
        for path, text in sources(package / folder)
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
        (package / name).is_dir() for name in ("output_validator", "output_validators")
    )
    if is_custom or not legacy:
        found: dict[str, Any] = {"checker": "custom", "case_sensitive": True}
    else:
        tolerances = [float(value) for flag, value in pairwise(flags) if "float" in flag]
        kind = "float" if tolerances else "exact" if "space_change_sensitive" in flags else "tokens"
        found = {"checker": kind, "case_sensitive": "case_sensitive" in flags}
        found["float_tol"] = max(tolerances, default=None)
    return found | {"programs": json.dumps(programs, ensure_ascii=False) if programs else None}


def sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Path and text of the sources below a folder; what is no text, or too large, is a by-product and left out."""
    for path in files_below(folder) if folder.is_dir() else []:
        if path.stat().st_size <= MAX_PROGRAM_BYTES:
            try:
                yield path.relative_to(folder).as_posix(), path.read_bytes().decode()
            except UnicodeDecodeError:
                continue


def time_limit_s(package: Path, limits: dict[str, Any]) -> float | None:
    if limits.get("time_limit"):
        return float(limits["time_limit"])
    if (package / ".timelimit").is_file():
        return float(text_of(package / ".timelimit").split()[0])
    settings = package / "domjudge-problem.ini"
    if settings.is_file():
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string("[problem]\n" + text_of(settings))
        found = parser["problem"].get("timelimit")
        return float(found.strip("'\" ")) if found else None
    return None


def statement(package: Path) -> str:
    """The statement, English before any other. Raises ValueError where there is none."""
    found = [path for folder in STATEMENT_FOLDERS for path in sorted((package / folder).glob("problem*.*"))]
    found = [path for path in found if path.suffix in (".tex", ".md")]
    first = [path for name in STATEMENT_NAMES for path in found if path.name == name + path.suffix]
    if not found:
        raise ValueError("no statement: problem_statement/problem.en.tex, or statement/problem.en.md")
    path = (first or found)[0]
    text = text_of(path)
    for pattern, replacement in TEX if path.suffix == ".tex" else ():
        text = pattern.sub(replacement, text)
    return text.strip()
