"""A table's folder on object storage: new data files go there, old ones are read and deleted."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable
from typing import Any

from deltalake.fs import DeltaStorageHandler

from pipeline.store.data_files import DataFile, HashingSink


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

    def put(self, folder: str, write: Callable[[HashingSink], None]) -> tuple[str, int, int]:
        # The name needs the hash of the whole, and renaming there is copying.
        content = io.BytesIO()
        sink = HashingSink(content)
        write(sink)
        name = f"{folder}/{sink.new_name()}" if folder else sink.new_name()
        self._objects.put(name, content.getvalue())
        return name, sink.size, time.time_ns() // 10**6

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
