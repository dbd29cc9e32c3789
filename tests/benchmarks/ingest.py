"""Benchmark of ingestion and deduplication: `./run bench ingest [--size SHARE]`, a share of the full sizes.

The last line is JSON. Each part runs in a process of its own. What is compared with what:
* ingest_ratio: CPU-seconds of reading the bundle's files (gzip, JSON) and writing their rows to Parquet (zstd
  at the level of the store's appends) with polars alone, divided by CPU-seconds of ingesting them: hashes,
  contract checks, look-ups, Delta commits. 1 would be free; peak_mb is that of its process. Both are done in
  turn, ROUNDS times, each round in a process of its own; the figures are those of the round with the median
  ratio, ingest_ratios has all. The libraries are loaded before. The same holds for dedup_vs_best_peer and
  dedup_ratios;
* dedup_recall, dedup_precision: pairs of programs in one cluster, against clusters by comparing every pair of
  shingle sets, on a sample of the problems; 200,000 programs mutated from real ones, or from the starter set
  where the bundle is absent;
* dedup_programs_per_cpu_s: the whole path (lex, sign, cluster, verify); dedup_vs_best_peer: that over the
  best whole path with datasketch, gaoya, datatrove or Daft on the same programs and parameters. Each begins
  with our shingles and goes as far as it can (see ingest_peers.py); what it has not counts with the time that
  it takes here: lexing and shingles for all, and for datatrove and Daft, which make signatures, all else too,
  so that they stand in for rensa. The peers are installed into an environment of their own under the system's
  temporary folder; what cannot be installed is named and left out;
* incremental_s: wall seconds of `deduplicate` for 1,000 programs beside 1,000,000 signed ones, the median of
  three batches; incremental_cpu_s its CPU-seconds; signatures_read_s, signatures_read_cpu_s: the same of
  reading ids and MinHash values of all signed programs and nothing else, before each batch;
  incremental_vs_read: the CPU-seconds of both divided;
* fuzzed, crashed: mutated rows of every adapter, 100,000 in all.
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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet  # noqa: F401 - the store loads it when it writes; polars is loaded before, too

from pipeline.dedup.clusters import Programs, components
from pipeline.dedup.deduplication import deduplicate
from pipeline.dedup.lexers import lex, lexer_of
from pipeline.dedup.signatures import (
    BLOCK_PROGRAMS,
    Signatures,
    minhash_of,
    shingles_of,
    sign,
    span_hashes,
    token_hashes,
)
from pipeline.ingest.ingestion import BatchSummary, ingest
from pipeline.store.parquet import APPEND_LEVEL
from pipeline.store.store import Store

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SPO_DATA", ROOT / "../shared/data"))
BUNDLE = ("problems.jsonl.gz", "human_solutions.jsonl.gz", "model_samples.jsonl.gz")
PROGRAMS_A_PROBLEM = 100
PROGRAMS, STORED, NEW, FUZZED = 200_000, 1_000_000, 1_000, 100_000
COMPARED = 2_000
# Of the parts with a ratio, whose two sides take seconds: on a machine with other work one ratio is 0.1 off.
ROUNDS = 5
RATIOS = {"ingest": "ingest_ratio", "dedup": "dedup_vs_best_peer"}
SIGNATURE = ["trajectory_id", "minhash"]
PEERS = {"datasketch": [], "gaoya": [], "datatrove": ["datatrove[processing]", "spacy"], "daft": []}


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
        frame.write_parquet(folder / f"{name}.parquet", compression="zstd", compression_level=APPEND_LEVEL)
    plain = time.process_time() - begin
    totals = {
        name: sum(getattr(batch, name) for batch in batches)
        for name in ("read", "accepted", "present", "quarantined")
    }
    return {
        "ingest_ratio": round(plain / seconds, 2),
        "ingest_cpu_s": round(seconds, 2),
        "ingest_wall_s": round(wall, 2),
        "plain_cpu_s": round(plain, 2),
        "peak_mb": peak_mb,
        **totals,
        "sources": {
            batch.source_file: {
                "read": batch.read,
                "accepted": batch.accepted,
                "quarantined": batch.quarantined,
                **batch.reasons,
            }
            for batch in batches
        },
        "rows_per_cpu_s": round(totals["read"] / seconds),
    }


def measured_ingest(folder: Path) -> tuple[list[BatchSummary], float, float, int]:
    """Batches, CPU-seconds, wall seconds, and the peak MiB of this process, which has done nothing else
    before.
    """
    begin, wall = time.process_time(), time.monotonic()
    batches = ingest(Store(folder / "bundle"), "bundle", str(DATA))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return batches, time.process_time() - begin, time.monotonic() - wall, peak_mb


def seeds() -> list[str]:
    """Real Python programs to mutate."""
    path = DATA / "human_solutions.jsonl.gz"
    path, key = (
        (path, "source") if path.is_file() else (ROOT / "data" / "starter" / "solutions.jsonl.gz", "program")
    )
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return sorted({row[key] for row in rows if row["language"] == "python3" and 100 < len(row[key]) < 5000})


def mutated(count: int, generator: random.Random) -> tuple[list[str], list[str]]:
    """Programs and their problems: of each problem a few seeds and mutants of them, from nearly equal to
    hardly alike.
    """
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
    recall, precision = tests_of("test_dedup").compared(programs[:COMPARED], groups[:COMPARED])
    sign(pl.Series(programs[:10]), "python3")
    begin = time.process_time()
    for first in range(0, count, BLOCK_PROGRAMS):
        tokens = lex(pl.Series(programs[first : first + BLOCK_PROGRAMS]), lexer_of("python3"))
        hashes = token_hashes(tokens)
        shingles_of(hashes, tokens.offsets)
        span_hashes(hashes, tokens.offsets)
    prepared = time.process_time() - begin
    begin = time.process_time()
    parts = [sign(pl.Series(programs[a : a + 20_000]), "python3") for a in range(0, count, 20_000)]
    signed = time.process_time() - begin
    for number, part in enumerate(parts):
        components(arrays(part, groups[20_000 * number : 20_000 * (number + 1)]))
    whole = time.process_time() - begin
    begin = time.process_time()
    for part in parts:
        for first in range(0, len(part.raw_hash), BLOCK_PROGRAMS):
            cuts = part.shingle_offsets[first : first + BLOCK_PROGRAMS + 1]
            minhash_of(part.shingles[cuts[0] : cuts[-1]], cuts - cuts[0])
    rensa = time.process_time() - begin
    peers = measured_peers(parts[0], programs[:20_000], groups[:20_000])
    beside = {"datasketch": prepared, "gaoya": prepared, "datatrove": whole - rensa, "daft": whole - rensa}
    paths = {
        name: 1 / (beside[name] / count + 1 / rate) for name, rate in peers.items() if isinstance(rate, float)
    }
    return {
        "dedup_recall": round(recall, 4),
        "dedup_precision": round(precision, 4),
        "dedup_programs": count,
        "dedup_programs_per_cpu_s": round(count / whole),
        "dedup_cpu_s": {
            "lex and shingles": round(prepared, 2),
            "sign": round(signed, 2),
            "of it rensa": round(rensa, 2),
            "cluster, verify": round(whole - signed, 2),
        },
        "peers_alone_per_cpu_s": {
            name: round(rate) if isinstance(rate, float) else rate for name, rate in peers.items()
        },
        "peers_whole_path_per_cpu_s": {name: round(rate) for name, rate in paths.items()},
        "dedup_vs_best_peer": round(count / whole / max(paths.values()), 2) if paths else None,
    }


def measured_peers(signatures: Signatures, programs: list[str], groups: list[str]) -> dict[str, float | str]:
    """Programs per CPU-second of each peer, or a word on why there is none."""
    python, missing = peers_environment()
    if python is None:
        return missing
    tokens = lex(pl.Series(programs), lexer_of("python3"))
    texts = [" ".join(tokens.of(number)).replace("\n", "|") for number in range(len(programs))]
    with tempfile.TemporaryDirectory() as folder:
        numbers = np.unique(groups, return_inverse=True)[1]
        arrays = {"shingles": signatures.shingles, "offsets": signatures.shingle_offsets, "groups": numbers}
        np.savez(Path(folder) / "programs.npz", **arrays)
        (Path(folder) / "texts.json").write_text(json.dumps(texts))
        script = Path(__file__).with_name("ingest_peers.py")
        run = subprocess.run([python, script, folder], stdout=subprocess.PIPE, text=True)
    return missing | (
        json.loads(run.stdout.splitlines()[-1])
        if run.returncode == 0
        else {"peers": f"exit code {run.returncode}"}
    )


def peers_environment() -> tuple[Path | None, dict[str, str]]:
    """Python of an environment that has the peers, made once; and those that cannot be installed here."""
    folder = (
        Path(tempfile.gettempdir()) / f"spo-peers-{os.getuid()}-{sys.version_info[0]}.{sys.version_info[1]}"
    )
    python, uv = folder / "bin" / "python", shutil.which("uv") or ROOT / ".venv" / "tools" / "bin" / "uv"
    if not Path(uv).is_file():
        return None, {"peers": "not measured: no uv to install them with"}
    if not python.is_file():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    missing = {}
    for peer, packages in PEERS.items():
        command = [uv, "pip", "install", "--quiet", "--python", python, *(packages or [peer])]
        if subprocess.run(command, stderr=subprocess.DEVNULL, env=os.environ | pip_settings()).returncode:
            missing[peer] = "not measured: it cannot be installed here"
    return python, missing


def pip_settings() -> dict[str, str]:
    """Where pip is set up to look for packages, in the words of uv, which reads none of it."""
    known = {"UV_DEFAULT_INDEX": "global.index-url", "UV_FIND_LINKS": "global.find-links"}
    command = [Path(sys.base_prefix) / "bin" / "python3", "-m", "pip", "config", "get"]
    results = {
        name: subprocess.run([*command, key], capture_output=True, text=True).stdout.strip()
        for name, key in known.items()
    }
    return {name: value for name, value in results.items() if value and name not in os.environ}


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
    """Batches of `new` programs beside `stored` signed and clustered ones; the median of three, each with
    a fresh handle.
    """
    store, generator = Store(folder / "incremental"), random.Random(2)
    programs, groups = mutated(min(stored, 50_000), generator)
    store.append_next("trajectories", trajectories(programs, groups, 0), producer="bench")
    deduplicate(store)
    tables = {name: store.read(name) for name in ("trajectories", "program_signatures", "duplicates")}
    for begin in range(len(programs), stored, len(programs)):
        # The same programs under other problems: what is compared with what stays the same, and they are
        # signed once.
        for name, rows in tables.items():
            ids = [
                column
                for column in ("trajectory_id", "cluster_id", "representative_id")
                if column in rows.columns
            ]
            renamed = [
                pl.Series(column, [f"{int(name, 16) + begin:032x}" for name in rows[column]])
                for column in ids
            ]
            rows = rows.with_columns(
                *renamed, (pl.lit(f"{begin}/") + pl.col("problem_id")).alias("problem_id")
            )
            store.append_next(name, rows, producer="bench")
    deduplicate(store)
    passes, reads = [], []
    for batch in range(3):
        fresh = tests_of("test_dedup").mutants(programs[batch], new, generator)
        targets = generator.choices(sorted(set(groups)), k=new)
        store.append_next("trajectories", trajectories(fresh, targets, (batch + 1) << 40), producer="bench")
        reads.append(timed(lambda: Store(store.location).read("program_signatures", SIGNATURE)))
        passes.append(timed(lambda: deduplicate(Store(store.location)).signed))
        assert passes[-1].result == new, passes[-1]
    wall, cpu, read_wall, read_cpu = (
        statistics.median(getattr(one, name) for one in runs)
        for runs in (passes, reads)
        for name in ("wall_s", "cpu_s")
    )
    return {
        "incremental_s": round(wall, 3),
        "incremental_cpu_s": round(cpu, 3),
        "signatures_read_s": round(read_wall, 3),
        "signatures_read_cpu_s": round(read_cpu, 3),
        "incremental_vs_read": round(cpu / read_cpu, 2),
        "stored": stored,
        "new": new,
    }


class Timed(NamedTuple):
    wall_s: float
    cpu_s: float
    result: Any


def timed(work: Callable[[], Any]) -> Timed:
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    return Timed(time.monotonic() - wall, time.process_time() - cpu, result)


def bench_fuzz(folder: Path, rows: int) -> dict:
    folder = folder / "fuzz"
    folder.mkdir()
    return tests_of("test_ingest_fuzz").fuzz_everything(folder, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--only", choices=PARTS, help="one part, in this process")
    options = parser.parse_args()
    figures: dict = {}
    if options.only is None:
        for part in PARTS:
            figures |= (
                median_round(part, options.size) if part in RATIOS else in_a_process(part, options.size)
            )
    else:
        with tempfile.TemporaryDirectory() as name:
            figures = PARTS[options.only](Path(name), options.size)
        shown(figures)
    print(json.dumps(figures))


def median_round(part: str, size: float) -> dict:
    """The figures of the round with the median ratio, and the ratios of all rounds."""
    rounds = [in_a_process(part, size) for _ in range(ROUNDS)]
    name = RATIOS[part]
    ratios = [figures[name] for figures in rounds]
    if None in ratios:
        return rounds[0]
    print(f"{name + ', median of':>26}  {ratios}")
    median = sorted(rounds, key=lambda figures: figures[name])[ROUNDS // 2]
    return median | {f"{part}_ratios": ratios}


def shown(figures: dict) -> None:
    for key, value in figures.items():
        if key == "sources":
            for source, counts in value.items():
                print(f"{source:>26}  {', '.join(f'{name} {count:,}' for name, count in counts.items())}")
        else:
            print(f"{key:>26}  {value}")


PARTS = {
    "ingest": lambda folder, size: bench_ingest(folder),
    "dedup": lambda folder, size: bench_dedup(max(int(PROGRAMS * size), COMPARED)),
    "incremental": lambda folder, size: bench_incremental(folder, max(int(STORED * size), NEW), NEW),
    "fuzz": lambda folder, size: bench_fuzz(folder, int(FUZZED * size)),
}


def in_a_process(part: str, size: float) -> dict:
    """Figures of a part in a process that does nothing else: what an earlier part has left in memory slows
    the next.
    """
    command = [sys.executable, "-P", __file__, "--only", part, "--size", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        *table, last = process.stdout
        print("".join(table), end="", flush=True)
    if process.returncode:
        raise SystemExit(f"part {part} ended with exit code {process.returncode}")
    return json.loads(last)


if __name__ == "__main__":
    main()
