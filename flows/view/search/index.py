"""The index of words of one table: which rows of which of its files have a word.

A table's files never change, so the index only grows: what is new is added, and what a version of the table
reads is the part for its files. `rowid` in the index is the number of a file's first row plus the row's place
in the file.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flows.view.search.words import TOKENIZER

FORMAT = 1  # of the file; another one is built again
INDEXED = {"trajectories": ("program", "completion"), "problems": ("title", "statement")}
WAIT_S = 5.0
PENDING_BYTES = 64 << 20  # of postings that are sorted in memory
# Postings without positions: half the size, and a text in quotes is looked for in the rows anyway.
SCHEMA = f"""
CREATE TABLE files (name TEXT PRIMARY KEY, base INTEGER NOT NULL UNIQUE, rows INTEGER NOT NULL);
CREATE VIRTUAL TABLE words
    USING fts5(text, content='', detail=none, columnsize=0, tokenize="{TOKENIZER}");
INSERT INTO words(words, rank) VALUES ('hashsize', {PENDING_BYTES});
PRAGMA user_version = {FORMAT};
"""
Position = tuple[int, int]  # number of a file in the order of its version, row in the file


@dataclass(frozen=True)
class Part:
    """The rows of a file in the index."""

    base: int
    rows: int


class WordIndex:
    """The file of one table's index. `folder` is that of the store's caches."""

    def __init__(self, folder: Path, table: str) -> None:
        self.path = folder / f"{table}.sqlite"
        self.table = table

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that reads; None if there is no index, or one of another format."""
        if not self.path.is_file():
            yield None
            return
        with closing(sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)) as database:
            database.execute("PRAGMA query_only = on")
            known = database.execute("PRAGMA user_version").fetchone()[0] == FORMAT
            yield database if known else None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that adds rows; an index of another format, or a damaged one, is begun again."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        usable = False
        with suppress(sqlite3.DatabaseError), self.opened() as database:
            if database is not None:
                self.parts(database)
                usable = True
        if not usable:
            self.remove()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        with closing(sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)) as database:
            # Readers go on during a commit. An index that a power cut damages is built again.
            database.execute("PRAGMA journal_mode = wal")
            database.execute("PRAGMA synchronous = normal")
            if not usable:
                database.executescript(SCHEMA)
            yield database

    def remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    @staticmethod
    def parts(database: sqlite3.Connection) -> dict[str, Part]:
        rows = database.execute("SELECT name, base, rows FROM files")
        return {name: Part(base, count) for name, base, count in rows}


def index_folder(cache: Path, location: str) -> Path:
    """The folder of the indexes of a store."""
    return cache / hashlib.blake2b(location.encode(), digest_size=12).hexdigest()


def page_of_positions(
    database: sqlite3.Connection, parts: Sequence[Part | None], expression: str, skip: int, limit: int
) -> list[Position]:
    """The matches `skip` to `skip + limit` of some files in their order; files without a part have none."""
    positions: list[Position] = []
    sql = "SELECT rowid FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid LIMIT ?"
    for number, part in enumerate(parts):
        if part is None:
            continue
        wanted = skip + limit - len(positions)
        last = part.base + part.rows - 1
        matches = database.execute(sql, (expression, part.base, last, wanted))
        positions += [(number, rowid - part.base) for (rowid,) in matches]
        if len(positions) >= skip + limit:
            break
    return positions[skip:]


def all_positions(
    database: sqlite3.Connection, parts: Sequence[Part | None], expression: str, most: int
) -> tuple[list[Position], bool]:
    """All matches in these files, in their order, and whether they are all: more than `most` are cut."""
    bases = sorted((part.base, part.rows, number) for number, part in enumerate(parts) if part)
    starts = [base for base, _, _ in bases]
    sql = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid LIMIT ?"
    rowids = [rowid for (rowid,) in database.execute(sql, (expression, most + 1))]
    positions = []
    for rowid in rowids[:most]:
        place = bisect_right(starts, rowid) - 1
        if place >= 0 and rowid < bases[place][0] + bases[place][1]:  # else it is of another version
            positions.append((bases[place][2], rowid - bases[place][0]))
    return sorted(positions), len(rowids) <= most
