"""Finds the adapter of a local source: the one whose first rows it can translate without a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.adapters import BUILT_IN, ReadItem, Refused, SourceError, SourceFile, find

TRIED_FILES = 3
TRIED_ITEMS = 20
# Adapters that read other tools' rows, too; they count only if no other one recognises a source.
GENERAL = ("samples",)


@dataclass(frozen=True)
class Recognition:
    """An adapter, and the share of the first rows that it can translate."""

    adapter: str
    share: float


def recognise(source: str) -> list[Recognition]:
    """The adapters that can translate some of the first rows of a local source, the best one first.

    Raises SourceError if the source is not local, or no adapter can.
    """
    if not Path(source).exists():
        raise SourceError(
            f"no file or folder {source}; a data set on the Hub needs an adapter: spo ingest ADAPTER {source}"
        )
    recognitions = [Recognition(name, share_of(name, source)) for name in BUILT_IN]
    recognitions = [one for one in recognitions if one.share > 0]
    recognitions.sort(key=lambda one: (one.adapter in GENERAL, -one.share))
    if not recognitions:
        raise SourceError(
            f"no adapter recognises {source}; name one (spo ingest --help), or name its columns:"
            f" spo ingest samples {source} --map completion=KEY"
        )
    return recognitions


def share_of(name: str, source: str) -> float:
    """The share of the first items of a source that an adapter does not refuse."""
    adapter = find(name)
    try:
        files = adapter.files(source, None)[:TRIED_FILES]
    except SourceError:
        return 0.0
    items = [item for file in files for item in islice(readable(adapter.read(file), file), TRIED_ITEMS)]
    good = sum(not isinstance(item, Refused) or item.is_own for item in items)
    return good / len(items) if items else 0.0


def readable(items: Iterator[ReadItem], file: SourceFile) -> Iterator[ReadItem]:
    """The items of a file; an error of the adapter ends them with a refusal, as in ingestion."""
    try:
        yield from items
    except Exception as error:
        yield Refused(0, b"", f"{file.name}: {error}")
