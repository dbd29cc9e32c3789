"""Ingestion: a source goes into the store once, chunk by chunk, and every row of it is accounted for.

One batch for each file. A batch is named by adapter, options, file name and file content, so a finished one costs a look-up, and
a killed one goes on under its own name: chunks lie at the same rows, and each append carries (batch, chunk) in its commit.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from pipeline.adapters import Adapter, ReadItem, SourceFile, find
from pipeline.admission import Admission, Counts, kind_of
from pipeline.contracts import TABLES
from pipeline.identity import content_id
from pipeline.store import Store

CHUNK_ROWS = 10_000
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Progress:
    """Where an ingestion is: rows so far, and how much of the file (in stored bytes) they were."""

    source_file: str
    read: int
    bytes_read: int
    bytes_total: int
    seconds: float


@dataclass(frozen=True)
class BatchSummary:
    """What became of one file. `rows` counts accepted rows by table, `reasons` the refused ones by reason.

    `rows_in_file` counts its rows, read or not (a bounded sample reads some); None where a finished batch was not opened again.
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


OnProgress = Callable[[Progress], None]


def ingest(
    store: Store, adapter_name: str, source: str, *, limit: int | None = None, on_progress: OnProgress | None = None
) -> list[BatchSummary]:
    """Ingest every file of a source; with `limit`, a bounded sample of it (`pipeline/adapters/sample.py`).

    Raises SourceError where the source or the adapter cannot be used at all; bad rows raise nothing, they are quarantined.
    One source is ingested by one process at a time; different sources may go in side by side where their ids differ.
    """
    adapter = find(adapter_name)
    return [ingest_file(store, adapter, file, limit, on_progress) for file in adapter.files(str(source), limit)]


def ingest_file(
    store: Store, adapter: Adapter, file: SourceFile, limit: int | None = None, on_progress: OnProgress | None = None
) -> BatchSummary:
    """Ingest one file as one batch, from where it was left."""
    begin, started_at = time.monotonic(), datetime.now(UTC)
    batch_id = content_id(adapter.name, file.options, file.name, file.sha256)
    finished = store.snapshot("batches").scan().filter(pl.col("batch_id") == batch_id).collect()
    if finished.height:
        return finished_summary(store, finished.row(0, named=True))
    admission = Admission(store, batch_id, adapter.name, file)
    with cycles_wait():
        for sequence, items in enumerate(chunks(adapter.read(file))):
            for table, rows in admission.decide(items).tables():
                append_missing(store, table, rows, batch_id, sequence)
            gc.collect(0)
            if on_progress:
                on_progress(
                    Progress(file.name, admission.counts.read, file.bytes_read, file.size_bytes, time.monotonic() - begin)
                )
    append_batch(store, batch_id, adapter.name, file, admission.counts, limit, started_at)
    return summary_of(batch_id, adapter.name, file, admission.counts, limit, time.monotonic() - begin)


@contextmanager
def cycles_wait() -> Iterator[None]:
    """No search for reference cycles within: rows hold none, and looking through all of them again and again takes 5 %."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def chunks(items: Iterator[ReadItem]) -> Iterator[list[ReadItem]]:
    """Items in lists of at most CHUNK_ROWS, closed as soon as they hold CHUNK_BYTES."""
    chunk: list[ReadItem] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += item.size
        if len(chunk) >= CHUNK_ROWS or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def append_missing(store: Store, table: str, rows: pl.DataFrame, batch_id: str, sequence: int) -> None:
    """Append a chunk's rows to a table, if they are not there. Rows of this batch already in the store are not among them."""
    producer = f"ingest/{batch_id}"
    if not rows.height or store.append(table, rows, producer=producer, sequence=sequence):
        return
    # The chunk was committed by a run that decided otherwise over some rows, because the store held less then, or by a twin.
    key = TABLES[table].key
    own = store.snapshot(table).scan().filter(pl.col("batch_id") == batch_id).select(key).collect()
    store.append_next(table, rows.join(own, on=key, how="anti"), producer=f"{producer}/late")


def append_batch(
    store: Store, batch_id: str, adapter: str, file: SourceFile, counts: Counts, limit: int | None, started_at: datetime
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


def summary_of(batch_id: str, adapter: str, file: SourceFile, counts: Counts, limit: int | None, seconds: float) -> BatchSummary:
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
