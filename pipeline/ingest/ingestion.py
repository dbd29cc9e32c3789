"""Ingestion: writes a source into the store exactly once, chunk by chunk, and accounts for every row.

Each file is one batch. The batch id is a hash of adapter, options, file name and file content. So a finished
batch costs one lookup. A killed batch resumes under the same id: its chunks have the same boundaries, and
each append has (batch, chunk) in its commit.
"""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.adapters import Adapter, Mappable, ReadItem, ReadTrajectory, SourceError, SourceFile, find
from pipeline.ingest.admission import Admission, Counts, fault_kind, late_producer, producer
from pipeline.ingest.file_reader import FileReader
from pipeline.store import TABLES, Appender, Store, content_id

CHUNK_ROWS = 25_000
CHUNK_BYTES = 48 << 20


@dataclass(frozen=True)
class Progress:
    """Progress of an ingestion: rows read from this file, and stored bytes read from the source."""

    source_file: str
    read: int
    bytes_read: int
    bytes_total: int
    seconds: float


@dataclass(frozen=True)
class BatchSummary:
    """Outcome of one file. `rows` counts accepted rows by table, `reasons` refused rows by reason.

    `rows_in_file` counts all rows of the file, also those that a bounded sample skips; None for a batch that
    was finished earlier, because its file is not opened again.
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
    # What the adapter skipped next to this file, by kind: links out of the source, hidden folders and so on.
    skipped: dict[str, int] = field(default_factory=dict)
    # What the adapter guessed, and what it does not know and did not use.
    notes: dict[str, int] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def ingest(
    store: Store,
    adapter_name: str,
    source: str,
    *,
    limit: int | None = None,
    columns: Mapping[str, Any] | None = None,
    mapping: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> list[BatchSummary]:
    """Ingest every file of a source; with `limit`, a bounded sample of it (`pipeline/adapters/sample.py`).

    `columns` sets values that the source does not have on all trajectories, e.g. {"policy_id": "qwen3",
    "temperature": 0.8}. `mapping` names the keys of facts for `samples`. Raises SourceError if the
    source or the adapter cannot be used at all. Bad rows and bad files raise nothing, they are quarantined.
    `adapter_name` names a known adapter; only `pipeline.adapters.load` runs a file of code. Ingest a source
    in one process at a time; sources with different ids can be ingested in parallel.
    """
    adapter = find(adapter_name)
    adapter = with_mapping(adapter, mapping or {})
    checked = check_columns(columns or {})
    files = adapter.files(str(source), limit)
    total, before = sum(file.size_bytes for file in files), 0
    summaries = []
    for file in files:
        summaries.append(
            ingest_file(store, adapter, file, limit, source_progress(on_progress, before, total), checked)
        )
        before += file.size_bytes
        if on_progress and summaries[-1].was_finished:
            on_progress(Progress(file.name, summaries[-1].read, before, total, summaries[-1].seconds))
    return summaries


def with_mapping(adapter: Adapter, mapping: Mapping[str, str]) -> Adapter:
    """The adapter, with the keys that a user named. Raises SourceError if it takes none."""
    if not mapping:
        return adapter
    if not isinstance(adapter, Mappable):
        raise SourceError(f"--map is for the adapter samples, not for {adapter.name}")
    return adapter.mapped(mapping)


def source_progress(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    """Turns progress of one file into progress of its source, of which `before` bytes are read."""
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
    """Ingest one file as one batch; a killed batch resumes."""
    if columns:
        file = replace(file, options=file.options | {"columns": dict(columns)})
    begin, started_at = time.monotonic(), datetime.now(UTC)
    batch_id = content_id(adapter.name, file.options, file.name, file.sha256)
    finished = store.snapshot("batches").scan().filter(pl.col("batch_id") == batch_id).collect()
    if finished.height:
        return replace(finished_summary(store, finished.row(0, named=True)), skipped=dict(file.skipped))
    admission = Admission(store, batch_id, adapter.name, file)
    file_reader = FileReader(adapter, file)
    with garbage_collection_paused():
        for sequence, items in enumerate(split_chunks(with_columns(iter(file_reader), columns or {}))):
            check_path_names(store, file, columns or {})
            for table, rows in admission.decide(items).tables():
                append_missing(store, table, rows, batch_id, sequence)
            # Free this chunk before the next one is read: two chunks at once would need twice the memory.
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
    if not file_reader.failed:
        append_batch(store, batch_id, adapter.name, file, admission.counts, limit, started_at)
    return batch_summary(batch_id, adapter.name, file, admission.counts, limit, time.monotonic() - begin)


# Columns that a user may set for a whole source: where its samples come from and how they were sampled.
SOURCE_COLUMNS = ("origin", "policy_id", "run_id", "policy_step", "temperature", "top_p", "language")


def check_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns with values of their types; strings are converted. Raises SourceError for other columns."""
    checked: dict[str, Any] = {}
    for name, value in columns.items():
        if name not in SOURCE_COLUMNS:
            raise SourceError(
                f"column {name!r} cannot be set for a whole source; possible: {', '.join(SOURCE_COLUMNS)}"
            )
        kind = {"policy_step": int, "temperature": float, "top_p": float}.get(name, str)
        try:
            checked[name] = kind(value)
        except ValueError as error:
            raise SourceError(f"{name}: {error}") from error
    return checked


def check_path_names(store: Store, file: SourceFile, columns: Mapping[str, Any]) -> None:
    """Raise SourceError if a run or a policy would be named like one from another folder.

    Nothing of the file has been accepted then. Names that the user set are not checked.
    """
    names = {} if {"run_id", "policy_id"} <= columns.keys() else file.path_names
    if not names or not any(names.values()):
        return
    before = store.snapshot("batches").scan().select("path_names").drop_nulls().unique().collect()
    for text in before["path_names"]:
        for name, folder in json.loads(text).items():
            if names.get(name) and folder and folder != names[name]:
                raise SourceError(
                    f"the name {name!r} of {names[name]} is in the store for {folder}; if they are different"
                    f" runs or models, name this one: --set run_id=NAME --set policy_id=NAME; if they are the"
                    f" same: --set run_id={name} --set policy_id={name}"
                )


def with_columns(items: Iterator[ReadItem], columns: Mapping[str, Any]) -> Iterator[ReadItem]:
    return (with_columns_of(item, columns) for item in items) if columns else items


def with_columns_of(item: ReadItem, columns: Mapping[str, Any]) -> ReadItem:
    if isinstance(item, ReadTrajectory):
        item.row.update(columns)
    return item


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Turn the cyclic garbage collector off: rows have no reference cycles, and scanning them takes time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def split_chunks(items: Iterator[ReadItem]) -> Iterator[list[ReadItem]]:
    """Split items into lists of at most CHUNK_ROWS and CHUNK_BYTES; a larger item is a list of its own."""
    chunk: list[ReadItem] = []
    size_bytes = 0
    for item in items:
        if chunk and size_bytes + item.size > CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(item)
        size_bytes += item.size
        if len(chunk) >= CHUNK_ROWS or size_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def append_missing(store: Store, table: str, rows: pl.DataFrame, batch_id: str, sequence: int) -> None:
    """Append the rows of a chunk to a table, unless that commit exists. `rows` has no row of this batch that
    the store has already.
    """
    if not rows.height or store.append(table, rows, producer=producer(batch_id), sequence=sequence):
        return
    # The chunk was committed by a concurrent run, or by an earlier run that decided differently about some
    # rows because the store had fewer then.
    appender = Appender(store, late_producer(batch_id), table)
    key = TABLES[table].key
    own = store.snapshot(table).scan().filter(pl.col("batch_id") == batch_id).select(key).collect()
    appender.append(table, rows.join(own, on=key, how="anti"))


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
        "path_names": json.dumps(file.path_names) if file.path_names else None,
        "options": options_text(file),
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
    types = TABLES["batches"].empty.schema
    store.append(
        "batches",
        pl.DataFrame([row], schema={name: types[name] for name in row}),
        producer=producer(batch_id),
        sequence=0,
    )


def options_text(file: SourceFile) -> str | None:
    """What the user set for a file, as JSON {set, map}, so that a retry of its rows reads them alike."""
    options = {"set": file.options.get("columns"), "map": file.options.get("map")}
    options = {name: value for name, value in options.items() if value}
    return json.dumps(options, ensure_ascii=False, sort_keys=True) if options else None


def batch_summary(
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
        notes=dict(file.notes.most_common()),
    )


def finished_summary(store: Store, batch: dict) -> BatchSummary:
    """Summary of a batch that was finished earlier, from the store; `seconds` is its duration then."""
    own = pl.col("batch_id") == batch["batch_id"]
    copied = ("batch_id", "adapter", "source_file", "read", "accepted", "present", "quarantined", "limit")
    rows = {}
    for table in ("problems", "tests", "trajectories"):
        count = store.snapshot(table).scan().filter(own).select(pl.len()).collect().item()
        if count:
            rows[table] = count
    faults = store.snapshot("quarantine").scan().filter(own).select("field", "reason").collect()
    reasons = Counter(fault_kind(fault) for fault in faults.iter_rows())
    return BatchSummary(
        **{name: batch[name] for name in copied},
        rows=rows,
        reasons=dict(reasons.most_common()),
        seconds=(batch["finished_at"] - batch["started_at"]).total_seconds(),
        was_finished=True,
    )
