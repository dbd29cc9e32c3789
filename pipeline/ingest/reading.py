"""The items of one file of a source; whatever goes wrong with the file refuses that file and ends nothing
else.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from pipeline.adapters import Adapter, ReadItem, Refused, SourceFile
from pipeline.adapters.source_policy import SourceRefused, is_about_this_machine, printable

REASON_CHARACTERS = 300


class Reading:
    """Iterates over the items of a file.

    An exception of the adapter becomes a last item, a refusal of the file (line 0) that names the exception
    and keeps its traceback; then `failed` is set, and the batch is left open, so that a repaired adapter
    reads the file again. Failures of this machine, of a disk or a network, are raised: they are not facts
    about the file.
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
            if is_about_this_machine(error):
                raise
            self.failed = True
            where = f"after line {line}" if line else "at its beginning"
            said = printable(" ".join(str(error).split()))[:REASON_CHARACTERS]
            reason = (
                f"{type(error).__name__} in the adapter {self.adapter.name}: {where} of {self.file.name}: {said};"
                " what follows is not read: repair the adapter, and ingest the file again"
            )
            yield Refused(0, traceback.format_exc().encode(errors="backslashreplace"), reason)
