"""Benchmark of ingestion and deduplication: `./run bench ingest [--programs N] [--stored N] [--new N] [--fuzzed N]`.

The last line is JSON. What is compared with what:
* ingest_ratio: CPU-seconds of reading the bundle's files (gzip, JSON) and writing their rows to Parquet (zstd level 3) with
  polars alone, divided by CPU-seconds of ingesting them: hashes, contract checks, look-ups, Delta commits. 1 would be free;
* dedup_recall, dedup_precision: pairs of programs in one cluster, against clusters by comparing every pair of shingle sets, on a
  sample of the problems; programs are mutated from real ones, or from the starter set where the bundle is absent;
* dedup_vs_best_peer: programs per CPU-second of the whole path (lex, sign, cluster, verify), over that of the best of those peers
  that are installed (datasketch, gaoya; on the same shingles, which spares them the lexing); null where none is;
* incremental_s: wall seconds of `deduplicate` for `--new` programs beside `--stored` signed ones.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.clusters import THRESHOLD, Programs, components
from pipeline.dedup import deduplicate
from pipeline.ingest import BatchSummary, ingest
from pipeline.signatures import sign
from pipeline.store import Store

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SPO_DATA", ROOT / "../shared/data"))
BUNDLE = ("problems.jsonl.gz", "human_solutions.jsonl.gz", "model_samples.jsonl.gz")
PROGRAMS_A_PROBLEM = 100


def tests_of(name: str):
    """A module of the tests, for its brute force and its mutators."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "pipeline" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bench_ingest(folder: Path) -> dict:
    if not DATA.is_dir():
        return {"ingest_ratio": None, "why": "the contest bundle is not here; set SPO_DATA"}
    batches, seconds, wall, peak_mb = measured_ingest(folder)
    begin = time.process_time()
    for name in BUNDLE:
        frame = pl.read_ndjson(gzip.decompress((DATA / name).read_bytes()), infer_schema_length=None)
        frame.write_parquet(folder / f"{name}.parquet", compression="zstd", compression_level=3)
    plain = time.process_time() - begin
    totals = {name: sum(getattr(batch, name) for batch in batches) for name in ("read", "accepted", "present", "quarantined")}
    for batch in batches:
        print(
            f"{batch.source_file}: read {batch.read}, accepted {batch.accepted}, quarantined {batch.quarantined} {batch.reasons}"
        )
    return {
        "ingest_ratio": round(plain / seconds, 2),
        "ingest_cpu_s": round(seconds, 2),
        "ingest_wall_s": round(wall, 2),
        "plain_cpu_s": round(plain, 2),
        "peak_mb": peak_mb,
        **totals,
        "rows_per_cpu_s": round(totals["read"] / seconds),
    }


def measured_ingest(folder: Path) -> tuple[list[BatchSummary], float, float, int]:
    """Batches, CPU-seconds, wall seconds, and the peak MiB of this process, which has done nothing else before."""
    begin, wall = time.process_time(), time.monotonic()
    batches = ingest(Store(folder / "bundle"), "bundle", str(DATA))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return batches, time.process_time() - begin, time.monotonic() - wall, peak_mb


def seeds() -> list[str]:
    """Real Python programs to mutate."""
    path = DATA / "human_solutions.jsonl.gz"
    path, key = (path, "source") if path.is_file() else (ROOT / "data" / "starter" / "solutions.jsonl.gz", "program")
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return sorted({row[key] for row in rows if row["language"] == "python3" and 100 < len(row[key]) < 5000})


def mutated(count: int, generator: random.Random) -> tuple[list[str], list[str]]:
    """Programs and their problems: of each problem a few seeds and mutants of them, from nearly equal to hardly alike."""
    mutants, real = tests_of("test_dedup").mutants, seeds()
    programs: list[str] = []
    while len(programs) < count:
        for seed in generator.sample(real, 4):
            programs += mutants(seed, PROGRAMS_A_PROBLEM // 4, generator)
    return programs[:count], [f"p/{number // PROGRAMS_A_PROBLEM}" for number in range(count)]


def arrays(signatures, groups: list[str]) -> Programs:
    token = np.unique(signatures.token_hash, return_inverse=True)[1].astype(np.int64)
    group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return Programs(group, token, signatures.minhash, signatures.shingles, signatures.shingle_offsets)


def bench_dedup(count: int) -> dict:
    generator = random.Random(1)
    programs, groups = mutated(count, generator)
    recall, precision = tests_of("test_dedup").compared(programs[:2000], groups[:2000])
    sign(pl.Series(programs[:10]), "python3")
    begin = time.process_time()
    parts = [sign(pl.Series(programs[a : a + 20_000]), "python3") for a in range(0, count, 20_000)]
    signed = time.process_time() - begin
    for number, part in enumerate(parts):
        components(arrays(part, groups[20_000 * number : 20_000 * (number + 1)]))
    whole = time.process_time() - begin
    peers = {name: rate(part_of(parts[0]), groups[:20_000]) for name, rate in PEERS.items() if importlib.util.find_spec(name)}
    own = (len(parts[0].raw_hash)) / (whole * len(parts[0].raw_hash) / count)
    return {
        "dedup_recall": round(recall, 4),
        "dedup_precision": round(precision, 4),
        "dedup_programs_per_cpu_s": round(count / whole),
        "sign_programs_per_cpu_s": round(count / signed),
        "peers_per_cpu_s": {name: round(value) for name, value in peers.items()},
        "dedup_vs_best_peer": round(own / max(peers.values()), 2) if peers else None,
    }


def part_of(signatures) -> list[np.ndarray]:
    cuts = signatures.shingle_offsets
    return [signatures.shingles[a:b] for a, b in pairwise(cuts)]


def datasketch_rate(shingles: list[np.ndarray], groups: list[str]) -> float:
    """Programs per CPU-second of datasketch: MinHash and LSH of all programs, candidates of each within its problem."""
    from datasketch import MinHash, MinHashLSH

    begin = time.process_time()
    index: dict[str, MinHashLSH] = {}
    for number, (one, group) in enumerate(zip(shingles, groups, strict=False)):
        minhash = MinHash(num_perm=125)
        minhash.update_batch([value.tobytes() for value in one])
        lsh = index.setdefault(group, MinHashLSH(params=(25, 5), num_perm=125))
        lsh.query(minhash)
        lsh.insert(number, minhash)
    return len(shingles) / (time.process_time() - begin)


def gaoya_rate(shingles: list[np.ndarray], groups: list[str]) -> float:
    """Programs per CPU-second of gaoya's index, each problem with its own."""
    from gaoya.minhash import MinHashStringIndex

    begin = time.process_time()
    index: dict[str, MinHashStringIndex] = {}
    for number, (one, group) in enumerate(zip(shingles, groups, strict=False)):
        held = index.setdefault(group, MinHashStringIndex(32, THRESHOLD, 25, 5, analyzer=None))
        text = [str(value) for value in one]
        held.query(text)
        held.insert_document(number, text)
    return len(shingles) / (time.process_time() - begin)


PEERS = {"datasketch": datasketch_rate, "gaoya": gaoya_rate}


def trajectories(programs: list[str], groups: list[str], first: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "trajectory_id": [f"{first + number:032x}" for number in range(len(programs))],
            "problem_id": groups,
            "program": programs,
            "source_key": [str(first + number) for number in range(len(programs))],
        }
    ).with_columns(
        *[pl.lit("human").alias(name) for name in ("origin", "policy_id")],
        *[pl.lit("bench").alias(name) for name in ("batch_id", "source_file", "extraction")],
        pl.lit("python3").alias("language"),
        pl.lit(datetime.now(UTC)).alias("created_at"),
        pl.lit(1, dtype=pl.Int64).alias("source_line"),
    )


def bench_incremental(folder: Path, stored: int, new: int) -> dict:
    """Batches of `new` programs beside `stored` signed and clustered ones; the median of three, each with a fresh handle."""
    store, generator = Store(folder / "incremental"), random.Random(2)
    programs, groups = mutated(min(stored, 50_000), generator)
    store.append_next("trajectories", trajectories(programs, groups, 0), producer="bench")
    deduplicate(store)
    tables = {name: store.read(name) for name in ("trajectories", "program_signatures", "duplicates")}
    for begin in range(len(programs), stored, len(programs)):
        # The same programs under other problems: what is compared with what stays the same, and they are signed once.
        for name, rows in tables.items():
            ids = [column for column in ("trajectory_id", "cluster_id", "representative_id") if column in rows.columns]
            renamed = [pl.Series(column, [f"{int(name, 16) + begin:032x}" for name in rows[column]]) for column in ids]
            rows = rows.with_columns(*renamed, (pl.lit(f"{begin}/") + pl.col("problem_id")).alias("problem_id"))
            store.append_next(name, rows, producer="bench")
    deduplicate(store)
    wall, cpu = [], []
    for batch in range(3):
        fresh = tests_of("test_dedup").mutants(programs[batch], new, generator)
        targets = generator.choices(sorted(set(groups)), k=new)
        store.append_next("trajectories", trajectories(fresh, targets, (batch + 1) << 40), producer="bench")
        begin, used = time.monotonic(), time.process_time()
        summary = deduplicate(Store(store.location))
        wall.append(time.monotonic() - begin)
        cpu.append(time.process_time() - used)
        assert summary.signed == new, summary
    return {
        "incremental_s": round(sorted(wall)[1], 3),
        "incremental_cpu_s": round(sorted(cpu)[1], 3),
        "stored": stored,
        "new": new,
    }


def bench_fuzz(folder: Path, rows: int) -> dict:
    fuzz = tests_of("test_ingest_fuzz")
    fuzz.ROWS = min(rows, 5_000)
    fuzzed = crashed = 0
    for seed in range(rows // fuzz.ROWS):
        place = folder / f"fuzz-{seed}"
        place.mkdir()
        try:
            fuzz.test_plain(place, 1000 + seed)
        except Exception as error:
            crashed += 1
            print(f"seed {1000 + seed}: {type(error).__name__} {error}")
        shutil.rmtree(place)
        fuzzed += fuzz.ROWS
    return {"fuzzed": fuzzed, "crashed": crashed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200_000)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=1_000)
    parser.add_argument("--fuzzed", type=int, default=100_000)
    options = parser.parse_args()
    figures: dict = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = (
            lambda: bench_ingest(folder),
            lambda: bench_dedup(options.programs),
            lambda: bench_incremental(folder, options.stored, options.new),
            lambda: bench_fuzz(folder, options.fuzzed),
        )
        for part in parts:
            found = part()
            figures |= found
            for key, value in found.items():
                print(f"{key:>26}  {value}")
            sys.stdout.flush()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
