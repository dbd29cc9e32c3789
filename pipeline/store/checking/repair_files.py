"""Damaged data files: compacted ones are restored from their sources; the lost rows of others are listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from deltalake import DeltaTable

from pipeline.later import later
from pipeline.store.appending import refresh
from pipeline.store.checking.data_paths import committed_paths, data_paths, readable_actions
from pipeline.store.checking.step import RepairStep, set_aside
from pipeline.store.data_files import DataFile, committed_hash, content_hash, live_files
from pipeline.store.disk_log import DiskLog
from pipeline.store.errors import StoreError, as_store_errors
from pipeline.store.layout import open_table
from pipeline.store.log_entry import Commit
from pipeline.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = later("pyarrow")
    pq = later("pyarrow.parquet")


def repair_files(log: DiskLog, table: Table, accept_loss: bool) -> Iterator[RepairStep]:
    """Restore the damaged files of the present version, or list their rows; name those of older versions."""
    try:
        with as_store_errors(table.name, f"repair the files of {log.place.folder}"):
            log.compare_all()
            handle = open_table(str(log.place.folder), None)
    except StoreError as error:
        yield RepairStep(table.name, str(error).removeprefix(f"{table.name}: "), done=False)
        return
    for file in live_files(handle):
        if not is_whole(log, file.path):
            yield replace_file(log, handle, table, file, accept_loss)
    live, committed = {file.path for file in live_files(handle)}, committed_paths(log) or set()
    for path, relative in data_paths(log):
        if relative in committed - live and not is_whole(log, relative):
            if accept_loss:
                set_aside(log, path)
            what = f"{path} is damaged: only older versions of the table need it"
            yield RepairStep(
                table.name, what + (", moved to _spo/set-aside" if accept_loss else ""), accept_loss
            )


def is_whole(log: DiskLog, path: str) -> bool:
    """Whether a file has the content that was committed; one without a hash, whether it can be read to
    its end.
    """
    local = log.place.folder / path
    if not local.exists():
        return False
    if committed := committed_hash(path):
        return content_hash(local) == committed
    try:
        for _ in pq.ParquetFile(local).iter_batches():
            pass
        return True
    except (pa.ArrowException, OSError):
        return False


def replace_file(
    log: DiskLog, handle: DeltaTable, table: Table, file: DataFile, accept_loss: bool
) -> RepairStep:
    path = log.place.folder / file.path
    if (sources := sources_of(log, handle, file)) is not None:
        results, inputs = sources
        commit_exchange(log, handle, inputs, results)
        set_aside(log, path)
        return RepairStep(
            table.name,
            f"{path} was damaged: its rows come from the {len(inputs)} files it was compacted from",
        )
    rows = rows_of(file)
    keys = keys_of(path, table, rows)
    if not accept_loss:
        what = (
            f"{path} is damaged and has no other copy: {rows} rows cannot be read;"
            " --accept-loss goes on without them"
        )
        return RepairStep(table.name, what, False, rows, keys)
    commit_exchange(log, handle, [], [file])
    set_aside(log, path)
    return RepairStep(
        table.name, f"{path} was damaged and is left out: {rows} rows are lost", True, rows, keys
    )


def commit_exchange(log: DiskLog, handle: DeltaTable, added: list[DataFile], removed: list[DataFile]) -> None:
    # `data_change` is false also for lost rows: otherwise whoever follows the table would be sent to the
    # damaged file.
    if not log.commit(handle, Commit("REPAIR", tuple(added), tuple(removed), data_change=False)):
        raise StoreError(
            f"{log.folder}: another process wrote to the table meanwhile;"
            " repair when nobody else uses the store"
        )
    refresh(log, handle)


def sources_of(
    log: DiskLog, handle: DeltaTable, file: DataFile
) -> tuple[list[DataFile], list[DataFile]] | None:
    """The files that a compaction wrote together with this one in its partition, and those it wrote them
    from, if all are there.
    """
    live = {one.path: one for one in live_files(handle)}
    added: dict[str, dict[str, Any]] = {}
    for _, actions in readable_actions(log):
        adds = {unquote(a["add"]["path"]): a["add"] for a in actions if "add" in a}
        if file.path in adds:
            same = adds[file.path]["partitionValues"]
            results = [path for path, add in adds.items() if add["partitionValues"] == same]
            inputs = [unquote(a["remove"]["path"]) for a in actions if "remove" in a]
            inputs = [path for path in inputs if path in added and added[path]["partitionValues"] == same]
            if inputs and set(results) <= set(live) and all(is_whole(log, path) for path in inputs):
                return [live[path] for path in results], [as_file(path, added[path]) for path in inputs]
        added |= adds
    return None


def as_file(path: str, add: dict[str, Any]) -> DataFile:
    return DataFile(path, add["size"], add["partitionValues"], add["modificationTime"], add["stats"])


def rows_of(file: DataFile) -> int:
    return int(json.loads(file.stats)["numRecords"])


def keys_of(path: Path, table: Table, rows: int) -> tuple[str, ...]:
    """The key of each row of a damaged file, or its number in the file where the key cannot be read.

    A key may itself be among what is damaged.
    """
    keys: list[str] = []
    try:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            keys += keys_in(file, group, table, len(keys))
    except (pa.ArrowException, OSError, ValueError):
        pass  # what is missing is named by its number
    return (*keys[:rows], *(f"row {number + 1}" for number in range(len(keys), rows)))


def keys_in(file: pq.ParquetFile, group: int, table: Table, before: int) -> list[str]:
    try:
        rows = file.read_row_group(group, columns=table.key).to_pylist()
        return [" ".join(map(str, row.values())) for row in rows]
    except (pa.ArrowException, OSError, ValueError):
        count = file.metadata.row_group(group).num_rows
        return [f"row {before + number + 1}" for number in range(count)]
