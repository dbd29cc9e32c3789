"""Benchmark of formats: `./run bench formats [--size SHARE]`, about 15 minutes at full size. The last line
is JSON.

* adapters, real_writer_files: built-in adapters, and those that read a file of the real writer
  (`tests/writers/files`, made by `tests/writers/make.py`); real_writer_files_unread: those whose package is
  not here;
* rows, accepted, refused, unexplained: rows of these files and of the contest bundle; unexplained are rows
that
  are neither accepted, nor present, nor refused with a reason;
* roundtrip_lossless: 1 if every format of `spo corpus export` is read back with all columns but those in
  roundtrip_lost (lineage, verdicts, rewards); roundtrips: those formats; roundtrip_left_out: formats whose
  package is not here, and why;
* extraction_equal: share of the bundle's stored answers in Python whose program is the one that the source
took,
  white space aside, the least of the models; where the source took nothing there is nothing to compare with.
  `by_model` has share equal and share that parses for each. extraction_worst_ms: the slowest of the texts of
  10,000,000 characters of `tests/pipeline/test_linear_time.py`;
* behaviour_precision: share of pairs with one verdict among the pairs that collapse without a verdict
(equal in
  tokens), the least of the length classes with 500 pairs or more; the verdicts are those of the bundle's own
  runs, without time limits. near_precision: the same of near-duplicates, which collapse only within a
  verdict;
* problems_losing_last_accepted: problems with an accepted human program that the corpus `humans.sql` has
none of;
* ingest_ratio, dedup_vs_best_peer: the parts `ingest` and `dedup` of `./run bench ingest`, the medians of
  five rounds.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import importlib.util
import itertools
import json
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.adapters import BUILT_IN
from pipeline.corpora import INTERCHANGE, INTERCHANGE_LOST, CorpusError, Spec, export_as, publish, read_spec
from pipeline.dedup import clusters, deduplicate
from pipeline.dedup.incremental import programs_of
from pipeline.dedup.signatures import sign
from pipeline.ingest import ingest
from pipeline.store import connect, query
from pipeline.store.store import Store
from pipeline.text import extract_program

ROOT = Path(__file__).parents[2]
WRITERS = ROOT / "tests" / "writers"
CLASSES = (32, 64, 128, 256)
FEWEST_PAIRS = 500
# Adapters of problems with a file of the writer; adapters that need a package which is not in the lock.
OF_PROBLEMS = ("humaneval",)
NEEDS = {"rollout_store": "lance_context"}
# Verdicts that another run may change.
UNSURE = ("partial", "time_limit_exceeded")
PROBLEM = {
    "problem_id": "own/double",
    "statement": "Read one integer n from standard input and print twice its value, nothing else.",
    "tests": [{"input": "3", "expected_output": "6"}],
}
STUB = {
    "problem_id": "humaneval/0",
    "statement": "def double(n):\n",
    "starter_code": 'def double(n):\n    """Twice n."""\n',
    "entry_point": "double",
    "input_mode": "function",
    "checker": {"kind": "function"},
    "tests": [{"mode": "check", "input": "def check(candidate):\n    assert candidate(2) == 4\n"}],
}


def module(path: Path):
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def bench_writers(folder: Path) -> dict:
    """Rows of every file that a real writer made."""
    problems = (
        PROBLEM,
        STUB,
        PROBLEM | {"problem_id": "lcb/double"},
        STUB | {"problem_id": "humanevalplus/0"},
    )
    (folder / "problems.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    store = Store(folder / "writers")
    ingest(store, "plain", str(folder / "problems.jsonl"))
    folders = [path for path in sorted((WRITERS / "files").iterdir()) if path.is_dir()]
    # Read into a store of their own: they hold a problem that is above, too. Others are read by a package.
    own_store = Store(folder / "problems")
    unread = [
        writer.name for writer in folders if writer.name in NEEDS and find_spec(NEEDS[writer.name]) is None
    ]
    tokenizer = {"tokenizer": str(WRITERS / "files" / "tinker_capture" / "tokenizer.json")}
    mappings = {"tinker_capture": tokenizer}
    batches = [
        batch
        for writer in folders
        if writer.name not in unread
        for batch in ingest(
            own_store if writer.name in OF_PROBLEMS else store,
            writer.name,
            str(writer),
            mapping=mappings.get(writer.name),
        )
    ]
    lossless = round_trip(store, folder)
    return {
        "adapters": len(BUILT_IN),
        "real_writer_files": len(folders),
        "real_writer_files_unread": unread,
        **counts_of(batches),
        **lossless,
    }


def round_trip(store: Store, folder: Path) -> dict:
    """Writes the trajectories in each format, reads them into another store, and compares them."""
    claims = store.read("trajectories", ["trajectory_id", "problem_id", "claimed_verdict"])
    store.append_next("verdicts", verdicts_of(claims), producer="claims")
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    before = store.read("trajectories").sort("trajectory_id")
    before = before.drop(set(INTERCHANGE_LOST) & set(before.columns))
    lossless, left_out = [], {}
    for form in INTERCHANGE:
        other = Store(folder / f"{form}-read-back")
        other.append_next("problems", store.read("problems"), producer="copy")
        try:
            written = export_as(store, corpus, folder / f"{form}-written", form)
        except CorpusError as error:
            left_out[form] = str(error)
            continue
        ingest(other, form, str(written))
        after = other.read("trajectories", before.columns).sort("trajectory_id")
        lossless += [form] if after.equals(before) else []
    tried = set(INTERCHANGE) - set(left_out)
    return {
        "roundtrip_lossless": int(set(lossless) == tried),
        "roundtrips": lossless,
        "roundtrip_lost": list(INTERCHANGE_LOST),
        "roundtrip_left_out": left_out,
    }


def counts_of(batches: list) -> dict:
    read, accepted, refused = (
        sum(getattr(b, name) for b in batches) for name in ("read", "accepted", "quarantined")
    )
    explained = sum(b.accepted + b.present + sum(b.reasons.values()) for b in batches)
    return {"rows": read, "accepted": accepted, "refused": refused, "unexplained": read - explained}


def bench_extraction(data: Path) -> dict:
    """Programs of the stored answers, and the time for texts that nobody wrote."""
    equal, parsed = defaultdict(Counter), defaultdict(Counter)
    with gzip.open(data / "model_samples.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            if not (row["completion"] and row["code"].strip() and row["language"] == "python3"):
                continue
            stub = row["code"].removesuffix(row["completion"]) if row["model"] == "CodeGen-16B-mono" else None
            program = extract_program(row["completion"], "python3", stub)[0]
            equal[row["model"]][program.split() == row["code"].split()] += 1
            parsed[row["model"]][parses(program)] += 1
    by_model = {
        model: {"answers": counts.total(), "equal": share(counts), "parses": share(parsed[model])}
        for model, counts in sorted(equal.items())
    }
    shapes = module(ROOT / "tests" / "pipeline" / "test_linear_time.py").FENCED
    worst = max((milliseconds(make), name) for name, make in shapes.items())
    return {
        "extraction_answers": sum(one["answers"] for one in by_model.values()),
        "extraction_equal": min(one["equal"] for one in by_model.values()),
        "extraction_worst_ms": round(worst[0]),
        "by_model": by_model,
    }


def share(counts: Counter) -> float:
    return round(counts[True] / max(1, counts.total()), 4)


def parses(program: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(ast.parse(program).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False


def milliseconds(make) -> float:
    text = make(1_000_000)
    text = (text * (10_000_000 // len(text) + 1))[:10_000_000]
    begin = time.process_time()
    extract_program(text, "python3")
    return 1_000 * (time.process_time() - begin)


def programs_with_verdicts(data: Path) -> pl.DataFrame:
    rows = []
    for name, key in (("human_solutions", "source"), ("model_samples", "code")):
        with gzip.open(data / f"{name}.jsonl.gz", "rt") as lines:
            for row in map(json.loads, lines):
                verdict = row.get("verified")
                if row[key] and verdict and verdict not in UNSURE and not row["language"].endswith("?"):
                    rows.append((row["problem_id"], row["language"], row[key], verdict == "accepted"))
    names = ["problem_id", "language", "program", "accepted"]
    return pl.DataFrame(rows, schema=names, orient="row")


def bench_behaviour(data: Path) -> dict:
    """Pairs of duplicates with known verdicts: do they have the same one?"""
    same: dict[str, Counter] = defaultdict(Counter)
    near: Counter = Counter()
    for (language,), part in programs_with_verdicts(data).group_by(["language"], maintain_order=True):
        rows = part.hstack(sign(part["program"], str(language)).frame())
        left, right = clusters.near_pairs(programs_of(rows))
        accepted, tokens = rows["accepted"].to_numpy(), np.array(rows["token_hash"].to_list())
        lengths = rows["token_count"].to_numpy()[left]
        for length, is_equal, agrees in zip(
            lengths.tolist(), (tokens[left] == tokens[right]).tolist(),
            (accepted[left] == accepted[right]).tolist(), strict=True,
        ):  # fmt: skip
            if is_equal:
                bound = next((bound for bound in CLASSES if length <= bound), "more")
                same[f"up to {bound}"][agrees] += 1
            else:
                near[agrees] += 1
    classes = {
        name: {"pairs": counts.total(), "same": share(counts)} for name, counts in sorted(same.items())
    }
    counted = [one["same"] for one in classes.values() if one["pairs"] >= FEWEST_PAIRS]
    return {
        "behaviour_precision": min(counted, default=None),
        "near_precision": share(near),
        "classes": classes,
    }


def bench_corpora(folder: Path, data: Path, size: float) -> dict:
    """The bundle's human programs with their claims as verdicts, and what the corpus of humans retains."""
    store = Store(folder / "bundle")
    batches = ingest(store, "bundle", str(data), limit=None if size >= 1 else max(50, int(4_900 * size)))
    claims = store.read("trajectories", ["trajectory_id", "problem_id", "claimed_verdict"]).drop_nulls()
    store.append_next("verdicts", verdicts_of(claims), producer="claims")
    deduplicate(store)
    retained = publish(store, read_spec(ROOT / "data" / "corpora" / "humans.sql")).rows
    with connect(store) as connection:
        lost = query(
            connection,
            """
            select count(*) as lost from (
                select problem_id, bool_or(trajectory_id in (select unnest($rows))) as kept from judged
                where verdict = 'accepted' and origin = 'human' and split = 'train' group by problem_id
            ) where not kept
            """,
            {"rows": retained.to_list()},
        )["lost"][0]
    return {"problems_losing_last_accepted": lost, "bundle": counts_of(batches)}


def verdicts_of(claims: pl.DataFrame) -> pl.DataFrame:
    is_right = pl.col("claimed_verdict") == "accepted"
    return claims.select(
        "trajectory_id", pl.lit("claims").alias("test_set_hash"), pl.lit("claims").alias("judge_version"),
        pl.lit(1, pl.Int32).alias("attempt"), "problem_id",
        pl.when(is_right.fill_null(False)).then(pl.lit("accepted")).otherwise(pl.lit("wrong_answer")).alias("verdict"),
        is_right.fill_null(False).cast(pl.Int32).alias("passed"), pl.lit(1, pl.Int32).alias("total"),
        pl.lit([], pl.List(pl.Null)).cast(type_of_tests()).alias("tests"), pl.lit(0.0).alias("cpu_s"),
        pl.lit("none").alias("tier"), pl.lit(time.time_ns() // 1_000).cast(pl.Datetime("us",
        "UTC")).alias("judged_at"),
    )  # fmt: skip


def type_of_tests() -> pl.DataType:
    from pipeline.store import TABLES

    return TABLES["verdicts"].empty.schema["tests"]


def bench_speed(other, size: float) -> dict:
    """The ratios of `./run bench ingest`, of all rounds, and what they are made of."""
    figures = other.median_round("ingest", size) | other.median_round("dedup", size)
    wanted = (
        *("ingest_ratio", "ingest_ratios", "ingest_cpu_s", "plain_cpu_s"),
        *(
            "dedup_vs_best_peer",
            "dedup_ratios",
            "dedup_programs_per_cpu_s",
            "dedup_recall",
            "dedup_precision",
        ),
    )
    return {name: figures[name] for name in wanted if name in figures}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--only", choices=["writers", "extraction", "behaviour", "corpora", "speed"])
    options = parser.parse_args()
    other = module(ROOT / "tests" / "benchmarks" / "ingest.py")
    figures: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = {
            "writers": lambda: bench_writers(folder),
            "extraction": lambda: bench_extraction(other.DATA),
            "behaviour": lambda: bench_behaviour(other.DATA),
            "corpora": lambda: bench_corpora(folder, other.DATA, options.size),
            "speed": lambda: bench_speed(other, options.size),
        }
        needs_bundle = ("extraction", "behaviour", "corpora")
        for name, part in parts.items():
            if options.only in (None, name) and (name not in needs_bundle or other.DATA.is_dir()):
                figures |= part()
    for key, value in itertools.chain(figures.items()):
        print(f"{key:>30}  {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
