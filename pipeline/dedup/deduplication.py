"""Deduplication: signs programs that have no signature, and clusters the problems that have new programs.
Marks, never deletes.

Scope: programs of one problem in one language. A cluster is named by its smallest trajectory_id, which is
also its representative, so neither verdicts nor the order of arrival matter. `level` says how similar a
member is to the others: `exact` if another member has the same bytes, `token` if another has the same tokens,
`near` if neither, `unique` if there is no other.

Only missing rows are computed: a second call does nothing, and a killed call is resumed by the next one. New
rows come from the change feed, and the rows they are compared with from an index by problem
(`pipeline/dedup/index.py`). So the cost of a small batch does not depend on the number of stored programs
(`pipeline/dedup/incremental.py`). One process at a time: of two, one ends with a StoreError.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import polars as pl

from pipeline.dedup.clusters import components
from pipeline.dedup.incremental import all_of, current_of, programs_of, related
from pipeline.dedup.index import FOLLOWED_ROWS, ProblemIndex, few_added, index_folder
from pipeline.dedup.signatures import ALGORITHM, sign
from pipeline.store import Appender, IdSet, Store, hashed_ids

PRODUCER = "deduplicate"
SIGNED_AT_ONCE = 20_000
IDS_AT_ONCE = 200_000
CLUSTERED_AT_ONCE = 50_000
# Portions are larger by this factor when only some programs of each problem are read.
RELATED_AT_ONCE = 10
STATE = ["cluster_id", "representative_id", "level", "cluster_size"]
TABLES = ("trajectories", "program_signatures", "duplicates")


@dataclass(frozen=True)
class DedupProgress:
    """Progress of a call: `stage` is `sign` or `cluster`; `done` and `total` count programs."""

    stage: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class DedupSummary:
    """What a call did, and the current state: programs by level, and the number of clusters (singletons
    included)."""

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
    """The state after the last finished call: table versions, row counts, totals of `duplicates`.

    Only a cache: if it is missing or does not match the store, everything is read.
    """

    algorithm: str = ALGORITHM
    versions: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    pass_number: int = 0
    clusters: int = 0
    levels: dict[str, int] = field(default_factory=dict)


@dataclass
class Pass:
    """The state of one call."""

    store: Store
    appender: Appender
    report: Callable[[str, int, int], None]
    last: Finished
    signatures: ProblemIndex
    duplicates: ProblemIndex
    # Signatures added since the last finished call; None if unknown, or if there are too many to follow.
    added: pl.DataFrame | None = None
    signed: int = 0
    problems: int = 0
    changed: int = 0
    number: int | None = None
    clusters: int = 0
    levels: Counter[str] = field(default_factory=Counter)


def deduplicate(store: Store, on_progress: OnProgress | None = None) -> DedupSummary:
    """Sign and cluster what is new in `trajectories`; writes `program_signatures` and `duplicates`.

    Raises StoreError if another process deduplicates the store at the same time; what was written holds.
    """
    begin = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        if on_progress:
            on_progress(DedupProgress(stage, done, total, time.monotonic() - begin))

    appender = Appender(store, PRODUCER, "program_signatures", "duplicates")
    with store.pinned_reads():
        state, levels = _run_pass(store, appender, report)
    return DedupSummary(
        state.signed,
        state.problems,
        state.changed,
        state.number,
        sum(levels.values()),
        state.clusters,
        levels,
        time.monotonic() - begin,
    )


def _run_pass(
    store: Store, appender: Appender, report: Callable[[str, int, int], None]
) -> tuple[Pass, dict[str, int]]:
    """Run one pass. Returns its state, and the number of programs by level."""
    last = _last_finished(store)
    known = last.versions.get("duplicates", -1) == store.version("duplicates")
    indices = ProblemIndex(store, "program_signatures"), ProblemIndex(store, "duplicates")
    state = Pass(store, appender, report, last, *indices)
    read, rows = store.version("trajectories"), store.statistics("trajectories").rows
    state.added = _added_since(state, "program_signatures")
    _sign_missing(state)
    _cluster_missing(state)
    appender.check()  # where nothing was left to append
    if known:
        state.clusters += last.clusters
        state.levels.update(last.levels)
    else:
        state.clusters, state.levels = _totals(state.duplicates)
    levels = {name: count for name, count in sorted(state.levels.items()) if count}
    state.signatures.catch_up()
    state.duplicates.catch_up()
    _note_finished(state, read, rows, levels)
    return state, levels


def _totals(duplicates: ProblemIndex) -> tuple[int, Counter[str]]:
    """The number of clusters, and of programs by level, counted in portions: no cluster spans problems."""
    clusters, levels = 0, Counter[str]()
    # Without an index each portion would read the whole table.
    at_once = CLUSTERED_AT_ONCE if duplicates.folder else duplicates.store.statistics("duplicates").rows
    for portion, _ in _portions(duplicates.all_counts(), at_once):
        rows = current_of(duplicates.rows(portion).lazy()).collect()
        clusters += rows["cluster_id"].n_unique()
        levels.update(rows["level"].to_list())
    return clusters, levels


def _last_finished(store: Store) -> Finished:
    folder = index_folder(store)
    try:
        last = Finished(**json.loads((folder / "deduplicated.json").read_text())) if folder else Finished()
    except (OSError, ValueError, TypeError):
        return Finished()
    fits = last.algorithm == ALGORITHM and all(
        store.version(name) >= last.versions.get(name, -1) for name in TABLES
    )
    return last if fits else Finished()


def _note_finished(state: Pass, read: int, rows: int, levels: dict[str, int]) -> None:
    folder = index_folder(state.store)
    if folder is None:
        return
    versions = {name: state.store.version(name) for name in TABLES} | {"trajectories": read}
    counts = {name: state.store.statistics(name).rows for name in TABLES} | {"trajectories": rows}
    note = Finished(
        ALGORITHM, versions, counts, state.number or state.last.pass_number, state.clusters, levels
    )
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "deduplicated.partial"
    partial.write_text(json.dumps(asdict(note)))
    os.replace(partial, folder / "deduplicated.json")


def _added_since(state: Pass, table: str) -> pl.DataFrame | None:
    """Rows added since the last finished call; None if unknown, or if there are too many to follow."""
    return few_added(state.store, table, state.last.versions.get(table, -1), state.last.rows.get(table, 0))


def _signed_ids(store: Store) -> pl.LazyFrame:
    rows = store.snapshot("program_signatures").scan().filter(pl.col("algorithm") == ALGORITHM)
    return rows.select("trajectory_id", "problem_id")


def _sign_missing(state: Pass) -> None:
    """Sign the trajectories that have no signature of this algorithm."""
    total, batches = _unsigned(state)
    for rows in batches:
        signatures = _sign(rows)
        state.appender.append("program_signatures", signatures)
        state.signed += rows.height
        if state.added is not None:
            few = total <= FOLLOWED_ROWS
            state.added = pl.concat([state.added, signatures.select(state.added.columns)]) if few else None
        state.report("sign", state.signed, total)


def _unsigned(state: Pass) -> tuple[int, Iterable[pl.DataFrame]]:
    """The number of trajectories without a signature, and their trajectory_id, problem_id, language, program
    in portions."""
    columns = ["trajectory_id", "problem_id", "language", "program"]
    added = _added_since(state, "trajectories")
    if added is not None:
        if not added.height:
            return 0, ()
        rows = added.select(columns).unique("trajectory_id", keep="first", maintain_order=True)
        problems, ids = rows["problem_id"].unique().to_list(), rows["trajectory_id"]
        signatures = state.signatures.rows(problems, ["trajectory_id", "algorithm"], only=ids)
        signatures = signatures.filter(pl.col("algorithm") == ALGORITHM)
        rows = rows.join(signatures, on="trajectory_id", how="anti").sort("trajectory_id")
        return rows.height, rows.iter_slices(SIGNED_AT_ONCE)
    signed = ids_of(_signed_ids(state.store))
    total = max(0, state.store.statistics("trajectories").rows - len(signed))
    return total, without(signed, state.store.snapshot("trajectories").scan().select(columns))


def sign_part(store: Store, part: int, parts: int) -> int:
    """Sign the unsigned programs whose id belongs to part number `part` of `parts`. Returns their number.

    Processes on several machines may sign different parts at the same time. One `deduplicate` then clusters
    all of them.
    """
    appender = Appender(store, f"{PRODUCER}/part {part} of {parts}", "program_signatures")
    mine = pl.col("trajectory_id").str.head(8).str.to_integer(base=16) % parts == part
    programs = store.snapshot("trajectories").scan().filter(mine)
    signed = ids_of(_signed_ids(store).filter(mine))
    count = 0
    for rows in without(signed, programs.select("trajectory_id", "problem_id", "language", "program")):
        appender.append("program_signatures", _sign(rows))
        count += rows.height
    return count


def ids_of(rows: pl.LazyFrame) -> IdSet:
    """The trajectory_ids of some rows, 16 bytes each."""
    ids = IdSet()
    for part in rows.select("trajectory_id").collect_batches(chunk_size=IDS_AT_ONCE):
        ids.add(hashed_ids(part["trajectory_id"]))
    return ids


def without(known: IdSet, rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Rows whose trajectory_id is not in `known`, one of each, in portions of SIGNED_AT_ONCE, read once.
    Adds them to `known`.
    """
    waiting: list[pl.DataFrame] = []
    for part in rows.collect_batches(chunk_size=SIGNED_AT_ONCE):
        part = part.unique("trajectory_id", keep="first", maintain_order=True)
        ids = hashed_ids(part["trajectory_id"])
        is_new = ~known.contains(ids)
        known.add(ids[is_new])
        waiting.append(part.filter(pl.Series(is_new)))
        if sum(frame.height for frame in waiting) >= SIGNED_AT_ONCE:
            yield from pl.concat(waiting).iter_slices(SIGNED_AT_ONCE)
            waiting = []
    if any(frame.height for frame in waiting):
        yield pl.concat(waiting)


def _sign(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `program_signatures` for programs, which are told apart by language."""
    return pl.concat(
        [_sign_rows(part, language) for (language,), part in rows.group_by(["language"], maintain_order=True)]
    )


def _sign_rows(rows: pl.DataFrame, language: object) -> pl.DataFrame:
    signatures = sign(rows["program"], str(language)).frame()
    return rows.drop("program").with_columns(pl.lit(ALGORITHM).alias("algorithm")).hstack(signatures)


def _cluster_missing(state: Pass) -> None:
    """Cluster the problems that have programs without a cluster."""
    problem_ids, passes, fresh = _unclustered(state)
    if not problem_ids:
        return
    state.number = 1 + passes
    sizes = state.signatures.counts(state.signatures.in_order(problem_ids))
    state.problems, done = len(sizes), 0
    for portion, programs in _portions(sizes, CLUSTERED_AT_ONCE * (1 if fresh is None else RELATED_AT_ONCE)):
        indices = state.signatures, state.duplicates
        rows, before = all_of(*indices, portion) if fresh is None else related(*indices, fresh, portion)
        rows = _cluster_rows(rows, before)
        state.clusters += rows["cluster_id"].n_unique()
        replaced = before.join(rows, on="trajectory_id", how="semi")
        state.clusters -= replaced["cluster_id"].n_unique()
        state.levels.update(rows["level"].to_list())
        state.levels.subtract(replaced["level"].to_list())
        same = replaced.join(rows, on=["trajectory_id", *STATE], how="semi")
        rows = rows.join(same, on="trajectory_id", how="anti").with_columns(
            pl.lit(state.number, pl.Int64).alias("pass_number")
        )
        state.appender.append("duplicates", rows)
        state.changed, done = state.changed + rows.height, done + programs
        state.report("cluster", done, sum(sizes.values()))


def _unclustered(state: Pass) -> tuple[list[str], int, pl.DataFrame | None]:
    """(problem_ids, highest pass number so far, signatures of the programs without a cluster).

    The problems are those that have such programs, sorted. The signatures are None if there are too many to
    follow.
    """
    passes = _added_since(state, "duplicates")
    if state.added is not None and passes is not None:
        added = state.added.filter(pl.col("algorithm") == ALGORITHM).unique("trajectory_id")
        ids = added["problem_id"].unique().sort().to_list()
        if not ids:
            return [], state.last.pass_number, None
        seen = state.duplicates.rows(ids, ["trajectory_id", "algorithm"], only=added["trajectory_id"])
        fresh = added.join(seen, on=["trajectory_id", "algorithm"], how="anti")
        problems = fresh["problem_id"].unique().sort().to_list()
        return problems, max([state.last.pass_number, *passes["pass_number"].to_list()]), fresh
    before = state.store.snapshot("duplicates").scan().filter(pl.col("algorithm") == ALGORITHM)
    clustered = ids_of(before)
    missing: set[str] = set()
    for part in _signed_ids(state.store).collect_batches(chunk_size=IDS_AT_ONCE):
        is_new = ~clustered.contains(hashed_ids(part["trajectory_id"]))
        missing.update(part["problem_id"].filter(pl.Series(is_new)).unique())
    last = before.select(pl.col("pass_number").max()).collect().item()
    return sorted(missing), last or 0, None


def _portions(sizes: dict[str, int], portion_programs: int) -> Iterator[tuple[list[str], int]]:
    """Problems in portions of about `portion_programs` programs, each with its number of programs."""
    problem_ids: list[str] = []
    programs = 0
    for problem_id, size in sizes.items():
        problem_ids.append(problem_id)
        programs += size
        if programs >= portion_programs:
            yield problem_ids, programs
            problem_ids, programs = [], 0
    if problem_ids:
        yield problem_ids, programs


def _cluster_rows(signatures: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Rows of `duplicates`, without a pass number, of the clusters that contain programs missing from
    `before`.

    `signatures`: all programs of some problems; `before`: the current rows of these problems. Other clusters
    do not change, because every new edge has a new program at one end.
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
