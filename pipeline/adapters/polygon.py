"""Polygon problem packages (Codeforces): a folder or .zip file with problem.xml, or a folder of them. Each
package is one batch.

Format: what https://polygon.codeforces.com/ exports; there is no specification. The adapter reads
* problem.xml: names, time limit (ms), memory limit (bytes), tests, tags, checker, solutions with their tags;
* the statement, preferably English: statement-sections/<language>/*.tex, else
  statements/<language>/problem.tex, TeX simplified. A problem with a PDF or HTML only is not sampled;
* the tests of the test set `tests`, with inputs and answers by their path patterns. A package may leave
  generated tests to its scripts; then it is refused, and the full package is asked for;
* the checker and the interactor, testlib programs, with the headers among the package's resources. A package
  without testlib.h needs the one that `SPO_TESTLIB` names;
* solutions, whose tag is the claimed verdict.

Of an interactive problem, the interactor talks to the program, and the checker judges what the interactor has
written. Refused are problems whose programs read or write files. Points and groups are not kept: a problem is
solved if all tests are. The problem_id is made as for `kattis`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from pipeline.adapters import ReadItem, ReadProblem, ReadTrajectory, Refused, SourceFile, register
from pipeline.adapters.package_files import MAX_SOURCE_BYTES, PackageFiles
from pipeline.adapters.packages import Packages
from pipeline.adapters.source_policy import SourceRefused, is_machine_error, is_plain_name, printable
from pipeline.adapters.trees import program_item, quarantine_bytes, read_program
from pipeline.text import plain_tex

SETTINGS = "problem.xml"
MAX_TESTS, MAX_TESTS_BYTES, MAX_STATEMENT_BYTES = 10_000, 192 << 20, 1 << 20
PATTERN = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")
SECTIONS = {"legend": "", "input": "Input", "output": "Output", "interaction": "Interaction", "notes": "Note"}
HEADERS = (".h", ".hpp", ".hh")
BASIS = "tag of the solution in Polygon: {}"
TAGS = {
    "main": "accepted",
    "accepted": "accepted",
    "wrong-answer": "wrong_answer",
    "presentation-error": "wrong_answer",
    "time-limit-exceeded": "time_limit_exceeded",
    "memory-limit-exceeded": "memory_limit_exceeded",
    "rejected": "rejected",
    "failed": "rejected",
}
# Tags that allow several verdicts.
SETS = {
    "time-limit-exceeded-or-accepted": ("accepted", "time_limit_exceeded"),
    "time-limit-exceeded-or-memory-limit-exceeded": ("memory_limit_exceeded", "time_limit_exceeded"),
}


class Polygon(Packages):
    name = "polygon"
    markers = (SETTINGS,)
    needed = (SETTINGS, "tests", "files")

    def items(self, package: PackageFiles, file: SourceFile) -> Iterator[ReadItem]:
        """The problem of a package, and its solutions."""
        try:
            root = parse_xml(package)
            problem: ReadItem = problem_item(package, root)
        except SourceRefused as refusal:
            root, problem = Element("problem"), Refused(1, package.listing, str(refusal))
        except Exception as error:
            if is_machine_error(error):
                raise
            reason = f"problem package cannot be read: {printable(' '.join(str(error).split())[:300])}"
            root, problem = Element("problem"), Refused(1, package.listing, reason)
        yield problem
        for solution in root.iterfind("assets/solutions/solution"):
            file.rows_in_file += 1
            source = solution.find("source")
            path = "" if source is None else source.get("path", "")
            entry = package.entries.get(path)
            if entry is None:
                yield Refused(
                    file.rows_in_file, quarantine_bytes(path, b""), f"no such file: {printable(path)}"
                )
                continue
            file.bytes_read += entry.size_bytes
            raw = read_program(file.rows_in_file, entry, package.roots)
            if isinstance(raw, Refused):
                yield raw
                continue
            item = program_item(file.rows_in_file, raw, path, file.name, None, "", problem_line=1)
            if isinstance(item, ReadTrajectory):
                item.row |= claim(solution.get("tag", ""))
            yield item

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """Nothing of a package can be retried: ingest it again after a change."""
        return [Refused(line, raw, "a package is read as a whole: fix it, and ingest it again")]


register(Polygon())


def claim(tag: str) -> dict[str, Any]:
    """The columns `claimed_...` of a solution."""
    verdicts = SETS.get(tag, ())
    several = "rejected" if verdicts and "accepted" not in verdicts else None
    return {
        "claimed_verdict": TAGS.get(tag, several),
        "claimed_verdicts": list(verdicts) or None,
        "claimed_basis": BASIS.format(printable(tag)),
    }


def parse_xml(package: PackageFiles) -> Element:
    """The root of problem.xml. Raises ValueError, and ParseError of ElementTree."""
    raw = package.read_bytes(SETTINGS, 4 << 20)
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise ValueError(f"{SETTINGS} declares entities, which is not supported")
    return ElementTree.fromstring(raw)


def problem_item(package: PackageFiles, root: Element) -> ReadProblem:
    """The problem. Raises ValueError, and SourceRefused."""
    refuse_unsupported(root)
    testset = next((one for one in root.iterfind("judging/testset") if one.get("name") == "tests"), None)
    if testset is None:
        testset = root.find("judging/testset")
    if testset is None:
        raise ValueError(f"{SETTINGS} has no test set")
    tests = tests_of(package, testset)
    memory = number_of(testset, "memory-limit")
    time_ms = number_of(testset, "time-limit")
    row = {
        "problem_id": package.name,
        "source": package.name.partition("/")[0],
        "split": "none",
        "title": title(root) or package.name.rpartition("/")[2],
        "input_mode": "stdin",
        "time_limit_s": time_ms / 1000 if time_ms else None,
        "memory_limit_mb": memory / (1 << 20) if memory else None,
        "tags": [tag.get("value", "") for tag in root.iterfind("tags/tag") if tag.get("value")],
        "licence": None,
        "tests_quality": "full",
        **statement_columns(package, root),
        **checker_columns(package, root),
    }
    size = sum(len(test["input"]) + len(test["expected_output"] or "") for test in tests)
    return ReadProblem(1, package.listing, row, tests, size)


def refuse_unsupported(root: Element) -> None:
    """Raises ValueError for a problem whose programs are not run as this judge runs them."""
    judging = root.find("judging")
    for name in ("input-file", "output-file"):
        value = "" if judging is None else judging.get(name, "")
        if value not in ("", "stdin", "stdout"):
            raise ValueError(
                f"its programs use the file {printable(value)!r} ({name}), which is not supported"
            )


def tests_of(package: PackageFiles, testset: Element) -> list[dict[str, Any]]:
    """The tests in their order. Raises ValueError if one is not in the package."""
    listed = testset.findall("tests/test")
    count = len(listed) or int(number_of(testset, "test-count") or 0)
    if count > MAX_TESTS:
        raise ValueError(f"{count} tests; limit {MAX_TESTS}")
    inputs, answers = (pattern(testset, f"{one}-path-pattern") for one in ("input", "answer"))
    tests, left = [], MAX_TESTS_BYTES
    for index in range(1, count + 1):
        paths = inputs % index, answers % index
        if missing := [path for path in paths if path not in package.entries]:
            raise ValueError(
                f"{printable(missing[0])} is not in the package, which leaves it to its scripts;"
                " export the full package, or run its doall.sh"
            )
        stdin, expected = (package.read_text(path, left) for path in paths)
        left -= len(stdin) + len(expected)
        test = listed[index - 1] if listed else Element("test")
        kind = "generated" if test.get("method") == "generated" else "private"
        tests.append(
            {
                "test_id": paths[0],
                "kind": "public" if test.get("sample") == "true" else kind,
                "mode": "stdin",
                "input": stdin,
                "expected_output": expected,
            }
        )
    return tests


def pattern(testset: Element, name: str) -> str:
    """A path with one place for a number. Raises ValueError."""
    text = (testset.findtext(name) or "").strip()
    if not PATTERN.fullmatch(text):
        raise ValueError(f"{name} is {printable(text)[:60]!r}; a path such as tests/%02d is required")
    return text


def number_of(testset: Element, name: str) -> float | None:
    text = (testset.findtext(name) or "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ValueError(f"{name} is not a number but {printable(text)[:40]!r}")
    return float(text)


def title(root: Element) -> str:
    names = {one.get("language", ""): one.get("value", "") for one in root.iterfind("names/name")}
    return names.get("english") or next(iter(names.values()), "")


def statement_columns(package: PackageFiles, root: Element) -> dict[str, Any]:
    """`statement`, preferably the English one, and `not_sampled` where there is none as text."""
    languages = [one.get("language", "") for one in root.iterfind("statements/statement")] or ["english"]
    others = [one.get("path", "") for one in root.iterfind("statements/statement")]
    for language in sorted(dict.fromkeys(languages), key=lambda name: name != "english"):
        sections = [
            (heading, plain_tex(package.read_text(path, MAX_STATEMENT_BYTES)).strip())
            for name, heading in SECTIONS.items()
            if (path := f"statement-sections/{language}/{name}.tex") in package.entries
        ]
        parts = [f"{heading}\n\n{text}" if heading else text for heading, text in sections if text]
        whole = f"statements/{language}/problem.tex"
        if not parts and whole in package.entries:
            parts = [plain_tex(package.read_text(whole, MAX_STATEMENT_BYTES)).strip()]
        if text := "\n\n".join(parts).strip():
            return {"statement": text, "not_sampled": None}
    why = f"its statement is not text: {others[0]}" if others else "it has no statement"
    return {"statement": "", "not_sampled": why}


def checker_columns(package: PackageFiles, root: Element) -> dict[str, Any]:
    """The checker and, of an interactive problem, the interactor, with the headers beside them; tokens where
    the package names neither. Raises ValueError.
    """
    usual = {"case_sensitive": True, "float_tol": None, "checker_arguments": None}
    checker, interactor = root.find("assets/checker"), root.find("assets/interactor")
    if checker is None:
        checker = root.find("checker")
    if checker is not None and (kind := checker.get("type", "testlib")) != "testlib":
        raise ValueError(f"its checker is of the type {printable(kind)[:40]!r}; testlib is supported")
    roles = {"checker": checker, "interactor": interactor}
    programs = [
        program
        for role, element in roles.items()
        if element is not None
        for program in program_files(package, root, role, element)
    ]
    if not programs:
        return usual | {"checker": "tokens", "programs": None}
    return usual | {"checker": "custom", "programs": json.dumps(programs, ensure_ascii=False)}


def program_files(
    package: PackageFiles, root: Element, role: str, element: Element
) -> Iterator[dict[str, Any]]:
    """A testlib program and the headers of the package, as in `problems.programs`. Raises ValueError."""
    source = element.find("source")
    path = "" if source is None else source.get("path", "")
    headers = [
        one.get("path", "")
        for one in root.iterfind("files/resources/file")
        if one.get("path", "").endswith(HEADERS)
    ]
    for name in dict.fromkeys([path, *(header for header in headers if header in package.entries)]):
        plain = PurePosixPath(name).name
        if not is_plain_name(plain):
            raise ValueError(f"{printable(name)} has an unsafe name")
        text = package.read_bytes(name, MAX_SOURCE_BYTES).decode(errors="replace")
        yield {"role": role, "interface": "testlib", "path": f"{role}/{plain}", "text": text}


tests_of.__test__ = False  # type: ignore[attr-defined]  # pytest collects every imported `test_*`
