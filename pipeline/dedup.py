"""Deduplication: signs programs without a signature, and clusters the problems that gained programs. Marks, never deletes.

Scope: programs of one problem in one language. A cluster is named by its smallest trajectory_id, which is its representative too:
a rule that looks neither at verdicts nor at the order of arrival. `level` says how closely a member is tied to the others:
`exact` some other has the same bytes, `token` the same tokens, `near` neither, `unique` there is no other.

Only what is missing is computed, so a second call does nothing and a killed one goes on. One process at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.clusters import Programs, components
from pipeline.signatures import ALGORITHM, PERMUTATIONS, sign
from pipeline.store import Store

PRODUCER = "deduplicate"
SIGNED_AT_ONCE = 20_000
CLUSTERED_AT_ONCE = 50_000
STATE = ["cluster_id", "representative_id", "level", "cluster_size"]


@dataclass(frozen=True)
class DedupProgress:
    """`stage` is sign or cluster; `done` of `total` programs."""

    stage: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class DedupSummary:
    """What a call did, and what holds now: programs by level, and clusters (of one or more)."""

    signed: int
    problems_clustered: int
    rows_changed: int
    pass_number: int | None
    programs: int
    clusters: int
    levels: dict[str, int]
    seconds: float


OnProgress = Callable[[DedupProgress], None]


def deduplicate(store: Store, on_progress: OnProgress | None = None) -> DedupSummary:
    """Sign and cluster what is new in `trajectories`; writes `program_signatures` and `duplicates`."""
    begin = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        if on_progress:
            on_progress(DedupProgress(stage, done, total, time.monotonic() - begin))

    signed = sign_missing(store, report)
    problems, changed, pass_number = cluster_missing(store, report)
    held = current(store).group_by("level").len().collect()
    levels = dict(sorted(held.iter_rows()))
    clusters = current(store).select(pl.col("cluster_id").n_unique()).collect().item()
    return DedupSummary(signed, problems, changed, pass_number, sum(levels.values()), clusters, levels, time.monotonic() - begin)


def current(store: Store) -> pl.LazyFrame:
    """The rows of `duplicates` that hold: for each trajectory those of the highest pass of this algorithm."""
    rows = store.snapshot("duplicates").scan().filter(pl.col("algorithm") == ALGORITHM)
    return rows.filter(pl.col("pass_number") == pl.col("pass_number").max().over("trajectory_id"))


def signed_ids(store: Store) -> pl.LazyFrame:
    rows = store.snapshot("program_signatures").scan().filter(pl.col("algorithm") == ALGORITHM)
    return rows.select("trajectory_id", "problem_id")


def sign_missing(store: Store, report: Callable[[str, int, int], None]) -> int:
    """Sign the trajectories without a signature by this algorithm; how many."""
    trajectories = store.snapshot("trajectories").scan()
    missing = trajectories.select("trajectory_id").unique().join(signed_ids(store), on="trajectory_id", how="anti").collect()
    done = 0
    for ids in missing.sort("trajectory_id").iter_slices(SIGNED_AT_ONCE):
        wanted = pl.col("trajectory_id").is_in(ids["trajectory_id"].implode())
        rows = trajectories.filter(wanted).select("trajectory_id", "problem_id", "language", "program").collect()
        rows = rows.unique("trajectory_id", keep="first", maintain_order=True)
        parts = [signed(part, language) for (language,), part in rows.group_by(["language"], maintain_order=True)]
        store.append_next("program_signatures", pl.concat(parts), producer=PRODUCER)
        done += ids.height
        report("sign", done, missing.height)
    return done


def signed(rows: pl.DataFrame, language: object) -> pl.DataFrame:
    signatures = sign(rows["program"], str(language)).frame()
    return rows.drop("program").with_columns(pl.lit(ALGORITHM).alias("algorithm")).hstack(signatures)


def cluster_missing(store: Store, report: Callable[[str, int, int], None]) -> tuple[int, int, int | None]:
    """Cluster the problems with programs that no pass has seen: (problems, rows of `duplicates` that changed, pass number)."""
    before = current(store).collect()
    known = signed_ids(store).collect()
    fresh = known.join(before, on="trajectory_id", how="anti")
    if not fresh.height:
        return 0, 0, None
    pass_number = 1 + max(before["pass_number"].to_list(), default=0)
    sizes = known.join(fresh.select(pl.col("problem_id").unique()), on="problem_id", how="semi").group_by("problem_id").len()
    total = sum(sizes["len"].to_list())
    done = changed = 0
    for problem_ids, programs in portions(sizes.sort("problem_id")):
        rows = clustered(store, problem_ids, before)
        same = before.join(rows, on=["trajectory_id", *STATE], how="semi")
        rows = rows.join(same, on="trajectory_id", how="anti").with_columns(pl.lit(pass_number, pl.Int64).alias("pass_number"))
        store.append_next("duplicates", rows, producer=PRODUCER)
        done, changed = done + programs, changed + rows.height
        report("cluster", done, total)
    return sizes.height, changed, pass_number


def portions(sizes: pl.DataFrame) -> Iterator[tuple[list[str], int]]:
    """Problems in portions of about CLUSTERED_AT_ONCE programs."""
    taken: list[str] = []
    programs = 0
    for problem_id, size in sizes.iter_rows():
        taken.append(problem_id)
        programs += size
        if programs >= CLUSTERED_AT_ONCE:
            yield taken, programs
            taken, programs = [], 0
    if taken:
        yield taken, programs


def clustered(store: Store, problem_ids: list[str], before: pl.DataFrame) -> pl.DataFrame:
    """Rows of `duplicates`, without a pass number, of all programs of some problems."""
    wanted = (pl.col("algorithm") == ALGORITHM) & pl.col("problem_id").is_in(problem_ids)
    rows = store.snapshot("program_signatures").scan().filter(wanted).collect().unique("trajectory_id").sort("trajectory_id")
    rows = (
        rows.with_row_index("place")
        .join(before.select("trajectory_id", "cluster_id"), on="trajectory_id", how="left")
        .sort("place")
    )
    first = rows.select(pl.col("place").alias("known"), pl.col("trajectory_id").alias("cluster_id"))
    known = rows.join(first, on="cluster_id", how="left").sort("place")["known"].fill_null(rows["place"])
    labels = components(programs_of(rows), known.to_numpy().astype(np.int64), rows["cluster_id"].is_null().to_numpy())
    names = rows["trajectory_id"].gather(labels)
    scope = ["problem_id", "language"]
    size = pl.len().over("cluster_id")
    return rows.with_columns(names.alias("cluster_id")).select(
        "trajectory_id",
        "algorithm",
        "problem_id",
        "cluster_id",
        pl.col("cluster_id").alias("representative_id"),
        pl.when(size == 1).then(pl.lit("unique"))
        .when(pl.len().over([*scope, "raw_hash"]) > 1).then(pl.lit("exact"))
        .when(pl.len().over([*scope, "token_hash"]) > 1).then(pl.lit("token"))
        .otherwise(pl.lit("near")).alias("level"),
        size.cast(pl.Int32).alias("cluster_size"),
    )  # fmt: skip


def programs_of(rows: pl.DataFrame) -> Programs:
    """Rows of `program_signatures` as arrays."""
    sizes = rows["shingles"].bin.size().to_numpy() // 4
    return Programs(
        group=rows.select(pl.struct("problem_id", "language").rank("dense")).to_series().to_numpy().astype(np.int64),
        token=rows["token_hash"].rank("dense").to_numpy().astype(np.int64),
        minhash=np.frombuffer(b"".join(rows["minhash"]), dtype="<u4").reshape(-1, PERMUTATIONS),
        shingles=np.frombuffer(b"".join(rows["shingles"]), dtype="<u4"),
        shingle_offsets=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
    )
