"""The files of a snapshot as DuckDB sees them: it can read these and no others, and it can write none.

DuckDB's `allowed_paths` lets COPY overwrite a file that it lets queries read. So a connection that only reads
gets its files through a file system of ours, which has no way of writing, and none of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NoReturn

from fsspec import AbstractFileSystem

from pipeline.store.data_files import compare
from pipeline.store.sql_parser import PROTOCOL


def url(path: str) -> str:
    """The name under which DuckDB finds a local file."""
    return f"{PROTOCOL}://{path}"


def path_of(name: str) -> str:
    return name.removeprefix(f"{PROTOCOL}://")


class ReadOnlyFiles(AbstractFileSystem):
    """The local files of a snapshot, to be registered with a DuckDB connection. Raises PermissionError for
    all else, StoreError for a file whose content is not what was committed: a query compares the files
    that it opens."""

    protocol = PROTOCOL
    cachable = False  # each connection has files of its own

    def __init__(self, files: Iterable[str]):
        super().__init__()
        self._files = frozenset(files)

    def open(self, path: str, mode: str = "rb", **_: Any) -> ReadOnlyFile:
        if mode != "rb":
            raise PermissionError(f"{path_of(path)}: the store is open for reading only")
        local = self._allowed(path)
        compare([local])
        return ReadOnlyFile(local)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        local = self._allowed(path)
        return {"name": path, "size": os.stat(local).st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(os.stat(self._allowed(path)).st_mtime, UTC)

    def exists(self, path: str, **_: Any) -> bool:
        return path_of(path) in self._files and os.path.exists(path_of(path))

    def isfile(self, path: str) -> bool:
        return self.exists(path)

    def isdir(self, path: str) -> bool:
        return False

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """The path itself: a `*` or `[` in it is a letter of its name."""
        return [path] if path_of(path) in self._files else []

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        return [self.info(name) if detail else name for name in self.glob(path)]

    def _allowed(self, path: str) -> str:
        local = path_of(path)
        if local not in self._files:
            raise PermissionError(f"{local} is not a file of this snapshot of the store")
        return local

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise PermissionError("the store is open for reading only")

    mkdir = makedirs = rmdir = rm = rm_file = mv = cp_file = created = touch = pipe_file = _refuse


class ReadOnlyFile:
    """An open file that several threads of DuckDB read at once: each has its own place in it."""

    def __init__(self, path: str):
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._place = threading.local()
        self.closed = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self.tell() if whence == os.SEEK_CUR else 0,
            os.SEEK_END: os.fstat(self._descriptor).st_size,
        }[whence]
        self._place.offset = start + offset
        return self._place.offset

    def tell(self) -> int:
        return getattr(self._place, "offset", 0)

    def read(self, size: int = -1) -> bytes:
        offset = self.tell()
        length = os.fstat(self._descriptor).st_size - offset if size < 0 else size
        data = os.pread(self._descriptor, max(0, length), offset)
        self._place.offset = offset + len(data)
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)

    def __del__(self) -> None:
        if hasattr(self, "closed"):
            self.close()  # DuckDB drops its files without closing them
