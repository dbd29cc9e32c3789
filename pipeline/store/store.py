"""The store: one Delta Lake table per contract, in a local folder or on object storage.

Appends are atomic and have their idempotency key, (producer, sequence), in the commit. Reads use snapshots:
lists of Parquet files that later commits do not change. Never glob a folder: after a compaction it has rows
twice. Specification: the Delta Lake protocol,
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.later import later
from pipeline.store import appending, maintenance, pins
from pipeline.store.appender import Appender
from pipeline.store.appending import TableLog, refresh, sequence_of
from pipeline.store.data_files import live_files
from pipeline.store.disk_log import DiskLog
from pipeline.store.errors import StoreError, as_store_errors, in_one_line
from pipeline.store.layout import LAYOUT_KEY, open_table
from pipeline.store.location import local_folder
from pipeline.store.maintenance import Maintained
from pipeline.store.snapshot import NOT_CREATED, Snapshot
from pipeline.store.tables import TABLES, Table

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

__all__ = ["LAYOUT_KEY", "Maintained", "Snapshot", "Statistics", "Store", "StoreError", "contract"]

# Compaction resets the cost of an append, which grows with the number of live small files.
COMPACT_AFTER_COMMITS = 200


@dataclass(frozen=True)
class Statistics:
    """Size of a table: rows, Parquet files, their bytes, and the version they are at."""

    rows: int
    files: int
    bytes: int
    version: int


class Store:
    """Handle on a store, for one thread. Cheap to create: a table is opened at its first use, and created at
    its first append.
    """

    def __init__(self, location: str | Path, storage_options: dict[str, str] | None = None):
        location = str(location)
        remote = "://" in location and not location.startswith("file:")
        self.location = location if remote else str(local_folder(location))
        self.storage_options = storage_options
        self._handles: dict[str, DeltaTable] = {}
        self._logs: dict[str, TableLog] = {}
        self._pinned_reads: set[str] | None = None
        self._inspected: set[str] = set()

    def exists(self) -> bool:
        """Whether any table was ever written to."""
        return any(self.version(name) > NOT_CREATED for name in TABLES)

    @contextmanager
    def pinned_reads(self) -> Iterator[None]:
        """Within this context each table is read at the version of its first read, plus own commits.

        This saves a look at the log per read. Appends always use the current version."""
        before, self._pinned_reads = self._pinned_reads, set()
        try:
            yield
        finally:
            self._pinned_reads = before

    def append(self, name: str, rows: pl.DataFrame, *, producer: str, sequence: int) -> bool:
        """Append rows once for each (producer, sequence), which must increase; True if this call added them.

        True, and False for rows that are in already, hold after a power cut. Raises ContractError for rows
        that break the table's contract, StoreError when the commit cannot be made. A column that is new in
        the contract, and nullable, joins the table with the first append; older rows read as null.
        """
        from pipeline.store.contract_check import check

        table = contract(name)
        rows = check(table, rows)
        with self._errors(name, "write to"):
            handle = self._created(table)
            added = appending.append(self.log(name), handle, table, rows, producer, sequence)
            if self._pinned_reads is not None:
                refresh(self.log(name), handle)
        return added

    def last_sequence(self, name: str, producer: str) -> int:
        """Highest sequence this producer has committed to the table, or -1."""
        handle = self._refreshed(contract(name), to_write=True)
        return sequence_of(handle, producer) if handle else -1

    def append_next(self, name: str, rows: pl.DataFrame, *, producer: str) -> None:
        """Append under the producer's next sequence. For a producer that this process has for itself; where
        another process may append the same rows, `Appender` finds it out.

        Raises StoreError if another process appended for this producer meanwhile.
        """
        Appender(self, producer, name).append(name, rows)

    def version(self, name: str) -> int:
        """Current version of a table; -1 if it was never written to."""
        handle = self._refreshed(contract(name))
        return handle.version() if handle else NOT_CREATED

    def snapshot(self, name: str, version: int | None = None) -> Snapshot:
        """Snapshot of a table at a version, or as it is now."""
        table = contract(name)
        handle = self._refreshed(table)
        if version == NOT_CREATED or (handle is None and version is None):
            return Snapshot(table, NOT_CREATED, (), self.storage_options)
        if handle is None:
            raise StoreError(
                f"{name}: no version {version} in {self.location}: nothing was ever written to it"
            )
        if version is not None and version != handle.version():
            try:
                self.log(name).compare_until(version)
                handle = open_table(self._uri(name), self.storage_options, version)
            except (DeltaError, OSError, StoreError) as error:
                raise StoreError(
                    f"{name}: no version {version} in {self.location}: {in_one_line(error)}"
                ) from error
        with self._errors(name, "read"):
            files = tuple(sorted(map(self._as_path, handle.file_uris())))
            return Snapshot(table, handle.version(), files, self.storage_options, self._uri(name))

    def _as_path(self, file: str) -> str:
        """delta-rs answers in percent-encoded form; readers of local files want the name as it is."""
        return file if "://" in self.location else unquote(file)

    def read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        return self.snapshot(name).read(columns)

    def tail(self, name: str, after_version: int, until: int | None = None) -> tuple[pl.DataFrame, int]:
        """Rows added after a version up to `until` (or now), each once and whatever was compacted since, and
        the version reached.

        Raises StoreError when maintenance has deleted files of that time: then read a snapshot, and go on
        from its version.
        """
        table = contract(name)
        handle = self._refreshed(table)
        if handle is None or handle.version() <= after_version:
            return table.empty, after_version
        now = handle.version() if until is None else min(until, handle.version())
        with self._errors(name, f"follow from version {after_version}"):
            self.log(name).compare_entries(after_version, now)
            changes = pl.DataFrame(handle.load_cdf(after_version + 1, now))
        kinds = table.empty.schema
        missing = [
            pl.lit(None, dtype=kinds[column]).alias(column)
            for column in kinds
            if column not in changes.columns
        ]
        added = changes.filter(pl.col("_change_type") == "insert").with_columns(missing)
        return added.select(kinds.names()), now

    def added(self, name: str, after_version: int, until: int) -> Snapshot:
        """A snapshot of only the rows added after a version, up to `until`, whatever was compacted since: as
        `tail`, but the caller chooses what of them is read. For local stores.

        Raises StoreError if rows were taken out since, as by a repair; reading it does when maintenance has
        deleted files of that time.
        """
        table, uri = contract(name), self._uri(name)
        with self._errors(name, f"follow from version {after_version}"):
            log = self.log(name)
            if not isinstance(log, DiskLog):
                raise StoreError("only a store in a local folder keeps the entries of its log")
            log.compare_entries(after_version, until)
            actions = [action for v in range(after_version + 1, until + 1) for action in log.actions(v)]
            if any(action["remove"].get("dataChange", True) for action in actions if "remove" in action):
                raise StoreError("rows were taken out")
            files = [
                self._as_path(action["add"]["path"])
                for action in actions
                if "add" in action and action["add"]["dataChange"]
            ]
        paths = tuple(f"{self.location.rstrip('/')}/{name}/{file}" for file in files)
        return Snapshot(table, until, paths, self.storage_options, uri)

    @property
    def index_folder(self) -> Path | None:
        """Where what is derived from the tables is kept, to be deleted at any time; None if the store is not
        a local folder.
        """
        return None if "://" in self.location else Path(self.location) / "_index"

    def pins(self, names: list[str] | None = None) -> dict[str, int]:
        """The version of every table (or of those named) at this moment."""
        return {name: self.version(name) for name in names or TABLES}

    def pin(self, label: str, versions: Mapping[str, int] | None = None) -> dict[str, int]:
        """Keep those versions (or the present ones) readable under a label, through any maintenance, until
        `unpin`.

        Raises StoreError for a version that is not there, and for one whose files maintenance has deleted.
        An older version can still be lost if maintenance is just deleting its files; the present one cannot.
        """
        return pins.pin(self, label, versions)

    def unpin(self, label: str) -> None:
        if label not in self.pinned():
            raise StoreError(f"no pin {label}; there are: {', '.join(self.pinned()) or 'none'}")
        pins.write_pin(self, label, {}, held=False)

    def pinned(self) -> dict[str, dict[str, int]]:
        """Versions kept by each label and by each published corpus (as `corpus/<corpus_id>`)."""
        return pins.pinned(self)

    def maintain(
        self, name: str, *, keep_versions: list[int] | None = None, retention_hours: int | None = None
    ) -> Maintained:
        """Compact small files, write a checkpoint, and delete files that no retained or pinned version needs.

        Retained is what was live in the last `retention_hours` (7 days if not given; less breaks readers and
        followers that are slower). Versions pinned by `pin` or by a corpus are kept, and those in
        `keep_versions`.
        """
        handle = self._refreshed(contract(name))
        if handle is None:
            return Maintained(0, 0, 0)
        before = len(handle.file_uris())
        with self._errors(name, "maintain"):
            maintenance.compact(self.log(name), handle, contract(name))
            self.log(name).write_checkpoint(handle)
            keep = partial(self._retained_versions, name, keep_versions or [])
            deleted = maintenance.sweep(self.log(name), handle, retention_hours, keep)
        return Maintained(before, len(handle.file_uris()), deleted)

    def _retained_versions(self, name: str, more: list[int]) -> list[int]:
        """Versions of a table that are pinned at this moment, and more; the newest is kept in any case."""
        pinned = [versions[name] for versions in self.pinned().values() if name in versions]
        return sorted(v for v in {*pinned, *more} if 0 <= v < self._handles[name].version())

    def needs_compaction(self, name: str) -> bool:
        return self.statistics(name).files > COMPACT_AFTER_COMMITS

    def statistics(self, name: str) -> Statistics:
        """Rows, files and bytes of a table now, from its log alone."""
        handle = self._refreshed(contract(name))
        if handle is None:
            return Statistics(0, 0, 0, NOT_CREATED)
        with self._errors(name, "read"):
            files = pl.DataFrame(handle.get_add_actions(flatten=True))
        return Statistics(
            int(files["num_records"].sum()), files.height, int(files["size_bytes"].sum()), handle.version()
        )

    def _uri(self, name: str) -> str:
        return f"{self.location.rstrip('/')}/{name}"

    def log(self, name: str) -> TableLog:
        """A table's log and the place of its files, for what looks after it."""
        if name not in self._logs:
            self._logs[name] = self._new_log(self._uri(name))
        return self._logs[name]

    def _new_log(self, uri: str) -> TableLog:
        if "://" not in self.location:
            return DiskLog(Path(uri))
        from pipeline.store.bucket_log import BucketLog

        return BucketLog(uri, self.storage_options)

    def _errors(self, name: str, what: str) -> AbstractContextManager[None]:
        return as_store_errors(name, f"{what} {self._uri(name)}")

    def _refreshed(self, table: Table, *, to_write: bool = False) -> DeltaTable | None:
        """The table at its current version, or at the pinned one within `pinned_reads`; None if it
        does not exist.
        """
        log, uri = self.log(table.name), self._uri(table.name)
        with self._errors(table.name, "read"):
            if table.name in self._handles:
                if to_write or self._pinned_reads is None or table.name not in self._pinned_reads:
                    refresh(log, self._handles[table.name])
            else:
                self._compare_log(log, uri)
                if DeltaTable.is_deltatable(uri, storage_options=self.storage_options):
                    self._handles[table.name] = open_table(uri, self.storage_options)
        if self._pinned_reads is not None and table.name in self._handles:
            self._pinned_reads.add(table.name)
        return self._handles.get(table.name)

    def _compare_log(self, log: TableLog, uri: str) -> None:
        try:
            log.compare_all()
        except StoreError:
            # A newer program may keep its log in another way: that it is newer is the first thing to know.
            with suppress(DeltaError, OSError):
                open_table(uri, self.storage_options)
            raise

    def _created(self, table: Table) -> DeltaTable:
        handle = self._refreshed(table, to_write=True)
        if handle is None:
            self.log(table.name).create(table)
            handle = self._handles[table.name] = open_table(self._uri(table.name), self.storage_options)
        if table.name not in self._inspected:
            self.log(table.name).place.inspect(live_files(handle))
            self._inspected.add(table.name)
        return handle


def contract(name: str) -> Table:
    try:
        return TABLES[name]
    except KeyError:
        raise StoreError(f"no table {name}; there are: {', '.join(TABLES)}") from None
