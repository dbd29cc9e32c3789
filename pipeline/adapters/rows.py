"""Rows of a data set in any format, and `RowAdapter`, the base class of adapters that translate row by row.

JSON lines (plain, gzip, zstd), JSON documents, Parquet and Arrow files, local or on the Hub, are streamed.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, local_file, refused_file
from pipeline.adapters.csv_rows import DELIMITERS, csv_rows
from pipeline.adapters.documents import document_row, document_rows
from pipeline.adapters.hub import hub_files
from pipeline.adapters.lines import BROKEN_STREAM, SUFFIXES, JsonRow, json_rows, open_stored, read_blocks
from pipeline.adapters.path_names import source_name
from pipeline.adapters.sample import PER_PROBLEM_AND_POLICY, SampleKey, bounded_sample
from pipeline.adapters.source_policy import (
    FOLDER_ADVICE,
    FOLDER_KIND,
    SourceRefused,
    allowed_roots,
    printable,
    refused,
)
from pipeline.adapters.source_tree import Entry, fault_kind, list_tree
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
    """Every selected row of a file, or a `Refused` for it."""
    if file.path.endswith(TABLES):
        return table_rows(file)
    if file.path.endswith(tuple(DELIMITERS)):
        return csv_rows(file)
    if file.path.endswith(DOCUMENTS) and not (document_depth == 1 and is_json_lines(file)):
        return document_rows(file, document_depth)
    return json_rows(file)


def is_json_lines(file: SourceFile) -> bool:
    """Whether a .json file has one object per line instead of one list, as in many data sets."""
    try:
        with open_stored(file) as stored:
            begins = (block.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] for block in read_blocks(file, stored))
            return next(filter(None, begins), b"") == b"{"
    except (*BROKEN_STREAM, SourceRefused):
        return False


def source_files(
    source: str, suffixes: tuple[str, ...], *, any_name: bool = False, from_hub: bool = True
) -> list[SourceFile]:
    """The files of a source, sorted by name; the source is a file, a folder, or a data set on the Hub.

    With `any_name`, a file that the user names directly may have any suffix. `skipped` of the first file
    counts what was skipped in the whole source. Raises SourceError.
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
        counts = "; ".join(f"{count:,} {kind}" for kind, count in skipped.most_common())
        skipped_text = f"; skipped: {counts}" if counts else ""
        raise SourceError(f"no {', '.join(suffixes)} in {printable(source)}{skipped_text}")
    files[0].skipped = skipped
    return files


def files_below(root: Path, suffixes: tuple[str, ...]) -> tuple[list[SourceFile], Counter[str]]:
    """The files below a folder with one of the suffixes, and counts of what was skipped, by kind."""
    tree = list_tree(root, allowed_roots(root))
    wanted = [entry for entry in tree.files if entry.name.endswith(suffixes)]
    # Some programs write a table as a folder of parts. A folder without parts just looks like a file.
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
    skipped = tree.skipped + Counter(fault_kind(entry.fault) for entry in others)
    chosen = sorted([*wanted, *empty], key=lambda entry: entry.name.split("/"))
    return [_source_file(entry, root) for entry in chosen], skipped


def _source_file(entry: Entry, root: Path) -> SourceFile:
    if entry.fault:
        return refused_file(
            entry.path, f"{printable(source_name(root))}/{entry.name}".rstrip("/"), entry.fault
        )
    return local_file(Path(entry.path), root)


def refused_row(row: JsonRow, error: Exception) -> Refused:
    """The refusal of a row that an adapter could not translate, with the key at fault or the exception."""
    if isinstance(error, KeyError):
        return Refused(row.line, row.raw, "key is missing", str(error.args[0]), row.size)
    what = (
        "not the documented shape"
        if isinstance(error, SHAPE_ERRORS)
        else f"{type(error).__name__} in the adapter"
    )
    return Refused(row.line, row.raw, f"{what}: {error}", size=row.size)


class RowAdapter:
    """Base class of adapters for independent rows. Set `name` and define `items`; define `sample_key` to
    support `--limit`.
    """

    name: str
    suffixes: tuple[str, ...] = (*SUFFIXES, *DOCUMENTS, *TABLES)
    document_depth: int = 1

    def items(self, row: JsonRow, file: SourceFile) -> Iterable[ReadItem]:
        """The items of a row. An exception refuses the whole row with that reason."""
        raise NotImplementedError

    def sample_key(self, row: JsonRow) -> SampleKey | None:
        """The key that decides whether a row is in a bounded sample; None: it is read, and refused."""
        raise NotImplementedError

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, self.suffixes)
        return files if limit is None else bounded_sample(files, limit, self._sample_key, self._rows)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        for row in self._rows(file):
            yield from [row] if isinstance(row, Refused) else self.translate(row, file)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """The items of a refused row, from its bytes in quarantine."""
        row = document_row(line, raw)
        return [row] if isinstance(row, Refused) else self.translate(row, file)

    def translate(self, row: JsonRow, file: SourceFile) -> list[ReadItem]:
        """The items of a row, or one `Refused`; never an empty list."""
        try:
            items = list(self.items(row, file))
        except Exception as error:
            return [refused_row(row, error)]
        return items or [
            Refused(row.line, row.raw, "contains neither a problem nor a solution", size=row.size)
        ]

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return rows(file, self.document_depth)

    def _sample_key(self, row: JsonRow) -> SampleKey | None:
        try:
            return self.sample_key(row)
        except Exception:
            return None  # it is read in any case, and refused with its reason


def solution_limit(file: SourceFile) -> int | None:
    """How many solutions of a problem are read: None (all), or few in a bounded sample."""
    return PER_PROBLEM_AND_POLICY if "limit" in file.options else None
