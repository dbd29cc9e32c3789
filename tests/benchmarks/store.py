"""Benchmark of the store: `./run bench store [--rows N] [--commits N] [--kills N] [--folder F]`; the last
line is JSON.

Rows are synthetic: programs of about 1 KB cut at random from a text of source-like lines, every twentieth row
with 300 token ids. Each ratio compares with a plain tool on the same batches, measured in turn in the same
run: pyarrow writing Parquet (same types, zstd level 3, one file a batch), and DuckDB on those files.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pipeline.store import sql
from pipeline.store.store import Store
from pipeline.store.tables import TABLES
from pipeline.store.vocabularies import ORIGINS

PIPELINE_TESTS = Path(__file__).parents[1] / "pipeline"
GROUP_BY = (
    "SELECT origin, language, policy_id, count(*), avg(temperature), max(policy_step) FROM {} GROUP BY ALL"
)
LOOK_UP = "SELECT * FROM trajectories WHERE trajectory_id = $id"
BATCH_ROWS = 250_000
PINS = 100
WORDS = [
    "for",
    "if",
    "else",
    "return",
    "print",
    "int",
    "input",
    "len",
    "range",
    "sum",
    "append",
    "split",
    "def",
    "x",
    "n",
    "i",
]


def source_text(rng: np.random.Generator, size: int) -> str:
    """`size` characters of lines that compress about as source code does."""
    words = np.array([*WORDS, *(f"v{i}" for i in range(400)), *map(str, range(200)), *"+-*/=<>()[]:,"])
    chosen = words[np.minimum(rng.zipf(1.3, size // 4) - 1, len(words) - 1)]
    return "\n".join(" ".join(line) for line in np.array_split(chosen, max(len(chosen) // 8, 1)))[:size]


def batch(rng: np.random.Generator, text: str, number: int, rows: int) -> pl.DataFrame:
    starts, sizes = rng.integers(0, len(text) - 2000, rows), rng.integers(500, 1500, rows)
    ids = rng.bytes(rows * 16).hex()
    tokens = rng.integers(0, 50_000, (rows // 20 + 1, 300), dtype=np.int32).tolist()
    frame = pl.DataFrame(
        {
            "trajectory_id": [ids[i : i + 32] for i in range(0, len(ids), 32)],
            "problem_id": rng.integers(0, 20_000, rows),
            "origin": rng.choice(ORIGINS, rows),
            "policy_id": rng.integers(0, 30, rows),
            "policy_step": rng.integers(0, 1000, rows),
            "temperature": rng.random(rows),
            "program": [text[i : i + n] for i, n in zip(starts.tolist(), sizes.tolist(), strict=True)],
            "language": rng.choice(["python3", "cpp", "java"], rows),
            "token_ids": pl.Series(
                [tokens[i // 20] if i % 20 == 0 else None for i in range(rows)], dtype=pl.List(pl.Int32)
            ),
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


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_of(times: int, work) -> float:
    work()
    return statistics.median(timed(work) for _ in range(times))


def append_and_query(folder: Path, rows: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    text = source_text(rng, 50_000_000)
    store, plain = Store(folder / "store"), folder / "plain"
    plain.mkdir()
    schema = TABLES["trajectories"].arrow_schema
    seconds = {"store": 0.0, "pyarrow": 0.0}
    for number, start in enumerate(range(0, rows, BATCH_ROWS)):
        frame = batch(rng, text, number, min(BATCH_ROWS, rows - start))
        seconds["store"] += timed(
            lambda: store.append("trajectories", frame, producer="bench", sequence=number)  # noqa: B023
        )
        missing = [
            pl.lit(None, dtype=pl.Null).alias(name) for name in schema.names if name not in frame.columns
        ]
        complete = frame.with_columns(missing).select(schema.names)
        seconds["pyarrow"] += timed(
            lambda: pq.write_table(
                complete.to_arrow().cast(schema),  # noqa: B023
                plain / f"{number:05}.parquet",  # noqa: B023
                compression="zstd",
                compression_level=3,
            )
        )
        progress(f"{start + frame.height:,} of {rows:,} rows", seconds)
    wanted = frame["trajectory_id"][frame.height // 2]
    result = {
        "append_ratio": seconds["pyarrow"] / seconds["store"],
        "append_rows_per_s": rows / seconds["store"],
    }
    result["compaction_s"] = timed(lambda: store.maintain("trajectories"))
    return result | query_times(store, plain, wanted)


def query_times(store: Store, plain: Path, wanted: str) -> dict[str, float]:
    result = {}
    with sql.connect(store) as connection, duckdb.connect() as peer:
        ours = median_of(5, lambda: sql.query(connection, GROUP_BY.format("trajectories")))
        theirs = median_of(5, lambda: peer.sql(GROUP_BY.format(f"read_parquet('{plain}/*.parquet')")).pl())
        assert sql.query(connection, LOOK_UP, {"id": wanted}).height == 1
        result["lookup_ms"] = 1000 * median_of(5, lambda: sql.query(connection, LOOK_UP, {"id": wanted}))
    result |= {"groupby_s": ours, "groupby_ratio": ours / theirs}
    result["connect_s"] = median_of(3, lambda: sql.connect(store).close())
    return result


def many_commits(folder: Path, commits: int) -> dict[str, float]:
    """Append one row at a time, pinning 100 versions and compacting as a user would; then open the table
    afresh, delete all that no pin needs, and read every pinned version."""
    store = Store(folder / "commits")
    row = {"folder": ".", "fingerprint": "f", "details": "{}", "created_at": datetime.now(UTC)}
    spent, pinned = [], {}
    for number in range(commits):
        frame = pl.DataFrame([row | {"policy_id": f"p{number}"}])
        spent.append(timed(lambda: store.append("policies", frame, producer="bench", sequence=number)))  # noqa: B023
        if number % max(commits // PINS, 1) == 0 and len(pinned) < PINS:
            pinned[number + 1] = store.pin(f"pin-{number}", store.pins(["policies"]))["policies"]
        if number % 200 == 199:
            store.maintain("policies")
            progress(f"{number + 1:,} of {commits:,} commits", {"append": spent[-1]})
    assert store.version("policies") >= commits
    result = {
        "open_s": median_of(5, lambda: Store(store.location).version("policies")),
        "small_append_ms": 1000 * statistics.median(spent[-200:]),
        "log_files": len(list((folder / "commits/policies/_delta_log").iterdir())),
    }
    store.maintain("policies", retention_hours=0)
    rows = {
        count: store.snapshot("policies", version).read(["policy_id"])["policy_id"]
        for count, version in pinned.items()
    }
    right = sum(set(results) == {f"p{n}" for n in range(count)} for count, results in rows.items())
    return result | {"pins": len(pinned), "pins_readable": right}


def kill_runs(folder: Path, kills: int) -> dict[str, int]:
    spec = importlib.util.spec_from_file_location("store_kills", PIPELINE_TESTS / "store_kills.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outcome = module.run(Store(folder / "kills"), kills, seed=0)
    return {
        "kills": outcome.kills,
        "lost": outcome.lost,
        "doubled": outcome.doubled + outcome.half + outcome.tail_differs,
    }


def progress(what: str, seconds: dict[str, float]) -> None:
    print(
        what,
        ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()),
        file=sys.stderr,
        flush=True,
    )


TARGETS = {
    "append_ratio": ">= 0.5",
    "groupby_ratio": "<= 1.5",
    "groupby_s": "<= 1",
    "lookup_ms": "<= 150",
    "open_s": "<= 0.3",
    "pins_readable": "all pins",
    "lost": "0",
    "doubled": "0",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--commits", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument(
        "--folder", type=Path, help="where to write (about 1.5 KB a row); a temporary folder if left out"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-store-", dir=options.folder))
    try:
        result = append_and_query(folder, options.rows) if options.rows else {}
        result |= many_commits(folder, options.commits) if options.commits else {}
        result |= kill_runs(folder, options.kills) if options.kills else {}
    finally:
        shutil.rmtree(folder)
    for name, value in result.items():
        print(f"{name:18} {value:12.3f}  {TARGETS.get(name, '')}")
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
