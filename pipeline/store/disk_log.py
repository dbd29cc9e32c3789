"""The log of a table on a disk: commits that a power cut does not take, and entries that are compared with
their digests.

A commit is one new name in the log's folder, given by `link`, which fails if another process has taken that
version. Before it, the data files and the entry's own content are flushed; after it, the folder. Copies of
the newest entries lie beside the log: by their names it is known how far the log went, and `spo store repair`
gives lost entries back from them.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from pipeline.store import log_entry
from pipeline.store.checkpoints import write_checkpoint
from pipeline.store.data_files import content_hash
from pipeline.store.errors import StoreError
from pipeline.store.files import flush_all, flush_folder, make_folder
from pipeline.store.layout import creation_actions, metadata_action
from pipeline.store.log_entry import Commit
from pipeline.store.log_files import (
    CHECKPOINT,
    ENTRY,
    HINT,
    LOG_FOLDER,
    OWN_FOLDER,
    checkpoint_hashes,
    checkpoint_name,
    entry_name,
    hint_version,
    versions_of,
)
from pipeline.store.places import Disk
from pipeline.store.tables import Table

# Copies of entries are kept of the newest versions; older ones are in a checkpoint.
COPIES = 200
HOW = "spo store check, spo store repair"


class DiskLog:
    """The log of one table in a local folder, for one `Store`."""

    def __init__(self, folder: Path):
        self.place = Disk(folder)
        self.folder = folder / LOG_FOLDER
        self.copies = folder / OWN_FOLDER
        self._compared: set[int] = set()
        self._reached = -1

    def commit(self, handle: DeltaTable, commit: Commit) -> bool:
        """Make the version after the one that the handle shows, unless another process has made it; False
        then.

        True says that this commit is in, by its doing, and that a power cut does not take it.
        """
        return self._write(commit, handle.version() + 1, str(handle.metadata().id))

    def _write(self, commit: Commit, version: int, table: str) -> bool:
        """Make a version of the table, unless it is there.

        Raises FileNotFoundError if one of its data files is gone. After an OSError from a flush it is not
        known whether the commit would outlive a power cut; it is there, or not, for whoever looks now.
        """
        target = self.folder / entry_name(version)
        if target.exists():
            return False
        text = log_entry.entry(commit, version, table)
        with self.place.partial() as (path, file):
            file.write(text)
            file.flush()
            data = [self.place.folder / added.path for added in commit.added]
            try:
                flush_all([*data, path], {file.parent for file in data})
                os.link(path, target)
            except OSError:
                # A network file system may report an error of a link that it made: the reply was lost.
                if os.stat(path).st_nlink < 2:
                    # Data files that are gone were deleted by maintenance, which makes this version first.
                    if target.exists():
                        return False
                    raise
        flush_folder(self.folder)
        self._compared.add(version)
        self._keep_copy(version, text)
        return True

    def create(self, table: Table) -> None:
        """Make version 0 of the table, and its folders, unless another process has."""
        make_folder(self.folder)
        make_folder(self.copies)
        actions = creation_actions(table)
        identity = next(action["metaData"]["id"] for action in actions if "metaData" in action)
        self._write(Commit("CREATE TABLE", table_actions=tuple(actions)), 0, identity)

    def widen(self, handle: DeltaTable, fields: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        """What a commit has to say for more columns to join the table with it."""
        return (metadata_action(handle, fields),)

    def write_checkpoint(self, handle: DeltaTable) -> None:
        write_checkpoint(self.folder, self.copies, handle.version())

    def settle(self) -> None:
        """Return once what is committed would outlive a power cut: its writer may have been killed before
        it flushed the folder.
        """
        flush_folder(self.folder)

    def infos(self, after: int, until: int) -> list[dict[str, Any]]:
        """What the commits after a version say of themselves."""
        return [log_entry.info_of(self.read(version)) for version in range(after + 1, until + 1)]

    def read(self, version: int) -> bytes:
        return (self.folder / entry_name(version)).read_bytes()

    def actions(self, version: int) -> list[dict[str, Any]]:
        """What a version's entry does, line by line."""
        return [json.loads(line) for line in self.read(version).splitlines()]

    def versions(self) -> list[int]:
        """Versions whose entries are there, in order."""
        return versions_of(self.folder, ENTRY)

    def checkpoints(self) -> list[int]:
        """Versions that have a checkpoint, in order."""
        return versions_of(self.folder, CHECKPOINT)

    def has_news(self, version: int) -> bool:
        """Whether a version after that one has been made."""
        return (self.folder / entry_name(version + 1)).exists()

    def newest_copy(self) -> int:
        """Highest version that is known to have been committed here; -1 if none is."""
        return max(versions_of(self.copies, ENTRY), default=-1)

    def compare_all(self) -> None:
        """Compare what a reader of the newest version reads: the newest checkpoint, and the entries after it.

        Raises StoreError for an entry or a checkpoint that is not what was committed, and for entries that
        are gone.
        """
        versions, known = self.versions(), self.newest_copy()
        if max(versions, default=-1) < known:
            raise StoreError(self._ends_early(max(versions, default=-1), known))
        if versions:
            if (hint := hint_version(self.folder)) > versions[-1]:
                raise StoreError(
                    f"{self.folder / HINT} names version {hint}, and the log ends with {versions[-1]} ({HOW})"
                )
            self.compare_until(versions[-1])
            self._reached = versions[-1]

    def compare_until(self, version: int) -> None:
        """The same for a reader of an older version."""
        start = max((number for number in self.checkpoints() if number <= version), default=-1)
        if start >= 0:
            self.compare_checkpoint(start)
        self.compare_entries(start, version)

    def compare_entries(self, after: int, until: int) -> None:
        """Compare the entries of the versions after one with their digests, each once in this process."""
        for version in range(after + 1, until + 1):
            if version in self._compared:
                continue
            path = self.folder / entry_name(version)
            try:
                wrong = log_entry.fault(path.read_bytes(), version)
            except OSError as error:
                wrong = f"is gone ({error.strerror})"
            if wrong:
                raise StoreError(f"{path} {wrong} ({HOW})")
            self._compared.add(version)

    def compare_new(self, until: int, known: int) -> None:
        """Compare entries that came in since the last look; `known` is `newest_copy` from before the look."""
        if until < known:
            raise StoreError(self._ends_early(until, known))
        self.compare_entries(min(self._reached, until), until)
        self._reached = until

    def compare_checkpoint(self, version: int) -> None:
        """Compare a checkpoint with the hash kept when it was written. Those of other programs have none."""
        hashes = checkpoint_hashes(self.copies, version)
        path = self.folder / checkpoint_name(version)
        if hashes and content_hash(path) not in hashes:
            raise StoreError(f"{path} is damaged: its content is not what was written ({HOW})")

    def _ends_early(self, last: int, known: int) -> str:
        return (
            f"the log {self.folder} ends with version {last}, but version {known} was committed:"
            f" its newest entries are gone ({HOW})"
        )

    def _keep_copy(self, version: int, text: bytes) -> None:
        # The commit is made, whatever becomes of its copy.
        with contextlib.suppress(OSError):
            (self.copies / entry_name(version)).write_bytes(text)
            (self.copies / entry_name(version - COPIES)).unlink(missing_ok=True)
