"""The quarantine: list refused rows with their reasons, and retry them after a fix.

A fix is a corrected adapter, a problem that was ingested later, or the right encoding. A retry passes the
stored bytes of a row through its adapter again, in a batch of its own. Nothing is deleted: the table
`retries` records the outcome for each row. A row is open until a retry admits at least one of its items.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.adapters import ReadItem, Refused, Rereader, SourceError, SourceFile, find
from pipeline.ingest.admission import Admission, fault_kind
from pipeline.ingest.ingestion import (
    CHUNK_BYTES,
    append_batch,
    append_missing,
    check_columns,
    with_columns,
    with_mapping,
)
from pipeline.ingest.validation import Fault
from pipeline.store import Store, content_id

ADMITTED, REFUSED = "admitted", "refused"
CHUNK_ROWS = 2_000
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Selection:
    """Selects rows of the quarantine by adapter, file name, reason (substrings), and prefixes of
    their ids.
    """

    adapter: str | None = None
    file: str | None = None
    reason: str | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetrySummary:
    """Outcome of retrying the rows of one batch: `rows` = `admitted` + `refused`.

    The admitted rows contained `accepted` + `present` + `quarantined` problems and trajectories. `reasons`
    counts the refused rows by reason.
    """

    adapter: str
    source_file: str
    rows: int
    admitted: int
    refused: int
    accepted: int
    present: int
    quarantined: int
    reasons: dict[str, int]


def groups(store: Store) -> pl.DataFrame:
    """Number of rows, and of open rows, per adapter, file, field and kind of reason."""
    rows = entries(store, Selection(), only_open=False).select(
        "adapter", "source_file", "field", "reason", "is_open"
    )
    kinds = [fault_kind((None, reason)) for reason in rows["reason"]]
    return (
        rows.with_columns(
            pl.Series("reason", kinds, dtype=pl.String), pl.col("field").str.replace_all("[0-9]+", "")
        )
        .group_by("adapter", "source_file", "field", "reason")
        .agg(pl.len().alias("rows"), pl.col("is_open").sum().alias("open"))
        .sort(
            "open", "rows", "adapter", "source_file", "reason", descending=[True, True, False, False, False]
        )
    )


def entries(store: Store, selection: Selection, *, only_open: bool = True) -> pl.DataFrame:
    """Rows of the quarantine in file order. `raw_bytes` (size of `raw`) and `is_open` replace `raw`."""
    rows = (
        store.snapshot("quarantine")
        .scan()
        .with_columns(pl.col("raw").bin.size().alias("raw_bytes"))
        .drop("raw")
    )
    for column, wanted in (
        ("adapter", selection.adapter),
        ("source_file", selection.file),
        ("reason", selection.reason),
    ):
        if wanted is not None:
            rows = rows.filter(pl.col(column).str.contains(wanted, literal=True))
    if selection.ids:
        rows = rows.filter(
            pl.any_horizontal(pl.col("quarantine_id").str.starts_with(name) for name in selection.ids)
        )
    finished = store.snapshot("batches").scan().select("batch_id")
    admitted = (
        store.snapshot("retries")
        .scan()
        .filter(pl.col("outcome") == ADMITTED)
        .join(finished, on="batch_id", how="semi")
    )
    closed = admitted.collect()["quarantine_id"].implode()
    refused = rows.collect().with_columns((~pl.col("quarantine_id").is_in(closed)).alias("is_open"))
    return (refused.filter("is_open") if only_open else refused).sort(
        "source_file", "batch_id", "source_line", "quarantine_id"
    )


def read_raw(store: Store, names: list[str]) -> dict[str, bytes]:
    """The stored bytes of rows, by quarantine_id."""
    rows = store.snapshot("quarantine").scan().filter(pl.col("quarantine_id").is_in(names))
    return dict(rows.select("quarantine_id", "raw").collect().iter_rows())


def retry(
    store: Store,
    selection: Selection,
    *,
    encoding: str | None = None,
    columns: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> list[RetrySummary]:
    """Retry the open rows of a selection, in one new batch per batch that refused them.

    They are read with the columns and the mapping that their ingestion was given; `columns` adds to these.
    With `encoding` their bytes are decoded from it and passed to the adapter as UTF-8. Raises SourceError if
    nothing is selected, the encoding is unknown, or an adapter no longer exists.
    """
    chosen = entries(store, selection)
    if not chosen.height:
        raise SourceError("no open row of the quarantine is selected; `spo quarantine list` shows the rows")
    checked = check_columns(columns or {})
    if encoding is not None:
        check_encoding(encoding)
    done, results = 0, []
    for _, rows in chosen.group_by("batch_id", maintain_order=True):
        attempt = _Attempt(store, rows, encoding, checked)
        for part in split_rows(rows):
            attempt.try_again(part)
            done += part.height
            if on_progress:
                on_progress(done, chosen.height)
        results.append(attempt.finish())
    return results


def split_rows(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Split rows into chunks of at most CHUNK_ROWS; a chunk ends once its raw bytes exceed CHUNK_BYTES."""
    begin = size_bytes = 0
    for end, size in enumerate(rows["raw_bytes"], start=1):
        size_bytes += size
        if end - begin >= CHUNK_ROWS or size_bytes >= CHUNK_BYTES or end == rows.height:
            yield rows[begin:end]
            begin, size_bytes = end, 0


class _Attempt:
    """A retry of rows that one batch refused. Its batch id depends on the rows, so a killed retry resumes."""

    def __init__(self, store: Store, rows: pl.DataFrame, encoding: str | None, columns: Mapping[str, Any]):
        self.store, self.encoding = store, encoding
        origin, name, adapter = rows.select("batch_id", "source_file", "adapter").row(0)
        batches = store.read("batches", ["batch_id", "source_sha256", "options"])
        sha256 = dict(batches.select("batch_id", "source_sha256").iter_rows())
        stored = batches.filter(pl.col("batch_id") == origin)["options"].drop_nulls()
        set_then, mapping = given_options(stored[0]) if len(stored) else ({}, {})
        self.origin, self.adapter = origin, with_mapping(find(adapter), mapping)
        self.columns = {**set_then, **columns}
        options = {name: value for name, value in (("columns", self.columns), ("map", mapping)) if value}
        self.file = SourceFile("", name, sha256.get(origin, ""), 0, options)
        retries = store.read("retries", ["quarantine_id", "batch_id", "origin_batch_id"]).filter(
            pl.col("origin_batch_id") == origin
        )
        finished = sum(batch_id in sha256 for batch_id in retries["batch_id"].unique())
        self.batch_id = content_id("retry", origin, finished, sorted(rows["quarantine_id"]))
        self.recorded = retries.filter(pl.col("batch_id") == self.batch_id)["quarantine_id"]
        self.started_at = datetime.now(UTC)
        refused_then = store.snapshot("quarantine").scan().filter(pl.col("batch_id") == origin)
        lines = refused_then.select("source_line").unique().collect()["source_line"]
        self.admission = Admission(store, self.batch_id, adapter, self.file, lines)
        self.sequence = self.refused_again = 0
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def try_again(self, rows: pl.DataFrame) -> None:
        names = rows["quarantine_id"].to_list()
        raw_bytes = read_raw(self.store, names)
        items: list[ReadItem] = []
        owners: list[int] = []
        for index, (name, line) in enumerate(zip(names, rows["source_line"], strict=True)):
            read_items = list(with_columns(iter(self._items(line, raw_bytes[name])), self.columns))
            items += read_items
            owners += [index] * len(read_items)
        chunk = self.admission.decide(items)
        admitted_rows = {owner for index, owner in enumerate(owners) if index not in chunk.faults}
        # If no item of a row is admitted, its quarantine entry stays as it is. Items refused from other rows
        # get new entries.
        is_new = [owners[index] in admitted_rows for index in chunk.newly_refused]
        self.refused_again += sum(owners[index] not in admitted_rows for index in chunk.faults)
        for table, frame in replace(
            chunk, quarantine=chunk.quarantine.filter(pl.Series(is_new, dtype=pl.Boolean))
        ).tables():
            append_missing(self.store, table, frame, self.batch_id, self.sequence)
        faults = {
            owners[index]: fault
            for index, fault in reversed(chunk.faults.items())
            if owners[index] not in admitted_rows
        }
        records = self._records(names, faults).filter(~pl.col("quarantine_id").is_in(self.recorded.implode()))
        append_missing(self.store, "retries", records, self.batch_id, self.sequence)
        self.outcomes.update({ADMITTED: len(admitted_rows), REFUSED: len(faults)})
        self.reasons.update(fault_kind(fault) for fault in faults.values())
        self.sequence += 1

    def finish(self) -> RetrySummary:
        counts = self.admission.counts
        counts.quarantined -= self.refused_again
        append_batch(self.store, self.batch_id, self.adapter.name, self.file, counts, None, self.started_at)
        return RetrySummary(
            self.adapter.name,
            self.file.name,
            self.outcomes.total(),
            self.outcomes[ADMITTED],
            self.outcomes[REFUSED],
            counts.accepted,
            counts.present,
            counts.quarantined,
            dict(self.reasons.most_common()),
        )

    def _items(self, line: int, raw: bytes) -> list[ReadItem]:
        if line == 0:
            return [Refused(0, raw, "the whole file was refused: fix it, and ingest it again")]
        if not isinstance(self.adapter, Rereader):
            return [
                Refused(
                    line,
                    raw,
                    f"adapter {self.adapter.name} cannot retry single rows: ingest the source again",
                )
            ]
        try:
            recoded = raw if self.encoding is None else raw.decode(self.encoding).encode()
            return self.adapter.reread(recoded, line, self.file)
        except UnicodeDecodeError as error:
            return [Refused(line, raw, f"not {self.encoding}: {error.reason} at byte {error.start}")]
        except Exception as error:
            return [Refused(line, raw, f"{type(error).__name__} in adapter {self.adapter.name}: {error}")]

    def _records(self, names: list[str], faults: dict[int, Fault]) -> pl.DataFrame:
        row_faults = [faults.get(index) for index in range(len(names))]
        return pl.DataFrame(
            {
                "quarantine_id": names,
                "outcome": [REFUSED if fault else ADMITTED for fault in row_faults],
                "field": pl.Series([fault and fault[0] for fault in row_faults], dtype=pl.String),
                "reason": pl.Series([fault and fault[1] for fault in row_faults], dtype=pl.String),
            }
        ).with_columns(
            pl.lit(self.batch_id).alias("batch_id"),
            pl.lit(self.origin).alias("origin_batch_id"),
            pl.lit(datetime.now(UTC)).alias("retried_at"),
        )


def given_options(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(columns, mapping) that an ingestion was given, from `batches.options`.

    A mapping may name a file only on the command line, so pairs without a key are left out: a store may be
    shared. Raises SourceError for another form.
    """
    try:
        options = json.loads(text)
        mapping = {
            str(fact): key for fact, key in options.get("map", {}).items() if isinstance(key, str) and key
        }
        return check_columns(options.get("set", {})), mapping
    except (ValueError, AttributeError) as error:
        raise SourceError(f"batches.options is not the JSON of an ingestion's options: {error}") from error


def check_encoding(encoding: str) -> None:
    """Raise SourceError if Python does not know the encoding."""
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise SourceError(str(error)) from error
