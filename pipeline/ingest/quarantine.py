"""The quarantine: what was refused and why, and trying it again after a fix.

A fix is a mended adapter, a problem that has come in meanwhile, or the right encoding. What is tried again
goes through its adapter from the bytes that were kept, under a batch of its own. Nothing is deleted: the
table `retries` says what became of each row, and a row counts as open until one of its tries got something of
it into the store.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from pipeline.adapters import ReadItem, Refused, Rereader, SourceError, SourceFile, find
from pipeline.ingest.admission import Admission, kind_of
from pipeline.ingest.conformity import Fault
from pipeline.ingest.ingestion import CHUNK_BYTES, append_batch, append_missing, checked_columns, with_columns
from pipeline.store import Store, content_id

ADMITTED, REFUSED = "admitted", "refused"
CHUNK_ROWS = 2_000
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Selection:
    """Which rows of the quarantine: by adapter, a part of the file's name, a part of the reason, the
    beginning of ids.
    """

    adapter: str | None = None
    file: str | None = None
    reason: str | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retried:
    """What became of the rows of one batch that were tried again: `rows` is admitted + refused.

    What was admitted held `accepted` + `present` + `quarantined` problems and trajectories; `reasons` are of
    the refused rows.
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
    """Rows of the quarantine by adapter, file, field and kind of reason: how many there are, and how many
    are still open.
    """
    found = entries(store, Selection(), only_open=False).select(
        "adapter", "source_file", "field", "reason", "is_open"
    )
    kinds = [kind_of((None, reason)) for reason in found["reason"]]
    return (
        found.with_columns(
            pl.Series("reason", kinds, dtype=pl.String), pl.col("field").str.replace_all("[0-9]+", "")
        )
        .group_by("adapter", "source_file", "field", "reason")
        .agg(pl.len().alias("rows"), pl.col("is_open").sum().alias("open"))
        .sort(
            "open", "rows", "adapter", "source_file", "reason", descending=[True, True, False, False, False]
        )
    )


def entries(store: Store, selection: Selection, *, only_open: bool = True) -> pl.DataFrame:
    """Rows of the quarantine in the order of their files: all but `raw`, its size in bytes, and whether
    they are open.
    """
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
    tries = (
        store.snapshot("retries")
        .scan()
        .filter(pl.col("outcome") == ADMITTED)
        .join(finished, on="batch_id", how="semi")
    )
    closed = tries.collect()["quarantine_id"].implode()
    found = rows.collect().with_columns((~pl.col("quarantine_id").is_in(closed)).alias("is_open"))
    return (found.filter("is_open") if only_open else found).sort(
        "source_file", "batch_id", "source_line", "quarantine_id"
    )


def raw_of(store: Store, names: list[str]) -> dict[str, bytes]:
    """The bytes kept of rows, by quarantine_id."""
    rows = store.snapshot("quarantine").scan().filter(pl.col("quarantine_id").is_in(names))
    return dict(rows.select("quarantine_id", "raw").collect().iter_rows())


def retry(
    store: Store,
    selection: Selection,
    *,
    encoding: str | None = None,
    columns: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> list[Retried]:
    """Try the open rows of a selection again, in a batch for each batch that refused them.

    With `encoding` their bytes are read in it and handed on as UTF-8. Raises SourceError where nothing is
    selected, the encoding is unknown, or an adapter is no longer there.
    """
    chosen = entries(store, selection)
    if not chosen.height:
        raise SourceError(
            "no open row of the quarantine is selected; `spo quarantine list` shows what there is"
        )
    said = checked_columns(columns or {})
    if encoding is not None:
        known(encoding)
    done, results = 0, []
    for _, rows in chosen.group_by("batch_id", maintain_order=True):
        attempt = _Attempt(store, rows, encoding, said)
        for part in parts(rows):
            attempt.try_again(part)
            done += part.height
            if on_progress:
                on_progress(done, chosen.height)
        results.append(attempt.finish())
    return results


def parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows in portions of at most CHUNK_ROWS, closed as soon as what is kept of them exceeds CHUNK_BYTES."""
    begin = held = 0
    for place, size in enumerate(rows["raw_bytes"], start=1):
        held += size
        if place - begin >= CHUNK_ROWS or held >= CHUNK_BYTES or place == rows.height:
            yield rows[begin:place]
            begin, held = place, 0


class _Attempt:
    """Rows that one batch refused, tried again under a batch whose name hangs on them: one that was killed
    goes on.
    """

    def __init__(self, store: Store, rows: pl.DataFrame, encoding: str | None, columns: Mapping[str, Any]):
        self.store, self.encoding, self.columns = store, encoding, columns
        origin, name, adapter = rows.select("batch_id", "source_file", "adapter").row(0)
        self.origin, self.adapter = origin, find(adapter)
        sha256 = dict(store.read("batches", ["batch_id", "source_sha256"]).iter_rows())
        self.file = SourceFile("", name, sha256.get(origin, ""), 0)
        tries = store.read("retries", ["quarantine_id", "batch_id", "origin_batch_id"]).filter(
            pl.col("origin_batch_id") == origin
        )
        finished = sum(batch_id in sha256 for batch_id in tries["batch_id"].unique())
        self.batch_id = content_id("retry", origin, finished, sorted(rows["quarantine_id"]))
        self.recorded = tries.filter(pl.col("batch_id") == self.batch_id)["quarantine_id"]
        self.started_at = datetime.now(UTC)
        refused_then = store.snapshot("quarantine").scan().filter(pl.col("batch_id") == origin)
        lines = refused_then.select("source_line").unique().collect()["source_line"]
        self.admission = Admission(store, self.batch_id, adapter, self.file, lines)
        self.sequence = self.still_refused = 0
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def try_again(self, rows: pl.DataFrame) -> None:
        names = rows["quarantine_id"].to_list()
        kept = raw_of(self.store, names)
        items: list[ReadItem] = []
        owners: list[int] = []
        for number, (name, line) in enumerate(zip(names, rows["source_line"], strict=True)):
            found = list(with_columns(iter(self._items(line, kept[name])), self.columns))
            items += found
            owners += [number] * len(found)
        chunk = self.admission.decide(items)
        got_in = {owner for number, owner in enumerate(owners) if number not in chunk.faults}
        # A row of which nothing got in stays where it is; what is refused of the others is new to the
        # quarantine.
        is_new = [owners[number] in got_in for number in chunk.newly_refused]
        self.still_refused += sum(owners[number] not in got_in for number in chunk.faults)
        for table, frame in replace(
            chunk, quarantine=chunk.quarantine.filter(pl.Series(is_new, dtype=pl.Boolean))
        ).tables():
            append_missing(self.store, table, frame, self.batch_id, self.sequence)
        faults = {
            owners[number]: fault
            for number, fault in reversed(chunk.faults.items())
            if owners[number] not in got_in
        }
        records = self._records(names, faults).filter(~pl.col("quarantine_id").is_in(self.recorded.implode()))
        append_missing(self.store, "retries", records, self.batch_id, self.sequence)
        self.outcomes.update({ADMITTED: len(got_in), REFUSED: len(faults)})
        self.reasons.update(kind_of(fault) for fault in faults.values())
        self.sequence += 1

    def finish(self) -> Retried:
        counts = self.admission.counts
        counts.quarantined -= self.still_refused
        append_batch(self.store, self.batch_id, self.adapter.name, self.file, counts, None, self.started_at)
        return Retried(
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
            return [Refused(0, raw, "the file as a whole was refused: mend it, and ingest it again")]
        if not isinstance(self.adapter, Rereader):
            return [
                Refused(
                    line,
                    raw,
                    f"adapter {self.adapter.name} cannot read single rows again: ingest the source again",
                )
            ]
        try:
            recoded = raw if self.encoding is None else raw.decode(self.encoding).encode()
            return self.adapter.reread(recoded, line, self.file)
        except UnicodeDecodeError as error:
            return [Refused(line, raw, f"not {self.encoding}: {error.reason} at byte {error.start}")]
        except Exception as error:
            return [Refused(line, raw, f"{type(error).__name__} in the adapter {self.adapter.name}: {error}")]

    def _records(self, names: list[str], faults: dict[int, Fault]) -> pl.DataFrame:
        found = [faults.get(number) for number in range(len(names))]
        return pl.DataFrame(
            {
                "quarantine_id": names,
                "outcome": [REFUSED if fault else ADMITTED for fault in found],
                "field": pl.Series([fault and fault[0] for fault in found], dtype=pl.String),
                "reason": pl.Series([fault and fault[1] for fault in found], dtype=pl.String),
            }
        ).with_columns(
            pl.lit(self.batch_id).alias("batch_id"),
            pl.lit(self.origin).alias("origin_batch_id"),
            pl.lit(datetime.now(UTC)).alias("retried_at"),
        )


def known(encoding: str) -> None:
    """Raises SourceError for an encoding that Python does not know."""
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise SourceError(str(error)) from error
