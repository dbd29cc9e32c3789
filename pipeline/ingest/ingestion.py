"""Ingestion: a source goes into the store once, chunk by chunk, and every row of it is accounted for.

One batch for each file. A batch is named by adapter, options, file name and file content, so a finished one
costs a look-up, and a killed one goes on under its own name: chunks lie at the same rows, and each append
carries (batch, chunk) in its commit.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.adapters import Adapter, ReadItem, ReadTrajectory, SourceError, SourceFile, find
from pipeline.ingest.admission import Admission, Counts, kind_of
from pipeline.ingest.reading import Reading
from pipeline.store import TABLES, Store, content_id

CHUNK_ROWS = 25_000
CHUNK_BYTES = 48 << 20


@dataclass(frozen=True)
class Progress:
    """Where an ingestion is: rows of this file so far, and how many of the source's stored bytes are read."""

    source_file: str
    read: int
    bytes_read: int
    bytes_total: int
    seconds: float


@dataclass(frozen=True)
class BatchSummary:
    """What became of one file. `rows` counts accepted rows by table, `reasons` the refused ones by reason.

    `rows_in_file` counts its rows, read or not (a bounded sample reads some); None where a finished batch was
    not opened again.
    """

    batch_id: str
    adapter: str
    source_file: str
    read: int
    accepted: int
    present: int
    quarantined: int
    rows: dict[str, int]
    reasons: dict[str, int]
    seconds: float
    rows_in_file: int | None = None
    was_finished: bool = False
    limit: int | None = field(default=None)
    # What the adapter passed over beside this file, by kind: links out of the source, hidden folders and the
    # like.
    skipped: dict[str, int] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def ingest(
    store: Store,
    adapter_name: str,
    source: str,
    *,
    limit: int | None = None,
    columns: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> list[BatchSummary]:
    """Ingest every file of a source; with `limit`, a bounded sample of it (`pipeline/adapters/sample.py`).

    `columns` says of all its trajectories what their source does not, e.g. {"policy_id": "qwen3",
    "temperature": 0.8}. Raises SourceError where the source or the adapter cannot be used at all; bad rows
    and bad files raise nothing, they are quarantined. `adapter_name` names a known adapter; a file of code is
    run by `pipeline.adapters.load` only. One source is ingested by one process at a time; different sources
    may go in side by side where their ids differ.
    """
    adapter = find(adapter_name)
    said = checked_columns(columns or {})
    files = adapter.files(str(source), limit)
    total, before = sum(file.size_bytes for file in files), 0
    summaries = []
    for file in files:
        summaries.append(
            ingest_file(store, adapter, file, limit, of_source(on_progress, before, total), said)
        )
        before += file.size_bytes
        if on_progress and summaries[-1].was_finished:
            on_progress(Progress(file.name, summaries[-1].read, before, total, summaries[-1].seconds))
    return summaries


def of_source(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    """Progress of one file as progress of its source, of which `before` bytes are read."""
    if on_progress is None:
        return None
    return lambda p: on_progress(
        replace(p, bytes_read=before + min(p.bytes_read, p.bytes_total), bytes_total=total)
    )


def ingest_file(
    store: Store,
    adapter: Adapter,
    file: SourceFile,
    limit: int | None = None,
    on_progress: OnProgress | None = None,
    columns: Mapping[str, Any] | None = None,
) -> BatchSummary:
    """Ingest one file as one batch, from where it was left."""
    if columns:
        file = replace(file, options=file.options | {"columns": dict(columns)})
    begin, started_at = time.monotonic(), datetime.now(UTC)
    batch_id = content_id(adapter.name, file.options, file.name, file.sha256)
    finished = store.snapshot("batches").scan().filter(pl.col("batch_id") == batch_id).collect()
    if finished.height:
        return replace(finished_summary(store, finished.row(0, named=True)), skipped=dict(file.skipped))
    admission = Admission(store, batch_id, adapter.name, file)
    reading = Reading(adapter, file)
    with cycles_wait():
        for sequence, items in enumerate(chunks(with_columns(iter(reading), columns or {}))):
            for table, rows in admission.decide(items).tables():
                append_missing(store, table, rows, batch_id, sequence)
            # The next chunk is read before this one goes, and two at a time would cost twice the memory.
            items.clear()
            gc.collect(0)
            if on_progress:
                on_progress(
                    Progress(
                        file.name,
                        admission.counts.read,
                        file.bytes_read,
                        file.size_bytes,
                        time.monotonic() - begin,
                    )
                )
    if not reading.failed:
        append_batch(store, batch_id, adapter.name, file, admission.counts, limit, started_at)
    return summary_of(batch_id, adapter.name, file, admission.counts, limit, time.monotonic() - begin)


# What a person may say of a whole source: where its samples come from and how they were drawn.
SAID_COLUMNS = ("origin", "policy_id", "run_id", "policy_step", "temperature", "top_p", "language")


def checked_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns with values of their types; texts are converted. Raises SourceError for others."""
    checked: dict[str, Any] = {}
    for name, value in columns.items():
        if name not in SAID_COLUMNS:
            raise SourceError(
                f"{name!r} cannot be said of a whole source; these can: {', '.join(SAID_COLUMNS)}"
            )
        kind = {"policy_step": int, "temperature": float, "top_p": float}.get(name, str)
        try:
            checked[name] = kind(value)
        except ValueError as error:
            raise SourceError(f"{name}: {error}") from error
    return checked


def with_columns(items: Iterator[ReadItem], columns: Mapping[str, Any]) -> Iterator[ReadItem]:
    for item in items:
        if columns and isinstance(item, ReadTrajectory):
            item.row.update(columns)
        yield item


@contextmanager
def cycles_wait() -> Iterator[None]:
    """No search for reference cycles within: rows hold none, and looking through all of them again and
    again takes 5 %.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def chunks(items: Iterator[ReadItem]) -> Iterator[list[ReadItem]]:
    """Items in lists of at most CHUNK_ROWS and CHUNK_BYTES; an item that is larger stands alone."""
    chunk: list[ReadItem] = []
    held = 0
    for item in items:
        if chunk and held + item.size > CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
        chunk.append(item)
        held += item.size
        if len(chunk) >= CHUNK_ROWS or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def append_missing(store: Store, table: str, rows: pl.DataFrame, batch_id: str, sequence: int) -> None:
    """Append a chunk's rows to a table, if they are not there. Rows of this batch already in the store are
    not among them.
    """
    producer = f"ingest/{batch_id}"
    if not rows.height or store.append(table, rows, producer=producer, sequence=sequence):
        return
    # The chunk was committed by a run that decided otherwise over some rows, because the store held less
    # then, or by a twin.
    key = TABLES[table].key
    own = store.snapshot(table).scan().filter(pl.col("batch_id") == batch_id).select(key).collect()
    store.append_next(table, rows.join(own, on=key, how="anti"), producer=f"{producer}/late")


def append_batch(
    store: Store,
    batch_id: str,
    adapter: str,
    file: SourceFile,
    counts: Counts,
    limit: int | None,
    started_at: datetime,
) -> None:
    row = {
        "batch_id": batch_id,
        "adapter": adapter,
        "source_file": file.name,
        "source_sha256": file.sha256,
        "read": counts.read,
        "accepted": counts.accepted,
        "present": counts.present,
        "quarantined": counts.quarantined,
        "limit": limit,
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
    }
    store.append("batches", pl.DataFrame([row]), producer=f"ingest/{batch_id}", sequence=0)


def summary_of(
    batch_id: str, adapter: str, file: SourceFile, counts: Counts, limit: int | None, seconds: float
) -> BatchSummary:
    return BatchSummary(
        batch_id,
        adapter,
        file.name,
        counts.read,
        counts.accepted,
        counts.present,
        counts.quarantined,
        dict(counts.rows),
        dict(counts.reasons.most_common()),
        seconds,
        rows_in_file=file.rows_in_file or None,
        limit=limit,
        skipped=dict(file.skipped.most_common()),
    )


def finished_summary(store: Store, batch: dict) -> BatchSummary:
    """The summary of a batch that was finished before, from the store; `seconds` is what it took then."""
    own = pl.col("batch_id") == batch["batch_id"]
    copied = ("batch_id", "adapter", "source_file", "read", "accepted", "present", "quarantined", "limit")
    rows = {}
    for table in ("problems", "tests", "trajectories"):
        count = store.snapshot(table).scan().filter(own).select(pl.len()).collect().item()
        if count:
            rows[table] = count
    faults = store.snapshot("quarantine").scan().filter(own).select("field", "reason").collect()
    reasons = Counter(kind_of(fault) for fault in faults.iter_rows())
    return BatchSummary(
        **{name: batch[name] for name in copied},
        rows=rows,
        reasons=dict(reasons.most_common()),
        seconds=(batch["finished_at"] - batch["started_at"]).total_seconds(),
        was_finished=True,
    )
