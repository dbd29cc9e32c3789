"""Finds the adapter of a local source: the one whose first rows it can translate without a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.adapters import BUILT_IN, ReadItem, Refused, SourceError, SourceFile, find
from pipeline.adapters.source_policy import fingerprints_kept

TRIED_FILES = 3
TRIED_ITEMS = 20
# Adapters that read other tools' rows, too; they count only if no other one recognises a source.
GENERAL = ("samples",)


@dataclass(frozen=True)
class Recognition:
    """An adapter, the share of the first rows that it can translate, and the paths of its files."""

    adapter: str
    share: float
    files: frozenset[str] = frozenset()


def recognise(source: str) -> list[Recognition]:
    """The adapters that can translate some of the first rows of a local source, the best one first; of equals
    the one that reads more files.

    Raises SourceError if the source is not local, or no adapter can.
    """
    if not Path(source).exists():
        raise SourceError(
            f"no file or folder {source}; a data set on the Hub needs an adapter: spo ingest ADAPTER {source}"
        )
    with fingerprints_kept():
        recognitions = [recognition_of(name, source) for name in BUILT_IN]
    recognitions = [one for one in recognitions if one.share > 0]
    recognitions.sort(key=lambda one: (one.adapter in GENERAL, -one.share, -len(one.files)))
    if not recognitions:
        raise SourceError(
            f"no adapter recognises {source}; name one (spo ingest --help), or name its columns:"
            f" spo ingest samples {source} --map completion=KEY"
        )
    return recognitions


def left_to(recognitions: list[Recognition]) -> dict[str, int]:
    """Other adapters than the first, with the number of files that they read and those before them do not."""
    read, left = set(recognitions[0].files), {}
    for one in recognitions[1:]:
        others = one.files - read
        if others and one.share == 1 and one.adapter not in GENERAL:
            left[one.adapter] = len(others)
            read |= others
    return left


def recognition_of(name: str, source: str) -> Recognition:
    """How many of the first items of a source an adapter does not refuse."""
    adapter = find(name)
    try:
        files = adapter.files(source, None)
    except SourceError:
        return Recognition(name, 0.0)
    tried = files[:TRIED_FILES]
    items = [item for file in tried for item in islice(readable(adapter.read(file), file), TRIED_ITEMS)]
    good = sum(not isinstance(item, Refused) or item.is_own for item in items)
    return Recognition(name, good / len(items) if items else 0.0, frozenset(file.path for file in files))


def readable(items: Iterator[ReadItem], file: SourceFile) -> Iterator[ReadItem]:
    """The items of a file; an error of the adapter ends them with a refusal, as in ingestion."""
    try:
        yield from items
    except Exception as error:
        yield Refused(0, b"", f"{file.name}: {error}")
