"""The process that brings the index of a table up to date.

The explorer starts it at a search, with a low priority, and it ends with the explorer. What it has read is
committed file by file, so that it goes on where it was ended.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.view.search.index import INDEXED, WordIndex, index_folder
from pipeline.store import Store, connect, rows_with_positions

if TYPE_CHECKING:
    import sqlite3

    import duckdb

COMMIT_ROWS = 200_000
BATCH_ROWS = 8_192
# An index of which more than this share is of files that are gone is built again.
MOST_GONE = 0.5
ADD = "INSERT INTO words(rowid, text) VALUES (?, ?)"


def build(store: Store, cache: Path, table: str, report: Callable[[int, int], None] | None = None) -> bool:
    """Add the newest version's files that are not in the index; False if another process is adding them.

    `report` is called with the rows that are in, of all, after each commit.
    """
    index = WordIndex(index_folder(cache, store.location), table)
    index.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(index.path.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        snapshot = store.snapshot(table)
        with connect(store, {table: snapshot.version}, threads=1) as connection:
            total = connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
            if _mostly_gone(index, set(snapshot.files)):
                index.remove()
            with index.writing() as database:
                _add_files(connection, database, index, snapshot.files, total, report)
    return True


def _mostly_gone(index: WordIndex, files: set[str]) -> bool:
    import sqlite3

    try:
        with index.opened() as database:
            if database is None:
                return False
            sizes = {name: part.rows for name, part in index.parts(database).items()}
    except sqlite3.DatabaseError:
        return True
    gone = sum(rows for name, rows in sizes.items() if name not in files)
    return gone > MOST_GONE * sum(sizes.values())


def _add_files(
    connection: duckdb.DuckDBPyConnection,
    database: sqlite3.Connection,
    index: WordIndex,
    files: tuple[str, ...],
    total: int,
    report: Callable[[int, int], None] | None,
) -> None:
    parts = index.parts(database)
    base = max((part.base + part.rows for part in parts.values()), default=0)
    done = before = sum(parts[name].rows for name in files if name in parts)
    uncommitted = 0
    database.execute("BEGIN")
    for name in files:
        if name in parts:
            continue
        rows = 0
        for numbers, texts in _texts(connection, index.table, name):
            database.executemany(ADD, zip((base + number for number in numbers), texts, strict=True))
            rows += len(texts)
        database.execute("INSERT INTO files VALUES (?, ?, ?)", (name, base, rows))
        base, done, uncommitted = base + rows, done + rows, uncommitted + rows
        if uncommitted >= COMMIT_ROWS:
            database.execute("COMMIT")
            database.execute("BEGIN")
            uncommitted = 0
            if report:
                report(done, total)
    database.execute("COMMIT")
    if done > 1.2 * before:  # one list per word instead of one per commit
        database.execute("INSERT INTO words(words) VALUES ('optimize')")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if report:
        report(done, total)


def _texts(
    connection: duckdb.DuckDBPyConnection, table: str, file: str
) -> Iterator[tuple[list[int], list[str]]]:
    """Numbers and texts of the rows of a file, in batches."""
    text = f"concat_ws(chr(10), {', '.join(INDEXED[table])})"
    sql = f"SELECT file_row_number, {text} FROM {rows_with_positions(table, [file])}"
    for batch in connection.sql(sql).to_arrow_reader(BATCH_ROWS):
        yield batch.column(0).to_pylist(), batch.column(1).to_pylist()


class Builder:
    """Starts the process where it is needed; one per table at a time."""

    def __init__(self, location: str, cache: Path) -> None:
        self.location, self.cache = location, cache
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def running(self, table: str) -> bool:
        process = self._processes.get(table)
        return process is not None and process.poll() is None

    def start(self, table: str) -> None:
        with self._lock:
            if self.running(table):
                return
            start = f"from {__name__} import main; main()"
            command = [sys.executable, "-P", "-c", start, "--", self.location, str(self.cache)]
            # It ends when this end of its input is closed, however this process ends.
            self._processes[table] = subprocess.Popen(
                [*command, table], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )

    def close(self) -> None:
        with self._lock:
            for process in self._processes.values():
                process.kill()
                process.wait()


def end_with_input(descriptor: int) -> None:
    """End this process when the other end of a pipe is closed."""
    # Not through Python's buffer: a thread that waits there holds its lock, and the process could not end.
    while os.read(descriptor, 1 << 12):
        pass
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("location")
    parser.add_argument("cache", type=Path)
    parser.add_argument("table", choices=list(INDEXED))
    options = parser.parse_args()
    os.nice(10)
    threading.Thread(target=end_with_input, args=(sys.stdin.fileno(),), daemon=True).start()
    build(Store(options.location), options.cache, options.table)


if __name__ == "__main__":
    main()
