"""Deduplication: signs programs without a signature, and clusters the problems that gained programs. Marks, never deletes.

Scope: programs of one problem in one language. A cluster is named by its smallest trajectory_id, which is its representative too:
a rule that looks neither at verdicts nor at the order of arrival. `level` says how closely a member is tied to the others:
`exact` some other has the same bytes, `token` the same tokens, `near` neither, `unique` there is no other.

Only what is missing is computed, so a second call does nothing and a killed one goes on. What was added since the last call
comes from the change feed, and what it is compared with from an index by problem (`pipeline/dedup/index.py`), so a small
batch costs the same beside a thousand stored programs and beside a million (`pipeline/dedup/incremental.py`). One process at a time.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import polars as pl

from pipeline.dedup.clusters import components
from pipeline.dedup.incremental import all_of, current_of, programs_of, related
from pipeline.dedup.index import FOLLOWED_ROWS, ProblemIndex, few_added, index_folder
from pipeline.dedup.signatures import ALGORITHM, sign
from pipeline.store import Store

PRODUCER = "deduplicate"
SIGNED_AT_ONCE = 20_000
CLUSTERED_AT_ONCE = 50_000
# As many times more where only some of a problem's programs are read.
RELATED_AT_ONCE = 10
STATE = ["cluster_id", "representative_id", "level", "cluster_size"]
TABLES = ("trajectories", "program_signatures", "duplicates")


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


@dataclass(frozen=True)
class Finished:
    """Where the last call that came to its end left the tables: versions, row counts, the totals of `duplicates`.

    A note beside the store and nothing more: without it, or where it does not fit, everything is looked at.
    """

    algorithm: str = ALGORITHM
    versions: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    pass_number: int = 0
    clusters: int = 0
    levels: dict[str, int] = field(default_factory=dict)


@dataclass
class Pass:
    """One call: what it has found and done so far."""

    store: Store
    report: Callable[[str, int, int], None]
    last: Finished
    signatures: ProblemIndex
    duplicates: ProblemIndex
    # Signatures that no finished pass has seen, whole; None if that cannot be told, or they are many.
    added: pl.DataFrame | None = None
    signed: int = 0
    problems: int = 0
    changed: int = 0
    number: int | None = None
    clusters: int = 0
    levels: Counter[str] = field(default_factory=Counter)


def deduplicate(store: Store, on_progress: OnProgress | None = None) -> DedupSummary:
    """Sign and cluster what is new in `trajectories`; writes `program_signatures` and `duplicates`."""
    begin = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        if on_progress:
            on_progress(DedupProgress(stage, done, total, time.monotonic() - begin))

    with store.still():
        now, levels = one_pass(store, report)
    return DedupSummary(
        now.signed,
        now.problems,
        now.changed,
        now.number,
        sum(levels.values()),
        now.clusters,
        levels,
        time.monotonic() - begin,
    )


def one_pass(store: Store, report: Callable[[str, int, int], None]) -> tuple[Pass, dict[str, int]]:
    """What a call did, and programs by level."""
    last = last_finished(store)
    known = last.versions.get("duplicates") == store.version("duplicates")
    now = Pass(
        store, report, last, ProblemIndex(store, "program_signatures"), ProblemIndex(store, "duplicates")
    )
    read, rows = store.version("trajectories"), store.statistics("trajectories").rows
    now.added = added_since(now, "program_signatures")
    sign_missing(now)
    cluster_missing(now)
    if known:
        now.clusters += last.clusters
        now.levels.update(last.levels)
    else:
        held = current(store).select("cluster_id", "level").collect()
        now.clusters, now.levels = held["cluster_id"].n_unique(), Counter(held["level"].to_list())
    levels = {name: count for name, count in sorted(now.levels.items()) if count}
    now.signatures.catch_up()
    now.duplicates.catch_up()
    note_finished(now, read, rows, levels)
    return now, levels


def last_finished(store: Store) -> Finished:
    folder = index_folder(store)
    try:
        last = Finished(**json.loads((folder / "deduplicated.json").read_text())) if folder else Finished()
    except (OSError, ValueError, TypeError):
        return Finished()
    fits = last.algorithm == ALGORITHM and all(
        store.version(name) >= last.versions.get(name, -1) for name in TABLES
    )
    return last if fits else Finished()


def note_finished(now: Pass, read: int, rows: int, levels: dict[str, int]) -> None:
    folder = index_folder(now.store)
    if folder is None:
        return
    versions = {name: now.store.version(name) for name in TABLES} | {"trajectories": read}
    counts = {name: now.store.statistics(name).rows for name in TABLES} | {"trajectories": rows}
    note = Finished(ALGORITHM, versions, counts, now.number or now.last.pass_number, now.clusters, levels)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "deduplicated.partial"
    partial.write_text(json.dumps(asdict(note)))
    os.replace(partial, folder / "deduplicated.json")


def added_since(now: Pass, table: str) -> pl.DataFrame | None:
    """Rows added since the last call that came to its end; None if that cannot be told, or they are many."""
    return few_added(now.store, table, now.last.versions.get(table, -1), now.last.rows.get(table, 0))


def current(store: Store) -> pl.LazyFrame:
    """The rows of `duplicates` that hold: for each trajectory those of the highest pass of this algorithm."""
    return current_of(store.snapshot("duplicates").scan())


def signed_ids(store: Store) -> pl.LazyFrame:
    rows = store.snapshot("program_signatures").scan().filter(pl.col("algorithm") == ALGORITHM)
    return rows.select("trajectory_id", "problem_id")


def sign_missing(now: Pass) -> None:
    """Sign the trajectories without a signature by this algorithm."""
    total, portions = unsigned(now)
    for rows in portions:
        rows = rows.unique("trajectory_id", keep="first", maintain_order=True)
        parts = [
            signed(part, language) for (language,), part in rows.group_by(["language"], maintain_order=True)
        ]
        made = pl.concat(parts)
        now.store.append_next("program_signatures", made, producer=PRODUCER)
        now.signed += rows.height
        if now.added is not None:
            few = total <= FOLLOWED_ROWS
            now.added = pl.concat([now.added, made.select(now.added.columns)]) if few else None
        now.report("sign", now.signed, total)


def unsigned(now: Pass) -> tuple[int, Iterable[pl.DataFrame]]:
    """How many trajectories have no signature, and these in portions: trajectory_id, problem_id, language, program."""
    columns = ["trajectory_id", "problem_id", "language", "program"]
    added = added_since(now, "trajectories")
    if added is not None:
        if not added.height:
            return 0, ()
        rows = added.select(columns).unique("trajectory_id", keep="first", maintain_order=True)
        problems, ids = rows["problem_id"].unique().to_list(), rows["trajectory_id"]
        there = now.signatures.rows(problems, ["trajectory_id", "algorithm"], only=ids)
        there = there.filter(pl.col("algorithm") == ALGORITHM)
        rows = rows.join(there, on="trajectory_id", how="anti").sort("trajectory_id")
        return rows.height, rows.iter_slices(SIGNED_AT_ONCE)
    trajectories = now.store.snapshot("trajectories").scan()
    missing = (
        trajectories.select("trajectory_id")
        .unique()
        .join(signed_ids(now.store), on="trajectory_id", how="anti")
        .collect()
    )

    def read() -> Iterator[pl.DataFrame]:
        for ids in missing.sort("trajectory_id").iter_slices(SIGNED_AT_ONCE):
            wanted = pl.col("trajectory_id").is_in(ids["trajectory_id"].implode())
            yield trajectories.filter(wanted).select(columns).collect()

    return missing.height, read()


def sign_part(store: Store, part: int, parts: int) -> int:
    """Sign the programs without a signature whose id falls into this part of `parts`; returns how many.

    Parts may be signed side by side, by processes on several machines, before one `deduplicate` clusters what they signed.
    """
    mine = pl.col("trajectory_id").str.head(8).str.to_integer(base=16) % parts == part
    trajectories = store.snapshot("trajectories").scan()
    known = signed_ids(store).select("trajectory_id")
    missing = (
        trajectories.filter(mine)
        .select("trajectory_id")
        .unique()
        .join(known, on="trajectory_id", how="anti")
        .collect()
    )
    producer = f"{PRODUCER}/{uuid.uuid4().hex}"
    for ids in missing.sort("trajectory_id").iter_slices(SIGNED_AT_ONCE):
        wanted = pl.col("trajectory_id").is_in(ids["trajectory_id"].implode())
        rows = (
            trajectories.filter(wanted).select("trajectory_id", "problem_id", "language", "program").collect()
        )
        rows = rows.unique("trajectory_id", keep="first", maintain_order=True)
        signatures = [
            signed(group, language) for (language,), group in rows.group_by(["language"], maintain_order=True)
        ]
        store.append_next("program_signatures", pl.concat(signatures), producer=producer)
    return missing.height


def signed(rows: pl.DataFrame, language: object) -> pl.DataFrame:
    signatures = sign(rows["program"], str(language)).frame()
    return rows.drop("program").with_columns(pl.lit(ALGORITHM).alias("algorithm")).hstack(signatures)


def cluster_missing(now: Pass) -> None:
    """Cluster the problems with programs that no pass has seen."""
    problem_ids, passes, fresh = unclustered(now)
    if not problem_ids:
        return
    now.number = 1 + passes
    sizes = now.signatures.counts(problem_ids)
    now.problems, done = len(sizes), 0
    for portion, programs in portions(sizes, CLUSTERED_AT_ONCE * (1 if fresh is None else RELATED_AT_ONCE)):
        indices = now.signatures, now.duplicates
        rows, before = all_of(*indices, portion) if fresh is None else related(*indices, fresh, portion)
        rows = clustered(rows, before)
        now.clusters += rows["cluster_id"].n_unique()
        replaced = before.join(rows, on="trajectory_id", how="semi")
        now.clusters -= replaced["cluster_id"].n_unique()
        now.levels.update(rows["level"].to_list())
        now.levels.subtract(replaced["level"].to_list())
        same = replaced.join(rows, on=["trajectory_id", *STATE], how="semi")
        rows = rows.join(same, on="trajectory_id", how="anti").with_columns(
            pl.lit(now.number, pl.Int64).alias("pass_number")
        )
        now.store.append_next("duplicates", rows, producer=PRODUCER)
        now.changed, done = now.changed + rows.height, done + programs
        now.report("cluster", done, sum(sizes.values()))


def unclustered(now: Pass) -> tuple[list[str], int, pl.DataFrame | None]:
    """Problems with programs that no pass has seen, sorted; the number of the highest pass so far; the signatures of those
    programs, or None if they are many."""
    passes = added_since(now, "duplicates")
    if now.added is not None and passes is not None:
        added = now.added.filter(pl.col("algorithm") == ALGORITHM).unique("trajectory_id")
        ids = added["problem_id"].unique().sort().to_list()
        if not ids:
            return [], now.last.pass_number, None
        seen = now.duplicates.rows(ids, ["trajectory_id", "algorithm"], only=added["trajectory_id"])
        fresh = added.join(seen, on=["trajectory_id", "algorithm"], how="anti")
        problems = fresh["problem_id"].unique().sort().to_list()
        return problems, max([now.last.pass_number, *passes["pass_number"].to_list()]), fresh
    before = current(now.store).select("trajectory_id", "pass_number").collect()
    missing = signed_ids(now.store).join(before.lazy(), on="trajectory_id", how="anti").collect()
    return (
        missing["problem_id"].unique().sort().to_list(),
        max(before["pass_number"].to_list(), default=0),
        None,
    )


def portions(sizes: dict[str, int], at_once: int) -> Iterator[tuple[list[str], int]]:
    """Problems in portions of about so many programs, and how many they are."""
    taken: list[str] = []
    programs = 0
    for problem_id, size in sizes.items():
        taken.append(problem_id)
        programs += size
        if programs >= at_once:
            yield taken, programs
            taken, programs = [], 0
    if taken:
        yield taken, programs


def clustered(signatures: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Rows of `duplicates`, without a pass number, of the clusters with programs that `before` does not know.

    `signatures`: all programs of some problems; `before`: what held for these problems. Other clusters stay as they are, for
    every new edge has a new program at one end.
    """
    rows = signatures.filter(pl.col("algorithm") == ALGORITHM).unique("trajectory_id").sort("trajectory_id")
    rows = (
        rows.with_row_index("place")
        .join(before.select("trajectory_id", "cluster_id"), on="trajectory_id", how="left")
        .sort("place")
    )
    first = rows.select(pl.col("place").alias("known"), pl.col("trajectory_id").alias("cluster_id"))
    known = rows.join(first, on="cluster_id", how="left").sort("place")["known"].fill_null(rows["place"])
    is_new = rows["cluster_id"].is_null().to_numpy()
    labels = components(programs_of(rows), known.to_numpy().astype(np.int64), is_new)
    names = rows["trajectory_id"].gather(labels)
    grown = np.isin(labels, labels[is_new])
    scope = ["problem_id", "language"]
    size = pl.len().over("cluster_id")
    return (
        rows.with_columns(names.alias("cluster_id"))
        .filter(grown)
        .select(
            "trajectory_id",
            "algorithm",
            "problem_id",
            "cluster_id",
            pl.col("cluster_id").alias("representative_id"),
            pl.when(size == 1)
            .then(pl.lit("unique"))
            .when(pl.len().over([*scope, "raw_hash"]) > 1)
            .then(pl.lit("exact"))
            .when(pl.len().over([*scope, "token_hash"]) > 1)
            .then(pl.lit("token"))
            .otherwise(pl.lit("near"))
            .alias("level"),
            size.cast(pl.Int32).alias("cluster_size"),
        )
    )
