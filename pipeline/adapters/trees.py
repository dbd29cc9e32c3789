"""Folders as sources: one that counts as a single file of a source, and programs lying in folders named after verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceFile, sha256_of
from pipeline.adapters.io_tests import human_solution
from pipeline.store import content_id
from pipeline.text import VERDICT_NAMES, detect_language, suffix_language

MAX_PROGRAM_BYTES = 4 << 20
# Names of folders in problem packages and elsewhere; what they claim, null: nothing.
VERDICT_FOLDERS = VERDICT_NAMES | {
    "run_time_error": "runtime_error",
    "partially_accepted": "partial",
    "brute_force": None,
    "mixed": None,
    "other": None,
}


def files_below(folder: Path) -> list[Path]:
    """Regular files of a folder, hidden ones aside, sorted by their path below it. Links are not followed."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])
    )


def folder_file(folder: Path, root: Path) -> SourceFile:
    """A folder as one file of the source `root`, named by the names and contents of all files below it."""
    paths = files_below(folder)
    listing = [(path.relative_to(folder).as_posix(), sha256_of(path)) for path in paths]
    name = (Path(root.resolve().name) / folder.resolve().relative_to(root.resolve())).as_posix()
    return SourceFile(str(folder), name, content_id(listing), sum(path.stat().st_size for path in paths))


def program_item(
    line: int, raw: bytes, path: str, problem_id: str, verdict: str | None, basis: str
) -> ReadItem:
    """A program that a person wrote, as the file at `path` of its source; refused where it is no source text."""
    # The quarantine has no column for the path of a file inside a folder.
    kept = path.encode(errors="backslashreplace") + b"\n" + raw[:MAX_PROGRAM_BYTES]
    suffix = Path(path).suffix
    if suffix_language(suffix) is None:
        return Refused(line, kept, f"{path}: no suffix of a language that is known", size=len(raw))
    if len(raw) > MAX_PROGRAM_BYTES:
        reason = f"{path}: {len(raw)} bytes; at most {MAX_PROGRAM_BYTES}; only its beginning is kept"
        return Refused(line, kept, reason, size=len(raw))
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        return Refused(
            line, kept, f"not UTF-8: {error.reason} at byte {error.start} of {path}", size=len(raw)
        )
    columns = human_solution(problem_id, path, text, language_of(suffix, text), verdict, basis)
    return ReadTrajectory(line, kept, columns, len(raw))


def language_of(suffix: str, text: str) -> Any:
    """The language by the suffix; of .py by the text, for both Pythons bear it."""
    language = suffix_language(suffix)
    return "python2" if language == "python3" and detect_language(text) == "python2" else language
