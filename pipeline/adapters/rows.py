"""Rows out of whatever a data set is stored in, and the base class of adapters that translate row by row.

JSON lines (plain, gzip, zstd), JSON documents, Parquet and Arrow files, here or on the Hub, are all streamed.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, local_file, refused_file
from pipeline.adapters.documents import document_row, document_rows
from pipeline.adapters.hub import hub_files
from pipeline.adapters.lines import BROKEN_STREAM, SUFFIXES, JsonRow, blocks, json_rows, opened
from pipeline.adapters.sample import PER_PROBLEM_AND_POLICY, Place, bounded
from pipeline.adapters.source_policy import (
    FOLDER_ADVICE,
    FOLDER_KIND,
    SourceRefused,
    places_of,
    printable,
    refused,
)
from pipeline.adapters.source_tree import Entry, kind_of_fault, list_tree
from pipeline.adapters.tables import TABLES, table_rows

DOCUMENTS = (".json", ".json.gz", ".json.zst")
SHAPE_ERRORS = (
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
    SyntaxError,
    EOFError,
    zlib.error,
    struct.error,
)


def rows(file: SourceFile, document_depth: int = 1) -> Iterator[JsonRow | Refused]:
    """Every chosen row of a file, or a refusal in its place."""
    if file.path.endswith(TABLES):
        return table_rows(file)
    if file.path.endswith(DOCUMENTS) and not (document_depth == 1 and holds_lines(file)):
        return document_rows(file, document_depth)
    return json_rows(file)


def holds_lines(file: SourceFile) -> bool:
    """Whether a .json file holds an object a line instead of one list, as many data sets have it."""
    try:
        with opened(file) as stored:
            begins = (block.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] for block in blocks(file, stored))
            return next(filter(None, begins), b"") == b"{"
    except (*BROKEN_STREAM, SourceRefused):
        return False


def source_files(
    source: str, suffixes: tuple[str, ...], *, any_name: bool = False, from_hub: bool = True
) -> list[SourceFile]:
    """The files of a source in the order of their names: a file, a folder, or a data set on the Hub. Raises
    SourceError.

    A file that the user names himself may have any name with `any_name`. The first file says what was passed
    over beside all.
    """
    root = Path(source)
    skipped: Counter[str] = Counter()
    if os.path.isdir(root):
        files, skipped = files_below(root, suffixes)
    elif os.path.lexists(root):
        files = [local_file(root, root)] if any_name or root.name.endswith(suffixes) else []
    elif from_hub:
        files = hub_files(source, suffixes)
    else:
        raise SourceError(f"no file or folder {source}")
    if not files:
        passed_over = "; ".join(f"{count:,} {kind}" for kind, count in skipped.most_common())
        said = f"; passed over: {passed_over}" if passed_over else ""
        raise SourceError(f"no {', '.join(suffixes)} in {printable(source)}{said}")
    files[0].skipped = skipped
    return files


def files_below(root: Path, suffixes: tuple[str, ...]) -> tuple[list[SourceFile], Counter[str]]:
    """The files below a folder with one of the suffixes, read or not, and how many other things were
    passed over, by kind.
    """
    tree = list_tree(root, places_of(root))
    wanted = [entry for entry in tree.files if entry.name.endswith(suffixes)]
    # Some programs write a table as a folder of parts; a folder without any part only has the name of a file.
    used = {str(folder) for entry in wanted for folder in PurePosixPath(entry.name).parents}
    empty = [
        Entry(name, str(root / name), fault=str(refused(FOLDER_KIND, name, FOLDER_ADVICE)))
        for name in tree.folders
        if name.endswith(suffixes) and name not in used
    ]
    if tree.overflow:
        empty.append(
            Entry(
                "", str(root), fault=f"{tree.overflow}: {printable(str(root))}; ingest its folders one by one"
            )
        )
    others = (entry for entry in tree.files if entry.fault and not entry.name.endswith(suffixes))
    skipped = tree.skipped + Counter(kind_of_fault(entry.fault) for entry in others)
    chosen = sorted([*wanted, *empty], key=lambda entry: entry.name.split("/"))
    return [_described(entry, root) for entry in chosen], skipped


def _described(entry: Entry, root: Path) -> SourceFile:
    if entry.fault:
        return refused_file(
            entry.path, f"{printable(root.resolve().name)}/{entry.name}".rstrip("/"), entry.fault
        )
    return local_file(Path(entry.path), root)


def refused_row(row: JsonRow, error: Exception) -> Refused:
    """A row that an adapter could not translate, with the key at fault; an error of the adapter itself
    goes by its name.
    """
    if isinstance(error, KeyError):
        return Refused(row.line, row.raw, "key is missing", str(error.args[0]), row.size)
    what = (
        "not the documented shape"
        if isinstance(error, SHAPE_ERRORS)
        else f"{type(error).__name__} in the adapter"
    )
    return Refused(row.line, row.raw, f"{what}: {error}", size=row.size)


class RowAdapter:
    """An adapter whose rows each stand for themselves. A user's own sets `name` and gives `items`, and
    `place` for samples.
    """

    name: str
    suffixes: tuple[str, ...] = (*SUFFIXES, *DOCUMENTS, *TABLES)
    document_depth: int = 1

    def items(self, row: JsonRow, file: SourceFile) -> Iterable[ReadItem]:
        """What a row holds. An exception refuses the row, whole, with that reason."""
        raise NotImplementedError

    def place(self, row: JsonRow) -> Place | None:
        """What decides whether a row belongs to a bounded sample; None: it is read anyway, and refused."""
        raise NotImplementedError

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, self.suffixes)
        return files if limit is None else bounded(files, limit, self._place, self._rows)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        for row in self._rows(file):
            yield from [row] if isinstance(row, Refused) else self.translated(row, file)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """The items of a row that was refused, from the bytes that the quarantine keeps."""
        row = document_row(line, raw)
        return [row] if isinstance(row, Refused) else self.translated(row, file)

    def translated(self, row: JsonRow, file: SourceFile) -> list[ReadItem]:
        """The items of a row, or the row as refused; never nothing."""
        try:
            found = list(self.items(row, file))
        except Exception as error:
            return [refused_row(row, error)]
        return found or [Refused(row.line, row.raw, "holds neither a problem nor a solution", size=row.size)]

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return rows(file, self.document_depth)

    def _place(self, row: JsonRow) -> Place | None:
        try:
            return self.place(row)
        except Exception:
            return None  # it is read whatever the sample, and refused for its reason


def at_most(file: SourceFile) -> int | None:
    """How many solutions of a problem are read: all, or few in a bounded sample."""
    return PER_PROBLEM_AND_POLICY if "limit" in file.options else None
