"""DeepMind CodeContests (Li et al. 2022, arXiv:2203.07814), from the Hub or from Parquet files in its schema.

Source: a Parquet file, a folder of Parquet files, or a name on the Hub: `deepmind/code_contests`,
`deepmind/code_contests@<revision>`. A row contains a problem and its solutions; each is one item of the row.
Schema as in the data set's card: tests and solutions are structs of lists; languages, sources and
difficulties are class labels.

The data set has no checkers. Outputs are compared by tokens with case folded, or as numbers within FLOAT_TOL
if an expected output has a decimal fraction. Problems that read or write named files are refused, because the
judge uses standard input and output.

`limit` reads the first `limit` rows of each file and, per row, SOLUTIONS_PER_KIND solutions of each language
and verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from pipeline.adapters import (
    Adapter,
    ReadItem,
    ReadProblem,
    ReadTrajectory,
    Refused,
    SourceFile,
    register,
)
from pipeline.adapters.io_tests import DECIMAL, FLOAT_TOL
from pipeline.adapters.lines import parse
from pipeline.adapters.rows import SHAPE_ERRORS, source_files
from pipeline.adapters.tables import json_bytes, table_rows
from pipeline.store import content_id
from pipeline.text import detect_language, split_name

SOURCES = ("unknown", "codechef", "codeforces", "hackerearth", "codejam", "atcoder", "aizu")
LANGUAGES = ("unknown", "python2", "cpp", "python3", "java")
DIFFICULTIES = ("", "EASY", "MEDIUM", "HARD", "HARDER", "HARDEST", "EXTERNAL", *"ABCDEFGHIJKLMNOPQRSTUV")
LABELS = {
    **{
        name: number
        for number, name in enumerate(("UNKNOWN_SOURCE", *(source.upper() for source in SOURCES[1:])))
    },
    **{name: number for number, name in enumerate(("UNKNOWN_DIFFICULTY", *DIFFICULTIES[1:]))},
    **{name: number for number, name in enumerate(("UNKNOWN_LANGUAGE", "PYTHON", "CPP", "PYTHON3", "JAVA"))},
}
TESTS = (("public_tests", "public"), ("private_tests", "private"), ("generated_tests", "generated"))
# Generated tests are mutations of the others, by a program (section 3.2.1 of the paper).
ORIGINS = {"public": "statement", "private": "judge", "generated": "program"}
SOLUTIONS = (("solutions", "accepted"), ("incorrect_solutions", "rejected"))
SOLUTIONS_PER_KIND = 3
BASIS = "CodeContests `{}` (verdict of the original site)"


class CodeContests(Adapter):
    name = "code_contests"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, (".parquet",), any_name=True)
        return files if limit is None else [replace(file, options={"limit": limit}) for file in files]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        limit = file.options.get("limit")
        for row in islice(table_rows(file), limit):
            if isinstance(row, Refused):
                yield row
            else:
                yield from read_row(
                    row.line, row.value, split_name(file.name), SOLUTIONS_PER_KIND if limit else None
                )

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """The items of a row, of a problem without solutions, or of a solution without its problem."""
        row = parse(line, raw)
        if isinstance(row, Refused):
            return [row]
        value = dict.fromkeys(dict(SOLUTIONS)) | row.value
        return list(
            read_row(line, value, split_name(file.name), None, only_solutions="description" not in value)
        )


register(CodeContests())


def read_row(
    number: int,
    row: dict[str, Any],
    split: str,
    solutions_per_kind: int | None,
    *,
    only_solutions: bool = False,
) -> Iterator[ReadItem]:
    """The problem of a row, then its solutions."""
    try:
        if not only_solutions:
            yield read_problem(number, row, split)
        yield from read_solutions(number, row, solutions_per_kind)
    except (KeyError, *SHAPE_ERRORS) as error:
        yield Refused(
            number,
            partial(json_bytes, row),
            f"not the schema of CodeContests: {type(error).__name__} {error}",
        )


def read_problem(number: int, row: dict[str, Any], split: str) -> ReadItem:
    raw = partial(json_bytes, {key: value for key, value in row.items() if key not in dict(SOLUTIONS)})
    for column in ("input_file", "output_file"):
        if row.get(column):
            return Refused(
                number,
                raw,
                f"reads or writes the file {row[column]!r} instead of standard input and output",
                column,
            )
    tests = []
    for column, kind in TESTS:
        inputs, outputs = columns_of(row[column], "input", "output")
        if len(inputs) != len(outputs):
            return Refused(number, raw, f"{len(inputs)} inputs but {len(outputs)} outputs", column)
        for index, (stdin, expected) in enumerate(zip(inputs, outputs, strict=True), start=1):
            test = {"test_id": f"{kind}/{index}", "kind": kind, "mode": "stdin", "origin": ORIGINS[kind]}
            tests.append({**test, "input": stdin, "expected_output": expected})
    size = len(row["description"] or "") + sum(
        len(test["input"] or "") + len(test["expected_output"] or "") for test in tests
    )
    return ReadProblem(number, raw, problem_row(row, split, tests), tests, size)


def problem_row(row: dict[str, Any], split: str, tests: list[dict[str, Any]]) -> dict[str, Any]:
    limit = row.get("time_limit") or {}
    seconds = (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9
    has_decimals = any(DECIMAL.search(test["expected_output"] or "") for test in tests)
    return {
        "problem_id": problem_id_of(row),
        "source": "codecontests",
        "split": split,
        "title": row["name"],
        "statement": row["description"],
        "input_mode": "stdin",
        "time_limit_s": seconds or None,
        "memory_limit_mb": (row.get("memory_limit_bytes") or 0) / (1 << 20) or None,
        "checker": "float" if has_decimals else "tokens",
        "case_sensitive": False,
        "float_tol": FLOAT_TOL if has_decimals else None,
        "tags": [tag for tag in row.get("cf_tags") or [] if tag],
        "difficulty": str(row.get("cf_rating") or "") or label(row["difficulty"], DIFFICULTIES) or None,
        "licence": "CC BY 4.0 (CodeContests; statements belong to their sites)",
        "tests_quality": "full",
    }


def problem_id_of(row: dict[str, Any]) -> str:
    # Different sites have problems of the same name (see the card), so the site is part of the id.
    return f"codecontests/{label(row['source'], SOURCES)}/{row['name']}"


def read_solutions(number: int, row: dict[str, Any], per_kind: int | None) -> Iterator[ReadItem]:
    problem_id = problem_id_of(row)
    for column, verdict in SOLUTIONS:
        languages, programs = columns_of(row[column], "language", "solution")
        selected: Counter[str] = Counter()
        for index, (code, program) in enumerate(zip(languages, programs, strict=True)):
            language = label(code, LANGUAGES)
            if language == "unknown":
                language = detect_language(program or "")
            selected[language] += 1
            if per_kind is not None and selected[language] > per_kind:
                continue
            solution = {
                "problem_id": problem_id,
                "origin": "human",
                "policy_id": "human",
                # A content hash, so that a solution has the same key in every revision of the data set.
                "source_key": f"{column}#{content_id(program)}",
                "program": program,
                "extraction": "given",
                "language": language,
                "claimed_verdict": verdict,
                "claimed_basis": BASIS.format(column),
            }
            named = {"name": row["name"], "source": row["source"], "place": index}
            raw = partial(json_bytes, named | {column: {"language": [code], "solution": [program]}})
            yield ReadTrajectory(number, raw, solution, len(program or ""))


def columns_of(value: Any, first: str, second: str) -> tuple[list[Any], list[Any]]:
    """A nested field as two lists; Parquet files have a struct of lists or a list of structs."""
    if isinstance(value, dict):
        return list(value[first] or []), list(value[second] or [])
    return [item[first] for item in value or []], [item[second] for item in value or []]


def label(value: int | str, names: tuple[str, ...]) -> str:
    """The name in `names` of a class label, given as number or as name in the data set."""
    return names[value if isinstance(value, int) else LABELS[value]]
