"""Entries of a table's log: what a commit says, as lines of the Delta protocol, with a digest of the whole
entry in its first line.

The digest covers the entry's own version and table, so that an entry that is empty, cut, changed, or belongs
elsewhere is found. Specification: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import xxhash

from pipeline.store.data_files import DataFile

ENGINE = "spo-store/1"
MARK = "spo"
NO_DIGEST = "0" * 32
DIGEST = re.compile(rb'"digest":"([0-9a-f]{32})"')


@dataclass(frozen=True)
class Commit:
    """What one commit does. `sweep`: files that are not committed yet at this moment are deleted after it."""

    operation: str
    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()
    # (producer, sequence) of an append.
    transaction: tuple[str, int] | None = None
    # Actions on the table itself, as the protocol has them: of its creation, or of a schema that became
    # wider.
    table_actions: tuple[dict[str, Any], ...] = ()
    # False: rows only changed their place.
    data_change: bool = True
    sweep: bool = False
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)

    def mark(self) -> dict[str, Any]:
        """What the entry says of itself, beside what the protocol asks for."""
        return {"commit": self.identity} | ({"sweep": True} if self.sweep else {})


def entry(commit: Commit, version: int, table: str) -> bytes:
    """The entry of a commit as that version of a table."""
    now = time.time_ns() // 10**6
    mark = commit.mark() | {"table": table, "version": version, "digest": NO_DIGEST}
    info = {"timestamp": now, "operation": commit.operation, "engineInfo": ENGINE, MARK: mark}
    lines: list[dict[str, Any]] = [{"commitInfo": info}, *commit.table_actions]
    lines += [remove_action(file, now, commit.data_change) for file in commit.removed]
    lines += [add_action(file, commit.data_change) for file in commit.added]
    if commit.transaction:
        producer, sequence = commit.transaction
        lines.append({"txn": {"appId": producer, "version": sequence, "lastUpdated": now}})
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
    return text.replace(NO_DIGEST.encode(), digest(text).encode(), 1)


def add_action(file: DataFile, data_change: bool) -> dict[str, Any]:
    return {
        "add": {
            "path": quote(file.path, safe="/=-_."),
            "partitionValues": file.partition_values,
            "size": file.size,
            "modificationTime": file.modified_ms,
            "dataChange": data_change,
            "stats": file.stats,
        }
    }


def remove_action(file: DataFile, now_ms: int, data_change: bool) -> dict[str, Any]:
    return {
        "remove": {
            "path": quote(file.path, safe="/=-_."),
            "dataChange": data_change,
            "deletionTimestamp": now_ms,
            "extendedFileMetadata": True,
            "partitionValues": file.partition_values,
            "size": file.size,
        }
    }


def digest(text: bytes) -> str:
    return xxhash.xxh3_128(text).hexdigest()


def fault(text: bytes, version: int, table: str | None = None) -> str | None:
    """What is wrong with an entry; None if it is whole, or if another program wrote it and each line can
    be read.
    """
    if not text:
        return "is empty"
    first = text.partition(b"\n")[0]
    match = DIGEST.search(first)
    # Each of the two is enough to see that this program wrote it, so that a changed byte in one of them hides
    # nothing.
    if match or b'"engineInfo":"spo-' in first:
        if not match:
            return "is damaged: it has no digest"
        plain = text[: match.start(1)] + NO_DIGEST.encode() + text[match.end(1) :]
        if digest(plain) != match[1].decode():
            return "is damaged: its digest is that of another content"
        mark = json.loads(first)["commitInfo"][MARK]
        if mark["version"] != version or table not in (None, mark["table"]):
            return f"belongs to version {mark['version']} of table {mark['table']}"
        return None
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return "is damaged: a line of it cannot be read"
    return None if all(isinstance(line, dict) for line in lines) else "is damaged: a line of it says nothing"


def table_of(text: bytes) -> str | None:
    """The id of the table that an entry says it belongs to, whole or not."""
    match = re.search(rb'"table":"([0-9a-f-]{36})"', text.partition(b"\n")[0])
    return match[1].decode() if match else None


def info_of(text: bytes) -> dict[str, Any]:
    """The commitInfo of an entry; empty if it has none."""
    return next(
        (line["commitInfo"] for line in map(json.loads, text.splitlines()) if "commitInfo" in line), {}
    )
