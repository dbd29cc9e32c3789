"""Data files of a table: named after the hash of their content, and compared with it before they are read.

The name is in the log entry that commits the file, so the hash is kept with the commit, through checkpoints
and compactions, and a file with another content than the one committed under its name is found: changed
bytes, a cut, an exchanged file.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

import xxhash
from deltalake import DeltaTable

from pipeline.later import later
from pipeline.store.errors import StoreError

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

NAME = re.compile(r"part-[0-9a-f]{32}-(?P<hash>[0-9a-f]{32})\.zstd\.parquet")
BLOCK_BYTES = 2**20
# Below this, threads cost more than they give.
THREADS_FROM_BYTES = 16 * 2**20

# Files that this process has compared, and how they were then: device, inode, size, times of the content and
# of the inode.
Seen = tuple[int, int, int, int, int]
_compared: dict[str, Seen] = {}


@dataclass(frozen=True)
class DataFile:
    """A data file as the log has it. `path` is relative to the table's folder, with `/`, and not
    percent-encoded; `stats` is the JSON of the Delta protocol."""

    path: str
    size: int
    partition_values: dict[str, str | None]
    modified_ms: int
    stats: str


def live_files(handle: DeltaTable) -> list[DataFile]:
    """The files of the version that a handle shows."""
    rows = pl.DataFrame(handle.get_add_actions(flatten=True))
    partitions = {
        name: name.removeprefix("partition.") for name in rows.columns if name.startswith("partition.")
    }
    return [
        DataFile(
            unquote(row["path"]),
            row["size_bytes"],
            {name: row[column] for column, name in partitions.items()},
            row["modification_time"],
            json.dumps({"numRecords": row["num_records"]}),
        )
        for row in rows.select(
            "path", "size_bytes", pl.col("modification_time").cast(pl.Int64), "num_records", *partitions
        ).iter_rows(named=True)
    ]


class HashingSink:
    """Binary file for writing that hashes and counts what goes through it."""

    def __init__(self, file: BinaryIO):
        self.file, self.size, self.closed = file, 0, False
        self._hash = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        count = self.file.write(data)
        self.size += count
        return count

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def new_name(self) -> str:
        """A name that no other file has, with the hash of what was written so far."""
        return f"part-{uuid.uuid4().hex}-{self._hash.hexdigest()}.zstd.parquet"


def committed_hash(path: str | Path) -> str | None:
    """The hash in a data file's name; None for files of other programs and of older versions of this one."""
    match = NAME.fullmatch(os.path.basename(path))
    return match["hash"] if match else None


def content_hash(path: str | Path) -> str:
    """xxh3, 128 bits, of a local file's bytes."""
    with open(path, "rb", buffering=0) as file:
        return hash_of(file)


def hash_of(file: Any) -> str:
    """The same of an open file, from where it is to its end."""
    digest = xxhash.xxh3_128()
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def compare(paths: Iterable[str]) -> None:
    """Compare local files with the hashes in their names, each once while it is unchanged in this process.

    Files without a hash in their name are passed over. Raises StoreError, which names the first file that
    differs or is gone.
    """
    due = [(path, seen) for path in paths if (seen := _seen(path)) != _compared.get(path)]
    due = [(path, seen) for path, seen in due if committed_hash(path)]
    for (path, seen), actual in zip(due, _hashes(due), strict=True):
        if actual != committed_hash(path):
            raise StoreError(
                f"{path} is damaged or gone: its content is not what was committed (spo store check)"
            )
        _compared[path] = seen


def _seen(path: str) -> Seen:
    try:
        now = os.stat(path)
    except OSError as error:
        raise StoreError(
            f"{path} is damaged or gone (lost, or deleted by maintenance): {error.strerror}"
        ) from error
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def _hashes(due: list[tuple[str, Seen]]) -> list[str]:
    paths = [path for path, _ in due]
    if sum(seen[2] for _, seen in due) < THREADS_FROM_BYTES:
        return list(map(content_hash, paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(content_hash, paths))
