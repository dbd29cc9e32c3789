"""A table's folder on a disk or on object storage: new data files go there, old ones are read and deleted."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from deltalake.fs import DeltaStorageHandler

from pipeline.store.data_files import DataFile, HashingSink, compare
from pipeline.store.errors import StoreError
from pipeline.store.files import make_folder
from pipeline.store.log_files import OWN_FOLDER

PARTIAL = ".partial"
# delta-rs names a file that it is still writing like the whole one, with `#` and a number.
STAGED_BY_OTHERS = "*.parquet#*"
# Whoever writes such a file may be on another machine, whose lock is not seen here.
LEFTOVER_HOURS = 1
# Clocks of a file server and of its clients differ.
CLOCK_STEP_S = 2


class Place(Protocol):
    """Where the data files of one table are. Paths are relative to the table's folder, with `/`."""

    def put(self, folder: str, write: Callable[[HashingSink], None]) -> tuple[str, int]:
        """Make a file in a folder of the table, named after the hash of its content; its path and size."""

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

    def put(self, folder: str, write: Callable[[HashingSink], None]) -> tuple[str, int]:
        make_folder(self.folder / folder)
        with self.partial() as (path, file):
            sink = HashingSink(file)
            write(sink)
            file.flush()
            name = f"{folder}/{sink.new_name()}" if folder else sink.new_name()
            os.rename(path, self.folder / name)
        return name, sink.size

    @contextlib.contextmanager
    def partial(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file under a name that nobody reads, open for writing; gone at the end, if it was not
        renamed.
        """
        make_folder(self.own)
        path = self.own / f"{uuid.uuid4().hex}{PARTIAL}"
        try:
            with open(path, "xb") as file:
                hold(file.fileno())
                yield path, file
        finally:
            path.unlink(missing_ok=True)

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
                    f"{self.folder / file.path} is damaged: it has {now.st_size} bytes, {file.size} were committed"
                )
            if now.st_mtime > file.modified_ms / 1000 + CLOCK_STEP_S:
                later.append(file.path)
        self.compare(later)

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self.folder / path).unlink(missing_ok=True)

    def sweep(self, retention_hours: float) -> int:
        oldest = time.time() - 3600 * max(retention_hours, LEFTOVER_HOURS)
        left = [path for path in self.folder.rglob(STAGED_BY_OTHERS) if path.stat().st_mtime < oldest]
        left += [path for path in self.own.glob(f"*{PARTIAL}") if is_abandoned(path)]
        for path in left:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return len(left)


def hold(descriptor: int) -> None:
    """Lock a partial file or folder, so that `sweep` sees that its writer lives; the kernel frees it
    however that ends.
    """
    with contextlib.suppress(OSError):  # a file system without locks; nothing can be abandoned there
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_abandoned(path: Path) -> bool:
    """Whether the writer of a partial file or folder has ended, whatever clocks say."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


class _Objects(DeltaStorageHandler):
    """delta-rs's objects below a prefix."""

    def put(self, path: str, content: bytes) -> None:
        # Its `open_output_stream` is for pyarrow, which from version 25 hands it buffers that it does not
        # take.
        stream = self._handler.open_output_stream(path, None)
        stream.write(content)
        stream.close()  # type: ignore[attr-defined]


class Bucket:
    """A prefix of object storage. What it has confirmed is on its disks, so there is nothing to flush."""

    def __init__(self, uri: str, storage_options: dict[str, str] | None):
        self._objects = _Objects(uri, storage_options)

    def put(self, folder: str, write: Callable[[HashingSink], None]) -> tuple[str, int]:
        # The name needs the hash of the whole, and renaming there is copying.
        content = io.BytesIO()
        sink = HashingSink(content)
        write(sink)
        name = f"{folder}/{sink.new_name()}" if folder else sink.new_name()
        self._objects.put(name, content.getvalue())
        return name, sink.size

    def open(self, path: str) -> Any:
        return self._objects.open_input_file(path)

    def compare(self, paths: Iterable[str]) -> None:
        pass

    def inspect(self, files: list[DataFile]) -> None:
        pass

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self._objects.delete_file(path)

    def sweep(self, retention_hours: float) -> int:
        return 0
