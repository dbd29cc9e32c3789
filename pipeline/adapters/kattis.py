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
Links inside the source are followed. A file that the policy for sources does not read (`source_policy.py`) refuses its submission
or, where the problem needs it, the package with all its submissions; elsewhere it is passed over and counted. Archives are not read.
The problem is named <name of the folder that holds the packages>/<path of the package below it>.
"""

from __future__ import annotations

import configparser
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from pipeline.adapters import ReadItem, ReadProblem, Refused, SourceError, SourceFile, refused_file, register
from pipeline.adapters.bounded_yaml import load_yaml
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.sample import take_problems
from pipeline.adapters.source_policy import SourceRefused, places_of, printable, refused
from pipeline.adapters.source_tree import Tree, list_tree
from pipeline.adapters.trees import VERDICT_FOLDERS, folder_file, kept, program_item, program_of
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
BASIS = "folder of the problem package (set by the judges)"
# Where a file that is not read refuses something; anywhere else it is only counted.
NEEDED = (
    "problem.yaml",
    ".timelimit",
    "domjudge-problem.ini",
    *(f"{folder}/" for folder in (*STATEMENT_FOLDERS, *PROGRAM_FOLDERS, "data", "submissions")),
)
ARCHIVES = (".zip", ".kpp", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
PACKAGE_REFUSED = "its package was refused"


class Kattis:
    name = "kattis"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        if source.endswith(ARCHIVES) and os.path.isfile(source):
            raise SourceError(f"{source} is an archive: unpack it, and ingest the folder")
        tree = list_tree(root, places_of(root), marker="problem.yaml") if root.is_dir() else Tree()
        packages = tree.marked
        if limit is not None:
            taken = take_problems((("", package.path) for package in packages), limit)
            packages = [package for package in packages if package.path in taken]
        # A single package is named after the folder it lies in, as it would be among others.
        real = root.resolve()
        above = real.parent.name if tree.marked and not tree.marked[0].name else real.name
        named = [(package.path, f"{above}/{package.name or real.name}") for package in packages]
        files = [package_file(path, printable(name), places_of(root)) for path, name in named]
        files += [
            refused_file(entry.path, f"{above}/{entry.name}", archive_fault(entry.name))
            for entry in tree.files
            if entry.name.endswith(ARCHIVES) and not entry.fault
        ]
        if tree.overflow:
            fault = f"{tree.overflow}: {printable(source)}; ingest its folders one by one"
            files.append(refused_file(source, above, fault))
        if not files:
            raise SourceError(f"no problem package in {printable(source)}: a folder with problem.yaml")
        files[0].skipped = files[0].skipped + tree.skipped
        return files if limit is None else [replace(file, options={"limit": limit}) for file in files]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        file.rows_in_file = 1
        try:
            if file.fault:
                raise SourceRefused(file.fault)
            package = PackageFiles(Path(file.path), file.places, file.name)
        except SourceRefused as refusal:
            yield Refused(0, b"", str(refusal))
            return
        problem = problem_item(package)
        yield problem
        for entry in package.below("submissions"):
            file.rows_in_file += 1
            file.bytes_read += entry.size_bytes
            raw = program_of(file.rows_in_file, entry, file.places)
            name = entry.name.removeprefix("submissions/")
            if isinstance(raw, Refused):
                yield raw
            elif isinstance(problem, Refused):
                # A problem of that name may be in the store, and would judge what was written for this one.
                yield Refused(
                    file.rows_in_file, kept(name, raw), f"{PACKAGE_REFUSED}: {file.name}", size=len(raw)
                )
            else:
                yield submission(file.rows_in_file, raw, name, file.name)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """A submission; a package that was refused as a problem is read again from its folder, once that has changed."""
        name, _, program = raw.partition(b"\n")
        if line == 1:
            return [
                Refused(line, raw, "a package is read from its folder: fix it there, and ingest it again")
            ]
        return [submission(line, program, printable(name.decode(errors="replace")), file.name)]


register(Kattis())


def package_file(path: str, name: str, places: tuple[str, ...]) -> SourceFile:
    """A package as one file of the source."""
    try:
        package = PackageFiles(Path(path), places, name)
    except SourceRefused as refusal:
        return refused_file(path, name, str(refusal))
    return folder_file(Path(path), name, package.entries.values(), places, package.passed_over(NEEDED))


def archive_fault(name: str) -> str:
    return str(refused("an archive", name, "unpack it, and ingest the folder"))


def submission(line: int, raw: bytes, name: str, problem_id: str) -> ReadItem:
    verdict, *rest = name.split("/")
    if len(rest) != 1:
        reason = f"{name}: a submission of several files, or in no verdict's folder"
        return Refused(line, kept(name, raw), reason)
    return program_item(line, raw, name, problem_id, VERDICT_FOLDERS.get(verdict), BASIS, problem_line=1)


def problem_item(package: PackageFiles) -> ReadItem:
    """The problem of a package; refused as a whole, with the file at fault, where it cannot be read."""
    try:
        facts = mapping(package, "problem.yaml")
        tests = tests_of(package)
        row = problem_row(package, facts)
    except SourceRefused as refusal:
        return Refused(1, package.listing, str(refusal))
    except Exception as error:
        # A value of another kind than the format's fails in many ways; the exception's name tells which, if it is one of ours.
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
