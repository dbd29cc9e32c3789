"""A large store for `./run bench view`: trajectories whose programs are real ones, mutated, with verdicts.

Programs are joined from pieces of real programs until they have about 1 KB. Some identifiers of a piece are
renamed and its numbers replaced, so that the vocabulary has a long tail, as that of real programs has: a few
words are in most rows, most words in very few. Making it again goes on after the last append.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.store import ORIGINS, Store

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "data" / "starter" / "solutions.jsonl.gz"
BATCH_ROWS = 250_000
PIECES = 100_000
PROBLEMS = 20_000
PROGRAM_CHARACTERS = 1_000
NAME = re.compile(r"\b(?!def|for|if|in|print|return|else|while|input|range|int)[a-z_]{3,}\b")
NUMBER = re.compile(r"\b\d+\b")


def real_programs(path: Path, limit: int = 20_000) -> list[str]:
    """Texts of the columns `program` or `code` of a JSON Lines file."""
    texts = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            texts.append(row.get("program") or row.get("code") or "")
            if len(texts) == limit:
                break
    return [text for text in texts if text]


def mutated(rng: np.random.Generator, text: str) -> str:
    """The text with a third of its kinds of names renamed and half of its numbers replaced."""
    names = sorted(set(NAME.findall(text)))
    renamed = {name: f"{name}_{rng.integers(3_000)}" for name in names if rng.random() < 0.33}
    text = NAME.sub(lambda match: renamed.get(match[0], match[0]), text)
    return NUMBER.sub(lambda match: str(rng.integers(100_000)) if rng.random() < 0.5 else match[0], text)


def pieces(rng: np.random.Generator, programs: list[str]) -> list[str]:
    return [mutated(rng, programs[i])[:PROGRAM_CHARACTERS] for i in rng.integers(len(programs), size=PIECES)]


def programs_of(rng: np.random.Generator, parts: list[str], rows: int) -> list[str]:
    """Programs of about PROGRAM_CHARACTERS; each has a name and a number that hardly any other has."""
    mean = sum(map(len, parts)) / len(parts)
    each = max(1, round(PROGRAM_CHARACTERS / mean))
    chosen = rng.integers(len(parts), size=(rows, each)).tolist()
    rare = rng.integers(1 << 30, size=rows).tolist()
    return [
        f"limit_{one:x} = {one % 1_000_003}\n" + "\n".join([parts[i] for i in row])
        for row, one in zip(chosen, rare, strict=True)
    ]


def trajectories(rng: np.random.Generator, parts: list[str], number: int, rows: int) -> pl.DataFrame:
    ids = rng.bytes(rows * 16).hex()
    frame = pl.DataFrame(
        {
            "trajectory_id": [ids[i : i + 32] for i in range(0, len(ids), 32)],
            "problem_id": rng.integers(0, PROBLEMS, rows),
            "origin": rng.choice(ORIGINS, rows),
            "policy_id": rng.integers(0, 30, rows),
            "policy_step": rng.integers(0, 1_000, rows),
            "temperature": rng.random(rows),
            "program": programs_of(rng, parts, rows),
            "language": rng.choice(["python3", "cpp", "java"], rows),
            "finish_reason": rng.choice(["stop", "length"], rows, p=[0.95, 0.05]),
            "source_line": np.arange(rows),
        }
    )
    return frame.with_columns(
        pl.format("bench/{}", "problem_id").alias("problem_id"),
        pl.format("policy-{}", "policy_id").alias("policy_id"),
        pl.lit(f"batch-{number}").alias("batch_id"),
        source_key="trajectory_id",
        extraction=pl.lit("given"),
        source_file=pl.lit("bench"),
        created_at=pl.lit(datetime.now(UTC)),
    )


def verdicts(rng: np.random.Generator, frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.height
    passed = rng.integers(0, 11, rows)
    columns = frame.select("trajectory_id", "problem_id").with_columns(
        test_set_hash=pl.lit("bench"),
        judge_version=pl.lit("bench-1"),
        attempt=pl.lit(1, pl.Int32),
        passed=pl.Series(passed, dtype=pl.Int32),
        total=pl.lit(10, pl.Int32),
        cpu_s=pl.Series(rng.random(rows)),
        tier=pl.lit("bench"),
        judged_at=pl.lit(datetime.now(UTC)),
    )
    wrong = rng.choice(["wrong_answer", "runtime_error", "time_limit_exceeded"], rows)
    return columns.with_columns(
        verdict=pl.when(pl.col("passed") == 10).then(pl.lit("accepted")).otherwise(pl.Series(wrong)),
        first_failure=pl.when(pl.col("passed") < 10).then(pl.format("test-{}", "passed")),
    )


def problems(rng: np.random.Generator, parts: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "problem_id": [f"bench/{i}" for i in range(PROBLEMS)],
            "title": [f"Problem number {i}" for i in range(PROBLEMS)],
            "statement": [f"Given two integers, print case {i}.\n{parts[i]}" for i in range(PROBLEMS)],
            "split": rng.choice(["train", "test"], PROBLEMS),
            "source_line": range(PROBLEMS),
        }
    ).with_columns(
        source=pl.lit("bench"),
        input_mode=pl.lit("stdin"),
        checker=pl.lit("tokens"),
        case_sensitive=pl.lit(True),
        tags=pl.lit([], dtype=pl.List(pl.String)),
        test_set_hash=pl.lit("bench"),
        test_count=pl.lit(10, pl.Int32),
        batch_id=pl.lit("bench"),
        source_file=pl.lit("bench"),
    )


def completed(store: Store, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the contract's other columns as nulls."""
    from pipeline.store import TABLES

    empty = TABLES[name].empty
    missing = [
        pl.lit([] if name == "tests" else None, kind).alias(name)
        for name, kind in empty.schema.items()
        if name not in frame.columns
    ]
    return frame.with_columns(missing).select(empty.columns).cast(dict(empty.schema))


def synthetic_store(folder: Path, rows: int, source: Path = PROGRAMS) -> Store:
    """A compacted store with this many trajectories, all judged."""
    store = Store(folder / "store")
    parts = pieces(np.random.default_rng(0), real_programs(source))
    store.append("problems", completed(store, "problems", problems(np.random.default_rng(1), parts)),
                 producer="bench", sequence=0)  # fmt: skip
    first = store.last_sequence("verdicts", "bench") + 1
    for number in range(first, -(-rows // BATCH_ROWS)):
        rng = np.random.default_rng(number + 2)
        frame = trajectories(rng, parts, number, min(BATCH_ROWS, rows - number * BATCH_ROWS))
        for name, part in (("trajectories", frame), ("verdicts", verdicts(rng, frame))):
            store.append(name, completed(store, name, part), producer="bench", sequence=number)
        print(f"{number * BATCH_ROWS + frame.height:,} of {rows:,} rows", file=sys.stderr, flush=True)
    if first * BATCH_ROWS < rows:
        for name in ("trajectories", "verdicts"):
            store.maintain(name)
    return store
