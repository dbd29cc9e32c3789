"""The submissions of a Kattis package: a file, or a folder of files, below submissions/<verdict>/.

The files of a folder are one program. Where it has a script `build` or `run`, that script makes the program
(language `script`). Otherwise its sources must be of one language, and the one it begins in is the entry
point of submissions.yaml, or the only one that can be. The other files are kept in `trajectories.files`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.adapters import ReadItem, ReadTrajectory, Refused
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.kattis_claims import SUBMISSIONS_FILE, Expectations
from pipeline.adapters.kattis_constants import Constants, bytes_with_constants
from pipeline.adapters.source_policy import is_plain_name
from pipeline.adapters.source_tree import Entry
from pipeline.adapters.trees import MAX_PROGRAM_BYTES, program_item, quarantine_bytes, read_program
from pipeline.text import suffix_language
from sandbox.languages import require_language

SCRIPTS = ("build", "run")
# Where programs begin, by language, and the names that say so.
ENTRIES = {
    "c": re.compile(r"\bmain\s*\("),
    "cpp": re.compile(r"\bmain\s*\("),
    "java": re.compile(r"\bstatic\s+(?:\w+\s+)*void\s+main\b"),
    "kotlin": re.compile(r"\bfun\s+main\b"),
    "go": re.compile(r"\bfunc\s+main\s*\("),
    "rust": re.compile(r"\bfn\s+main\s*\("),
    "python3": re.compile(r"__name__\s*==\s*['\"]__main__"),
    "csharp": re.compile(r"\bstatic\s+(?:[\w<>\[\]]+\s+)*Main\s*\("),
    "d": re.compile(r"\bmain\s*\("),
    "haskell": re.compile(r"^main\b", re.MULTILINE),
    "pascal": re.compile(r"^\s*program\s+\w", re.MULTILINE | re.IGNORECASE),
}
# Of these languages, it is also the only one that no other imports.
IMPORTS = {
    "python3": r"^\s*(?:from\s+\.?{0}\b|import\s+(?:[\w., ]*,\s*)?{0}\b)",
    "javascript": r"\b(?:from|import|require)\s*\(?\s*['\"]\./{0}(?:\.[cm]?js)?['\"]",
    "typescript": r"\b(?:from|import|require)\s*\(?\s*['\"]\./{0}(?:\.[cm]?[jt]s)?['\"]",
    "ruby": r"^\s*require_relative\s*\(?\s*['\"](?:\./)?{0}(?:\.rb)?['\"]",
}
ENTRY_NAMES = ("main", "__main__")
SEVERAL_PARTS = "its files are read from the folder of its package: ingest it again"


@dataclass(frozen=True)
class Part:
    """One submission: its path below submissions/, and its files."""

    name: str
    entries: tuple[Entry, ...]
    is_folder: bool


def parts_of(entries: Iterable[Entry]) -> list[Part]:
    """The submissions among the files below submissions/, in the order of their names."""
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        path = entry.name.removeprefix("submissions/").split("/")
        grouped.setdefault("/".join(path[:2]), []).append(entry)
    return [
        Part(name, tuple(held), is_folder=held[0].name.removeprefix("submissions/") != name)
        for name, held in grouped.items()
        # Hidden files, such as .gitkeep, are not submissions.
        if f"submissions/{name}" != SUBMISSIONS_FILE and not name.rpartition("/")[2].startswith(".")
    ]


def submission_item(
    line: int,
    part: Part,
    roots: tuple[str, ...],
    problem_id: str,
    expected: Expectations,
    wants_answers: bool = False,
    constants: Constants | None = None,
) -> tuple[ReadItem, int]:
    """A submission, with the values of the package's constants, and the bytes read for it."""
    raw: dict[str, bytes] = {}
    for entry in part.entries:
        content = read_program(line, entry, roots)
        if isinstance(content, Refused):
            return content, entry.size_bytes
        name = entry.name.removeprefix(f"submissions/{part.name}").lstrip("/") or part.name
        raw[name] = bytes_with_constants(content, constants or {})
    size = sum(map(len, raw.values()))
    if wants_answers:
        return answer_item(line, part, raw, problem_id, expected), size
    if part.is_folder:
        return folder_item(line, part.name, raw, problem_id, expected), size
    return file_item(line, raw[part.name], part.name, problem_id, expected), size


def file_item(line: int, raw: bytes, name: str, problem_id: str, expected: Expectations) -> ReadItem:
    """The submission in a single file."""
    if name.count("/") != 1:
        where = "is not in the folder of a verdict" if "/" not in name else SEVERAL_PARTS
        return Refused(line, quarantine_bytes(name, raw), f"{name}: {where}")
    claim = expected.claim(name, raw)
    item = program_item(
        line, raw, name, problem_id, None, "", problem_line=1, language=expected.language(name)
    )
    if isinstance(item, ReadTrajectory):
        item.row |= claim
    return item


def answer_item(
    line: int, part: Part, raw: dict[str, bytes], problem_id: str, expected: Expectations
) -> ReadItem:
    """An answer in place of a program; refused if it is one."""
    everything = b"\n".join(raw.values())
    stored = quarantine_bytes(part.name, everything)
    if part.is_folder or suffix_language(PurePosixPath(part.name).suffix):
        reason = f"{part.name}: is a program, but the problem asks for answers"
        return Refused(line, stored, reason, size=len(everything))
    try:
        text = texts({"answer": everything})["answer"]
    except (KeyError, ValueError):
        return Refused(line, stored, f"{part.name}: is not an answer in UTF-8", size=len(everything))
    columns = human_solution(problem_id, part.name, text, "answer", None, "")
    columns |= expected.claim(part.name, everything)
    return ReadTrajectory(line, stored, columns, len(everything), problem_line=1)


def folder_item(
    line: int, name: str, raw: dict[str, bytes], problem_id: str, expected: Expectations
) -> ReadItem:
    """The submission in a folder; refused if it is not one program."""
    everything = b"\n".join(raw.values())
    stored = quarantine_bytes(name, everything[:MAX_PROGRAM_BYTES])
    try:
        main, language, files = one_program(
            name, texts(raw), expected.entry_point(name), expected.language(name)
        )
    except ValueError as error:
        return Refused(line, stored, f"{name}: {error}", size=len(everything))
    columns = human_solution(problem_id, name, main, language, None, "") | expected.claim(name, everything)
    columns["files"] = json.dumps(sorted(files.items()), ensure_ascii=False) if files else None
    return ReadTrajectory(line, stored, columns, len(everything), problem_line=1)


def texts(raw: dict[str, bytes]) -> dict[str, str]:
    """The texts among the files of a submission. Raises ValueError if they are too large."""
    files = {}
    for path, content in raw.items():
        parts = path.split("/")
        if any(part.startswith(".") for part in parts) or not all(map(is_plain_name, parts)):
            continue
        try:
            files[path] = content.removeprefix(b"\xef\xbb\xbf").decode()
        except UnicodeDecodeError:
            continue
    if sum(map(len, files.values())) > MAX_PROGRAM_BYTES:
        raise ValueError(f"more than {MAX_PROGRAM_BYTES} characters in its files")
    return files


def one_program(
    name: str, files: dict[str, str], entry_point: str | None, stated: str | None = None
) -> tuple[str, str, dict[str, str]]:
    """(text, language, other files) of a submission of several files, of which `stated` says the language.
    Raises ValueError.
    """
    if any(script in files for script in SCRIPTS):
        return "".join(f"==> {path} <==\n{text}\n" for path, text in sorted(files.items())), "script", files
    sources = {path: suffix_language(PurePosixPath(path).suffix) for path in files}
    if stated is not None:
        language = require_language(stated).stored_name
        sources = {path: other if other == language else None for path, other in sources.items()}
    languages = {language for language in sources.values() if language}
    if len(languages) != 1:
        raise ValueError(f"has sources of {len(languages)} languages; one is required")
    (language,) = languages
    own = [path for path, one in sources.items() if one]
    if entry_point is None:
        mains = list(candidates(files, own, language))
    else:
        mains = [path for path in own if entry_point in (path, PurePosixPath(path).stem)]
    if len(mains) != 1:
        raise ValueError(
            f"cannot tell in which of {len(files)} files it begins; name it in {SUBMISSIONS_FILE}"
        )
    others = {path: text for path, text in files.items() if path != mains[0]}
    is_single = sum(is_main is not None for is_main in sources.values()) == 1
    return files[mains[0]], str(language), {} if is_single else others


def candidates(files: dict[str, str], sources: list[str], language: object) -> Iterator[str]:
    """The sources that a program may begin in."""
    if len(sources) == 1:
        return iter(sources)
    named = [path for path in sources if PurePosixPath(path).stem.lower() in ENTRY_NAMES]
    if len(named) == 1:
        return iter(named)
    entry = ENTRIES.get(str(language))
    mains = [path for path in sources if entry is not None and entry.search(files[path])]
    if language in IMPORTS and not mains:
        imported = {path for path in sources if is_imported(path, files, IMPORTS[str(language)])}
        mains = [path for path in sources if path not in imported]
    return iter(mains)


def is_imported(path: str, files: dict[str, str], imports: str) -> bool:
    """Whether another file imports this one."""
    pattern = re.compile(imports.format(re.escape(PurePosixPath(path).stem)), re.MULTILINE)
    return any(pattern.search(text) for other, text in files.items() if other != path)
