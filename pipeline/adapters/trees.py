"""Folders as sources: one that counts as a single file of a source, and programs in folders named after
verdicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceFile
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.source_policy import SourceRefused, fingerprint, open_regular
from pipeline.adapters.source_tree import Entry
from pipeline.store import content_id
from pipeline.text import VERDICT_NAMES, detect_language, suffix_language

MAX_PROGRAM_BYTES = 4 << 20
# A folder is named by the contents of its files up to these bounds, beyond them by the sizes.
MAX_NAMED_BYTES, MAX_NAMED_FILE_BYTES = 1 << 30, 192 << 20
# Names of folders in problem packages and elsewhere; what they claim, null: nothing.
VERDICT_FOLDERS = VERDICT_NAMES | {
    "run_time_error": "runtime_error",
    "partially_accepted": "partial",
    "brute_force": None,
    "mixed": None,
    "other": None,
}


def folder_file(
    folder: Path, name: str, entries: Iterable[Entry], places: tuple[str, ...], skipped: Counter[str]
) -> SourceFile:
    """A folder as one file of a source, named by the names and contents of the files below it."""
    listing: list[tuple[str, str]] = []
    named = total = 0
    for entry in entries:
        total += entry.size_bytes
        content = entry.fault or f"{entry.size_bytes} bytes"
        if not entry.fault and entry.size_bytes <= min(MAX_NAMED_FILE_BYTES, MAX_NAMED_BYTES - named):
            named += entry.size_bytes
            try:
                content, _ = fingerprint(entry.path, places, entry.name)
            except SourceRefused as refusal:
                content = str(refusal)
        listing.append((entry.name, content))
    return SourceFile(str(folder), name, content_id(listing), total, places=places, skipped=skipped)


def program_of(line: int, entry: Entry, places: tuple[str, ...]) -> bytes | Refused:
    """The bytes of a program below a folder, one more than is allowed at most; or the reason why they are
    not read.
    """
    if not entry.fault:
        try:
            with open_regular(entry.path, places, entry.name) as stored:
                return stored.read(MAX_PROGRAM_BYTES + 1)
        except SourceRefused as refusal:
            return Refused(line, kept(entry.name, b""), str(refusal), size=entry.size_bytes)
    return Refused(line, kept(entry.name, b""), entry.fault)


def kept(path: str, program: bytes) -> bytes:
    """What the quarantine keeps of a program: the path inside its folder, for which it has no column, and
    the text.
    """
    return path.encode(errors="backslashreplace") + b"\n" + program[:MAX_PROGRAM_BYTES]


def program_item(
    line: int,
    raw: bytes,
    path: str,
    problem_id: str,
    verdict: str | None,
    basis: str,
    problem_line: int | None = None,
) -> ReadItem:
    """A program that a person wrote, as the file at `path` of its source; refused where it is not source
    text.
    """
    suffix = PurePosixPath(path).suffix
    if suffix_language(suffix) is None:
        reason = f"{path}: no suffix of a language that is known"
        return Refused(line, kept(path, raw), reason, size=len(raw))
    if len(raw) > MAX_PROGRAM_BYTES:
        reason = f"{path}: more than {MAX_PROGRAM_BYTES} bytes; only its beginning is kept"
        return Refused(line, kept(path, raw), reason, size=len(raw))
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start} of {path}"
        return Refused(line, kept(path, raw), reason, size=len(raw))
    columns = human_solution(problem_id, path, text, language_of(suffix, text), verdict, basis)
    return ReadTrajectory(line, kept(path, raw), columns, len(raw), problem_line=problem_line)


def language_of(suffix: str, text: str) -> Any:
    """The language by the suffix; of .py by the text, for both Pythons bear it."""
    language = suffix_language(suffix)
    return "python2" if language == "python3" and detect_language(text) == "python2" else language
