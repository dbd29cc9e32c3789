"""Is a store whole? Its logs, its files against the hashes of their commits, its rows against their
contracts, its pins, and the references between its tables. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipeline.later import later
from pipeline.store.bucket_log import BucketLog
from pipeline.store.checking import log_faults
from pipeline.store.checking.data_paths import committed_paths, data_paths
from pipeline.store.checking.references import check_references
from pipeline.store.checking.report import CheckReport
from pipeline.store.contract_check import ContractError, check
from pipeline.store.data_files import committed_hash, content_hash, hash_of
from pipeline.store.disk_log import DiskLog
from pipeline.store.errors import StoreError, in_one_line
from pipeline.store.snapshot import NOT_CREATED, Snapshot, damaged
from pipeline.store.store import Store
from pipeline.store.tables import TABLES, Table

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

LOOKS: dict[str, Callable[[DiskLog], Iterator[log_faults.Fault]]] = {
    "log": log_faults.entry_faults,
    "copy": log_faults.copy_faults,
    "checkpoint": log_faults.checkpoint_faults,
}
# Faults that keep a table, or a part of it, from being read.
UNREADABLE = ("log", "checkpoint", "file")
DIFFERS = "is damaged: its content is not what was committed"


def check_store(store: Store, progress: Callable[[str], None] = lambda table: None) -> CheckReport:
    """Examine everything in a store. `progress` gets the name of each table as its turn comes.

    Writers may go on meanwhile, and maintenance with its usual retention. On object storage the log and
    the files of older versions are not compared: the storage keeps its own checksums.
    """
    # A store of its own: what another one has read already is not read again.
    store, report = Store(store.location, store.storage_options), CheckReport()
    for name, table in TABLES.items():
        progress(name)
        check_table(store, table, report)
    if not any(finding.kind in UNREADABLE for finding in report.findings):
        progress("references")
        check_references(store, report)
        report.references_checked = True
    return report


def check_table(store: Store, table: Table, report: CheckReport) -> None:
    log, bad_files = store.log(table.name), set[str]()
    if isinstance(log, DiskLog):
        report.entries += len(log.versions())
        for kind, look in LOOKS.items():
            for where, what in look(log):
                report.add(table.name, kind, where, what)
        bad_files = check_hashes(log, table, report)
    try:
        snapshot = store.snapshot(table.name)
    except StoreError as error:
        if not report.has(table.name):
            report.add(table.name, "log", store.location, in_one_line(error))
        return
    if not isinstance(log, DiskLog):
        bad_files = check_objects(log, snapshot, report)
    check_rows(snapshot, bad_files, report)
    check_pins(store, table, report)


def check_hashes(log: DiskLog, table: Table, report: CheckReport) -> set[str]:
    """Compare every data file below a table's folder, also those of older versions, with the hash in its
    name. Returns those that differ.
    """
    differ, committed = set(), committed_paths(log)
    for path, relative in data_paths(log):
        if committed is not None and relative not in committed:
            report.uncommitted += 1
            continue
        try:
            size, actual = path.stat().st_size, content_hash(path)
        except FileNotFoundError:
            continue  # deleted by maintenance since it was listed; what is needed is looked for below
        report.files += 1
        report.bytes += size
        if (expected := committed_hash(path)) is None:
            report.without_hash += 1
        elif actual != expected:
            differ.add(str(path))
            report.add(table.name, "file", path, DIFFERS)
    return differ


def check_objects(log: BucketLog, snapshot: Snapshot, report: CheckReport) -> set[str]:
    """The same for the files of a version on object storage; others are not listed."""
    differ = set()
    for file in snapshot.files:
        report.files += 1
        expected = committed_hash(file)
        try:
            with log.place.open(unquote(file.removeprefix(f"{snapshot.uri}/"))) as stored:
                report.bytes += stored.size()
                actual = hash_of(stored)
        except OSError as error:
            differ.add(file)
            report.add(snapshot.table.name, "file", file, in_one_line(error))
            continue
        if expected is None:
            report.without_hash += 1
        elif actual != expected:
            differ.add(file)
            report.add(snapshot.table.name, "file", file, DIFFERS)
    return differ


def check_rows(snapshot: Snapshot, bad_files: set[str], report: CheckReport) -> None:
    """Read the files of a version and compare their rows with the contract."""
    table = snapshot.table
    for file in snapshot.files:
        if file in bad_files:
            continue
        try:
            rows = replace(snapshot, files=(file,)).scan().collect()
            report.rows += rows.height
            check(table, rows)
        except ContractError as error:
            report.add(table.name, "rows", file, str(error).removeprefix(f"{table.name}: "))
        except (StoreError, pl.exceptions.PolarsError, OSError) as error:
            report.add(table.name, "file", file, damaged((file,)) or in_one_line(error))


def check_pins(store: Store, table: Table, report: CheckReport) -> None:
    """Whether the files of every pinned version are there; their content is compared with all others."""
    try:
        pinned = store.pinned()
    except StoreError:
        return  # the tables that hold the pins are damaged, and that is reported
    for label, versions in pinned.items():
        version = versions.get(table.name, NOT_CREATED)
        try:
            missing = store.snapshot(table.name, version).missing_files()
        except StoreError as error:
            report.add(table.name, "pin", label, in_one_line(error))
            continue
        if missing:
            report.add(table.name, "pin", label, f"version {version} cannot be read: {missing[0]} is gone")
