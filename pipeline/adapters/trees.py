"""Folders as sources: a folder that counts as one file, and programs in folders named after verdicts."""

from __future__ import annotations

import re
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
from sandbox.languages import require_language

MAX_PROGRAM_BYTES = 4 << 20
SHEBANG = re.compile(r"#![^\n]*python([23])")
# The hash of a folder uses the contents of its files up to these limits, and beyond them only sizes.
MAX_NAMED_BYTES, MAX_NAMED_FILE_BYTES = 1 << 30, 192 << 20
# Folder names in problem packages and elsewhere, and the verdict that they claim; None: no claim.
VERDICT_FOLDERS = VERDICT_NAMES | {
    "run_time_error": "runtime_error",
    "partially_accepted": "partial",
    "brute_force": None,
    "mixed": None,
    "other": None,
}


def folder_file(
    folder: Path, name: str, entries: Iterable[Entry], roots: tuple[str, ...], skipped: Counter[str]
) -> SourceFile:
    """A folder as one file of a source; its hash covers the names and contents of the files below it."""
    listing: list[tuple[str, str]] = []
    named = total = 0
    for entry in entries:
        total += entry.size_bytes
        content = entry.fault or f"{entry.size_bytes} bytes"
        if not entry.fault and entry.size_bytes <= min(MAX_NAMED_FILE_BYTES, MAX_NAMED_BYTES - named):
            named += entry.size_bytes
            try:
                content, _ = fingerprint(entry.path, roots, entry.name)
            except SourceRefused as refusal:
                content = str(refusal)
        listing.append((entry.name, content))
    return SourceFile(str(folder), name, content_id(listing), total, roots=roots, skipped=skipped)


def read_program(line: int, entry: Entry, roots: tuple[str, ...]) -> bytes | Refused:
    """The bytes of a program, at most MAX_PROGRAM_BYTES + 1; or the refusal if it cannot be read."""
    if not entry.fault:
        try:
            with open_regular(entry.path, roots, entry.name) as stored:
                return stored.read(MAX_PROGRAM_BYTES + 1)
        except SourceRefused as refusal:
            return Refused(line, quarantine_bytes(entry.name, b""), str(refusal), size=entry.size_bytes)
    return Refused(line, quarantine_bytes(entry.name, b""), entry.fault)


def quarantine_bytes(path: str, program: bytes) -> bytes:
    """The bytes for the quarantine: the path below the folder, for which there is no column, and the
    program.
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
    language: str | None = None,
) -> ReadItem:
    """A human program in the file at `path`, of a language of the table or, without one, of its suffix;
    refused if it is not source text of a known language.
    """
    suffix = PurePosixPath(path).suffix
    if language is None and suffix_language(suffix) is None:
        reason = f"{path}: its suffix belongs to no known language"
        return Refused(line, quarantine_bytes(path, raw), reason, size=len(raw))
    if len(raw) > MAX_PROGRAM_BYTES:
        reason = f"{path}: more than {MAX_PROGRAM_BYTES} bytes; only its beginning is kept"
        return Refused(line, quarantine_bytes(path, raw), reason, size=len(raw))
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start} of {path}"
        return Refused(line, quarantine_bytes(path, raw), reason, size=len(raw))
    named = require_language(language).stored_name if language else program_language(suffix, text)
    columns = human_solution(problem_id, path, text, named, verdict, basis)
    return ReadTrajectory(line, quarantine_bytes(path, raw), columns, len(raw), problem_line=problem_line)


def program_language(suffix: str, text: str) -> Any:
    """The language of the suffix; for .py the text decides between Python 2 and 3, first of all its first
    line (`#!/usr/bin/env python2`).
    """
    language = suffix_language(suffix)
    if language == "python3" and (match := SHEBANG.match(text)):
        return f"python{match[1]}"
    return "python2" if language == "python3" and detect_language(text) == "python2" else language
