"""Rows of CSV (RFC 4180) and TSV files with a header: one object per record, all values text, empty null."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from pipeline.adapters import Refused, SourceFile, source_policy
from pipeline.adapters.lines import JsonRow, end_with_refusal, open_stored
from pipeline.adapters.tables import json_bytes

# Suffix -> delimiter.
DELIMITERS = {".csv": ",", ".tsv": "\t"}


@end_with_refusal
def csv_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Every selected record; the line of a row is its number, the header not counted."""
    selected = file.select_lines() if file.select_lines else None
    file.rows_in_file = 0
    # A limit of the whole process; larger fields are refused with the rest of the file.
    csv.field_size_limit(source_policy.MAX_ROW_BYTES)
    with open_stored(file) as stored, io.TextIOWrapper(stored, "utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, delimiter=DELIMITERS[PurePosixPath(file.path).suffix])
        while True:
            try:
                record = next(reader, None)
            except (csv.Error, UnicodeDecodeError) as error:
                yield Refused(
                    file.rows_in_file + 1, b"", f"not CSV or TSV in UTF-8, rest of the file not read: {error}"
                )
                return
            if record is None:
                return
            file.rows_in_file += 1
            file.bytes_read = stored.tell()
            if selected is not None and file.rows_in_file not in selected:
                continue
            yield csv_row(file.rows_in_file, record)


def csv_row(number: int, record: dict[str | None, object]) -> JsonRow | Refused:
    if None in record:
        rest = record.pop(None)
        raw = json_bytes({str(key): value for key, value in record.items()})
        return Refused(number, raw, f"more fields than the header: {rest!s:.100}")
    value = {str(key): item or None for key, item in record.items()}
    return JsonRow(number, partial(json_bytes, value), value, sum(len(str(item)) for item in value.values()))
