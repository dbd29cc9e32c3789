"""The log of a table on object storage: delta-rs commits there, by a conditional put, and the storage
keeps what it has confirmed.
"""

from __future__ import annotations

import time
from typing import Any

from deltalake import CommitProperties, DeltaTable, Field, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, PostCommitHookProperties, RemoveAction

from pipeline.store import layout
from pipeline.store.bucket import Bucket
from pipeline.store.log_entry import MARK, Commit
from pipeline.store.tables import Table


class BucketLog:
    """The log of one table on object storage, for one `Store`."""

    def __init__(self, uri: str, storage_options: dict[str, str] | None):
        self.uri, self.storage_options = uri, storage_options
        self.place = Bucket(uri, storage_options)

    def create(self, table: Table) -> None:
        layout.create(self.uri, table, self.storage_options)

    def commit(self, handle: DeltaTable, commit: Commit) -> bool:
        """Make the version after the one that the handle shows, unless another process has made it; False
        then.

        True says that this commit is in, by its doing, also where the reply to it was lost.
        """
        based_on = handle.version()
        try:
            handle.create_write_transaction(
                actions(commit),
                mode="append",
                schema=handle.schema(),
                partition_by=handle.metadata().partition_columns,
                commit_properties=CommitProperties(
                    custom_metadata={MARK: commit.mark()},
                    # Each attempt looks at the newest version first, so that it knows what it follows on.
                    max_commit_retries=0,
                    app_transactions=[Transaction(*commit.transaction)] if commit.transaction else None,
                ),
                post_commithook_properties=PostCommitHookProperties(create_checkpoint=False),
            )
            return True
        except (DeltaError, OSError):
            newest = DeltaTable(self.uri, storage_options=self.storage_options).version()
            if newest == based_on:
                raise
            marks = [info.get(MARK, {}) for info in self.infos(based_on, newest)]
            return any(mark.get("commit") == commit.identity for mark in marks)

    def widen(self, handle: DeltaTable, fields: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        """Add columns to the table, in a commit of its own."""
        handle.alter.add_columns([Field(field["name"], field["type"]) for field in fields])
        handle.update_incremental()
        return ()

    def infos(self, after: int, until: int) -> list[dict[str, Any]]:
        """What the commits after a version say of themselves."""
        handle = DeltaTable(self.uri, version=until, storage_options=self.storage_options)
        return handle.history(until - after) if until > after else []

    def write_checkpoint(self, handle: DeltaTable) -> None:
        handle.create_checkpoint()

    # The storage confirms what it keeps, and keeps its own checksums: there is nothing to flush or to
    # compare.

    def settle(self) -> None:
        pass

    def has_news(self, version: int) -> bool:
        return True

    def newest_copy(self) -> int:
        return -1

    def compare_all(self) -> None:
        pass

    def compare_new(self, until: int, known: int) -> None:
        pass

    def compare_until(self, version: int) -> None:
        pass

    def compare_entries(self, after: int, until: int) -> None:
        pass


def actions(commit: Commit) -> list[AddAction | RemoveAction]:
    now_ms = time.time_ns() // 10**6
    removed = [
        RemoveAction(file.path, commit.data_change, now_ms, file.size, file.partition_values)
        for file in commit.removed
    ]
    added = [
        AddAction(
            file.path, file.size, file.partition_values, file.modified_ms, commit.data_change, file.stats
        )
        for file in commit.added
    ]
    return [*removed, *added]
