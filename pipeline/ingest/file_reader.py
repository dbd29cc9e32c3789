"""Reads the items of one file of a source. If the file cannot be read, only this file is refused."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from pipeline.adapters import Adapter, ReadItem, Refused, SourceFile
from pipeline.adapters.source_policy import SourceRefused, is_machine_error, printable

REASON_CHARACTERS = 300


class FileReader:
    """Iterates over the items of a file.

    If the adapter raises an exception, the last item is a refusal of the file (line 0) with the exception's
    name and traceback. `failed` is then set and the batch stays open, so a fixed adapter reads the file
    again. Failures of this machine, such as disk or network errors, are raised: they say nothing about the
    file.
    """

    def __init__(self, adapter: Adapter, file: SourceFile):
        self.adapter, self.file = adapter, file
        self.failed = False

    def __iter__(self) -> Iterator[ReadItem]:
        line = 0
        try:
            for item in self.adapter.read(self.file):
                line = item.line
                yield item
        except SourceRefused as refusal:
            yield Refused(0, b"", str(refusal))
        except Exception as error:
            if is_machine_error(error):
                raise
            self.failed = True
            where = f"after line {line}" if line else "at the beginning"
            message = printable(" ".join(str(error).split()))[:REASON_CHARACTERS]
            reason = (
                f"{type(error).__name__} in adapter {self.adapter.name}: {where} of {self.file.name}:"
                f" {message}; the rest is not read: fix the adapter, and ingest the file again"
            )
            yield Refused(0, traceback.format_exc().encode(errors="backslashreplace"), reason)
