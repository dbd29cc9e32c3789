"""A table's folder on a disk or on object storage: new data files go there, old ones are read and deleted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.store.data_files import DataFile, HashingSink, compare
from pipeline.store.errors import StoreError
from pipeline.store.files import make_folder
from pipeline.store.log_files import OWN_FOLDER

PARTIAL = ".partial"
# delta-rs names a file that it is still writing like the whole one, with `#` and a number.
STAGED_BY_OTHERS = "*.parquet#*"
# Whoever writes such a file may be on another machine, whose lock is not seen here.
LEFTOVER_HOURS = 1


class Place(Protocol):
    """Where the data files of one table are. Paths are relative to the table's folder, with `/`."""

    def put(self, folder: str, write: Callable[[HashingSink], None]) -> tuple[str, int, int]:
        """Make a file in a folder of the table, named after the hash of its content; its path, its size and
        when it was written, in ms.
        """

    def open(self, path: str) -> Any:
        """A file, as pyarrow takes it."""

    def compare(self, paths: Iterable[str]) -> None:
        """Raise StoreError for a file whose content is not what was committed, where nobody else watches
        over it.
        """

    def inspect(self, files: list[DataFile]) -> None:
        """The same for files that have another size than committed, or were written later; a look at their
        names is enough.
        """

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; one that is gone already is passed over."""

    def sweep(self, retention_hours: float) -> int:
        """Delete what writers that were killed have left half written; their number."""


class Disk:
    """A folder of a local file system."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.own = folder / OWN_FOLDER

    def put(self, folder: str, write: Callable[[HashingSink], None]) -> tuple[str, int, int]:
        make_folder(self.folder / folder)
        with self.partial() as (path, file):
            sink = HashingSink(file)
            write(sink)
            file.flush()
            name = f"{folder}/{sink.new_name()}" if folder else sink.new_name()
            modified_ms = modification_ms(os.fstat(file.fileno()))
            os.rename(path, self.folder / name)
        return name, sink.size, modified_ms

    @contextlib.contextmanager
    def partial(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file under a name that nobody reads, open for writing; gone at the end, if it was not
        renamed.
        """
        make_folder(self.own)
        while True:
            path = self.own / f"{uuid.uuid4().hex}{PARTIAL}"
            with open(path, "xb") as file:
                if not hold(file.fileno(), path):
                    continue
                try:
                    yield path, file
                finally:
                    path.unlink(missing_ok=True)
                return

    def open(self, path: str) -> str:
        return str(self.folder / path)

    def compare(self, paths: Iterable[str]) -> None:
        compare([str(self.folder / path) for path in paths])

    def inspect(self, files: list[DataFile]) -> None:
        later = []
        for file in files:
            try:
                now = os.stat(self.folder / file.path)
            except OSError as error:
                raise StoreError(f"{self.folder / file.path} is gone: {error.strerror}") from error
            if now.st_size != file.size:
                raise StoreError(
                    f"{self.folder / file.path} is damaged: it has {now.st_size} bytes,"
                    f" {file.size} were committed"
                )
            if modification_ms(now) > file.modified_ms:
                later.append(file.path)
        self.compare(later)

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self.folder / path).unlink(missing_ok=True)

    def sweep(self, retention_hours: float) -> int:
        oldest = time.time() - 3600 * max(retention_hours, LEFTOVER_HOURS)
        staged = [path for path in self.folder.rglob(STAGED_BY_OTHERS) if path.stat().st_mtime < oldest]
        for path in staged:
            path.unlink(missing_ok=True)
        return len(staged) + sum(map(delete_abandoned, self.own.glob(f"*{PARTIAL}")))


def modification_ms(status: os.stat_result) -> int:
    return status.st_mtime_ns // 10**6


def hold(descriptor: int, path: Path) -> bool:
    """Lock a new partial file or folder, so that a sweep sees that its writer lives; the kernel frees it
    however that ends. False if a sweep came first and has deleted it.
    """
    with contextlib.suppress(OSError):  # a file system without locks; nothing can be abandoned there
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def delete_abandoned(path: Path) -> bool:
    """Delete a partial file or folder whose writer has ended, whatever clocks say. True if it was deleted.

    It is deleted under its lock: a writer that has just made it waits for that, and sees that it is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
