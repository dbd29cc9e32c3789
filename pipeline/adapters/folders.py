"""Human solutions in folders: ROOT/<source>/<id>/[<verdict>/]<file>.

The path between ROOT and the file names the problem as the store does; a last folder that is called like a verdict (accepted, WA,
wrong_answer, time_limit_exceeded, ..., see `names.py`) is the claim. With one folder between, ROOT's own name is the source.
The suffix says the language; what has no suffix of a language is refused. The whole of ROOT is one batch: add files, and
ingesting it again reads everything and adds what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, register
from pipeline.adapters.sample import PER_PROBLEM_AND_POLICY, take_problems
from pipeline.adapters.trees import (
    MAX_PROGRAM_BYTES,
    VERDICT_FOLDERS,
    files_below,
    folder_file,
    program_item,
)

BASIS = "folder `{}`"


class Folders:
    name = "folders"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        if not root.is_dir():
            raise SourceError(f"no folder {source}")
        file = folder_file(root, root)
        return [replace(file, options={"limit": limit})] if limit is not None else [file]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        root = Path(file.path)
        paths = files_below(root)
        names = [path.relative_to(root).as_posix() for path in paths]
        limit = file.options.get("limit")
        problems = [problem_and_verdict(file.name, name)[0] or "" for name in names]
        named = ((problem.partition("/")[0], problem) for problem in problems if problem)
        taken = None if limit is None else take_problems(named, limit)
        read = dict.fromkeys(problems, 0)
        file.rows_in_file = len(paths)
        for line, (path, name, problem) in enumerate(zip(paths, names, problems, strict=True), start=1):
            read[problem] += 1
            if (
                taken is not None
                and problem
                and (problem not in taken or read[problem] > PER_PROBLEM_AND_POLICY)
            ):
                continue
            file.bytes_read += path.stat().st_size
            with path.open("rb") as stored:
                yield self._item(line, stored.read(MAX_PROGRAM_BYTES + 1), name, file)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        name, _, program = raw.partition(b"\n")
        return [self._item(line, program, name.decode(errors="replace"), file)]

    def _item(self, line: int, raw: bytes, name: str, file: SourceFile) -> ReadItem:
        problem, verdict = problem_and_verdict(file.name, name)
        if problem is None:
            return Refused(
                line,
                name.encode(errors="backslashreplace") + b"\n" + raw,
                f"{name}: lies in no problem's folder",
            )
        return program_item(
            line, raw, name, problem, VERDICT_FOLDERS[verdict] if verdict else None, BASIS.format(verdict)
        )


register(Folders())


def problem_and_verdict(root: str, name: str) -> tuple[str | None, str | None]:
    """(problem_id, name of the verdict's folder) of a file below the root."""
    folders = list(PurePosixPath(name).parts[:-1])
    verdict = folders.pop().lower() if folders and folders[-1].lower() in VERDICT_FOLDERS else None
    if len(folders) == 1:
        folders.insert(0, PurePosixPath(root).name)
    return ("/".join(folders) or None), verdict
