"""Rows of the benchmark of scale: problems and programs of the starter set, changed so that each is another.

A program is about 1 KB: a real program of its problem after other real programs as functions that it does not
call, with renamed variables and other constants. `VARIANTS` renamings of each are far from each other, the
`NEAR` constants of one renaming are near-duplicates, and few rows of a problem are byte-identical.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.store import TABLES, Store, Verdicts, trajectory_id
from sandbox import judge_version

STARTER = Path(__file__).resolve().parents[2] / "data" / "starter"
PROBLEMS = 10_000
PROGRAM_BYTES = 1_000
VARIANTS, NEAR = 400, 12
CHUNK_ROWS = 50_000
ORIGINS = ["human", "other_policy", "other_policy", *["online"] * 7]
RUN, REFERENCE, SCORED_SHARE = "scale", "scale", 10
FRESH_STEP = 1_000_000  # later than any step of the bulk
START = datetime(2026, 1, 1, tzinfo=UTC)
NAME = re.compile(r"(?<![\w.\"'])([a-z])(?![\w\"'(])")
KEYWORDS = {"as", "if", "in", "is", "or"}


@dataclass(frozen=True)
class Starter:
    """Problems of the starter set, and for each the texts that its programs are made from: `\x01` is where
    a renaming goes, `\x02` a constant.
    """

    problems: list[dict[str, Any]]
    texts: list[list[str]]


def starter() -> Starter:
    """The starter set, its Python programs as texts of about PROGRAM_BYTES."""
    with gzip.open(STARTER / "problems.jsonl.gz", "rt") as lines:
        problems = [json.loads(line) for line in lines]
    with gzip.open(STARTER / "solutions.jsonl.gz", "rt") as lines:
        rows = [row for row in map(json.loads, lines) if row["language"] == "python3"]
    programs: dict[str, list[str]] = {}
    for row in rows:
        programs.setdefault(row["problem_id"], []).append(row["program"])
    problems = [problem for problem in problems if problem["problem_id"] in programs]
    others = [row["program"] for row in rows]
    texts = [
        [long_text(program, others, 31 * number + place) for place, program in enumerate(own[:4])]
        for number, own in enumerate(programs[problem["problem_id"]] for problem in problems)
    ]
    return Starter(problems, texts)


def long_text(program: str, others: list[str], seed: int) -> str:
    """A program after functions made of other programs, to PROGRAM_BYTES, with the places to change."""
    parts: list[str] = []
    while sum(map(len, parts)) + len(program) < PROGRAM_BYTES:
        other = others[(seed * 7919 + 104_729 * len(parts)) % len(others)]
        body = "".join(f"    {line}\n" for line in renamed(other).splitlines())
        parts.append(f"def unused_{len(parts)}\x01():\n{body}    return \x02\n\n\n")
    return "".join(parts) + renamed(program)


def renamed(program: str) -> str:
    """The program with a mark behind each variable of one letter."""
    return NAME.sub(lambda match: match[1] + "\x01", program)


def problem_lines(base: Starter) -> list[dict[str, Any]]:
    """PROBLEMS problems in the project's own format, copies of the starter's under other names."""
    copied = [(i, base.problems[i % len(base.problems)]) for i in range(PROBLEMS)]
    return [
        {**problem, "problem_id": problem_id(i), "title": f"{problem['title']} {i}"} for i, problem in copied
    ]


def problem_id(number: int) -> str:
    return f"scale/{number:05}"


def program_text(base: Starter, problem: int, text: int, variant: int, near: int) -> str:
    texts = base.texts[problem % len(base.texts)]
    return texts[text % len(texts)].replace("\x01", f"_{variant}").replace("\x02", str(near))


def trajectory_rows(base: Starter, begin: int, count: int) -> pl.DataFrame:
    """Rows number `begin` to `begin + count` of the bulk, with `outcome`, which is not a column of the table:
    a number below 20 that is the same for equal programs.
    """
    rng = np.random.default_rng(begin)
    problems = rng.integers(0, PROBLEMS, count)
    texts, variants = rng.integers(0, 4, count), rng.integers(0, VARIANTS, count)
    near = np.minimum(rng.geometric(0.2, count) - 1, NEAR - 1)
    programs = [
        program_text(base, *chosen)
        for chosen in zip(problems.tolist(), texts.tolist(), variants.tolist(), near.tolist(), strict=True)
    ]
    numbers = np.arange(begin, begin + count)
    return with_identity(
        pl.DataFrame(
            {
                "problem_id": [problem_id(number) for number in problems.tolist()],
                "origin": [ORIGINS[number % len(ORIGINS)] for number in numbers.tolist()],
                "policy_step": numbers // 1_000,
                "source_key": [f"bulk-{number}" for number in numbers.tolist()],
                "program": programs,
                "outcome": (7 * texts + 3 * variants + near) % 20,
                "created_at": [START + timedelta(milliseconds=60 * number) for number in numbers.tolist()],
                "source_line": numbers,
            }
        ),
        f"scale/{begin}",
    )


def with_identity(rows: pl.DataFrame, batch: str) -> pl.DataFrame:
    """The rows with their policy, batch and id, as ingestion and rollouts write them."""
    rows = rows.with_columns(
        policy_id=pl.format("policy-{}", pl.col("policy_step") // 1_000),
        run_id=pl.when(pl.col("origin") == "online").then(pl.lit(RUN)),
        temperature=pl.lit(1.0),
        top_p=pl.lit(1.0),
        extraction=pl.lit("given"),
        language=pl.lit("python3"),
        behaviour_logprob=pl.lit(-20.0),
        batch_id=pl.lit(batch),
        source_file=pl.lit(batch),
    )
    ids = [trajectory_id(row) for row in rows.drop("outcome", strict=False).iter_rows(named=True)]
    return rows.with_columns(trajectory_id=pl.Series(ids))


def verdicts_of(rows: pl.DataFrame, hashes: dict[str, str], tests: int) -> pl.DataFrame:
    """A verdict of each row, as the judge writes them: by `outcome` accepted, or a failure at one of the
    tests.
    """
    failures = ["wrong_answer"] * 10 + ["runtime_error"] * 2
    results = [[result(number, "accepted") for number in range(tests)]]
    for place, verdict in enumerate(failures):
        last = place % tests
        passed = [result(number, "accepted") for number in range(last)]
        results.append([*passed, result(last, verdict)])
    kind = (rows["outcome"] - 7).clip(0)
    kinds = pl.DataFrame(
        {
            "verdict": ["accepted", *failures],
            "passed": [tests, *(place % tests for place in range(len(failures)))],
            "first_failure": [None, *(f"{place % tests}" for place in range(len(failures)))],
            "tests": pl.Series(results, dtype=TABLES["verdicts"].empty.schema["tests"]),
        }
    )
    return (
        rows.select("trajectory_id", "problem_id")
        .hstack(kinds[kind.to_numpy().astype(np.int64)])
        .with_columns(
            test_set_hash=rows["problem_id"].replace_strict(hashes, return_dtype=pl.String),
            judge_version=pl.lit(judge_version()),
            attempt=pl.lit(1, pl.Int32),
            total=pl.lit(tests, pl.Int32),
            cpu_s=pl.lit(0.02),
            memory_mb=pl.lit(9.5),
            tier=pl.lit("full"),
            toolchain=pl.lit("Python 3.13"),
            judged_at=rows["created_at"],
            isolated_check=pl.lit(None, pl.Boolean),
            score=pl.lit(None, pl.Float64),
        )
        .cast({"passed": pl.Int32})
        .select(Verdicts.column_names())
    )


def result(number: int, verdict: str) -> dict[str, Any]:
    return {
        "test_id": f"{number}", "verdict": verdict, "cpu_s": 0.002, "wall_s": 0.003, "memory_mb": 9.5,
        "exit_code": 0, "signal": None, "output_digest": f"{number:032x}", "output_head": f"{number}\n",
        "detail": None,
    }  # fmt: skip


def scores_of(rows: pl.DataFrame, every: int = SCORED_SHARE) -> pl.DataFrame:
    """Reference scores of one row in `every`: few tokens, because their number is not what is measured."""
    rows = rows.filter(pl.col("source_line") // len(ORIGINS) % every == 0)
    tokens = pl.Series(np.tile(np.arange(40, dtype=np.int32), (rows.height, 1)))
    return rows.select("trajectory_id", "problem_id").with_columns(
        reference=pl.lit(REFERENCE),
        prompt_ids=tokens.arr.to_list().list.head(24),
        completion_ids=tokens.arr.to_list(),
        logprobs=pl.Series(np.full((rows.height, 40), -0.5, dtype=np.float32)).arr.to_list(),
        logprob_sum=pl.lit(-20.0),
        scored_at=rows["created_at"],
    )


def grow(store: Store, rows: int, progress: Any) -> None:
    """Append trajectories, verdicts and scores until the bulk has this many rows; goes on where an earlier
    call was stopped.
    """
    base = starter()
    hashes, tests = tests_of(store)
    begun = store.last_sequence("batches", "scale") + 1
    for begin in range(begun * CHUNK_ROWS, rows, CHUNK_ROWS):
        frame = trajectory_rows(base, begin, min(CHUNK_ROWS, rows - begin))
        sequence = begin // CHUNK_ROWS
        for table, part in (
            ("trajectories", frame.drop("outcome")),
            ("verdicts", verdicts_of(frame, hashes, tests)),
            ("reference_scores", scores_of(frame)),
            ("batches", batch_of(frame)),
        ):
            store.append(table, part, producer="scale", sequence=sequence)
        progress(f"{begin + frame.height:,} of {rows:,} rows")


def tests_of(store: Store) -> tuple[dict[str, str], int]:
    """The hash of each problem's tests, and the smallest number of tests."""
    problems = store.read("problems", ["problem_id", "test_set_hash", "test_count"])
    hashes = dict(problems.select("problem_id", "test_set_hash").iter_rows())
    return hashes, int(problems["test_count"].min() or 1)  # type: ignore[arg-type]


def batch_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The row of `batches` that says how many rows were accepted."""
    now = datetime.now(UTC)
    name = rows["batch_id"][0]
    return pl.DataFrame(
        {
            "batch_id": [name], "adapter": ["scale"], "source_file": [name], "source_sha256": ["0" * 64],
            "read": [rows.height], "accepted": [rows.height], "present": [0], "quarantined": [0],
            "started_at": [now], "finished_at": [now],
        }
    )  # fmt: skip


def fresh_rows(
    base: Starter, turn: int, problems: int = 50, copies: int = 8, stored: int = 12
) -> pl.DataFrame:
    """A step of a run, 1,000 rows: for each problem one new program `copies` times, and `stored` programs of
    the forms that the bulk has. `turn`: another number gives other rows.
    """
    rng = np.random.default_rng([1, turn])
    rows: list[dict[str, Any]] = []
    for problem in rng.choice(PROBLEMS, problems, replace=False).tolist():
        new = program_text(base, problem, 0, VARIANTS + 1 + turn, turn)
        old = [
            program_text(base, problem, int(text), int(variant), 0)
            for text, variant in zip(
                rng.integers(0, 4, stored), rng.integers(0, VARIANTS, stored), strict=True
            )
        ]
        rows += [{"problem_id": problem_id(problem), "program": text} for text in [new] * copies + old]
    now = datetime.now(UTC)
    frame = pl.DataFrame(rows).with_columns(
        origin=pl.lit("online"),
        policy_step=pl.lit(FRESH_STEP + turn, pl.Int64),
        source_key=pl.format("turn-{}-{}", pl.lit(turn), pl.int_range(pl.len())),
        created_at=pl.lit(now),
        source_line=pl.int_range(pl.len(), dtype=pl.Int64),
    )
    return with_identity(frame, f"turn-{turn}")
