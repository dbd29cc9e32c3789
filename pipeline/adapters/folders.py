"""Human solutions in folders: ROOT/<source>/<id>/[<verdict>/]<file>.

The path between ROOT and the file names the problem as the store does; a last folder that is called like a
verdict (accepted, WA, wrong_answer, time_limit_exceeded, ..., see `names.py`) is the claim. With one folder
between, ROOT's own name is the source. The suffix says the language; what has no suffix of a language is
refused. The whole of ROOT is one batch: add files, and ingesting it again reads everything and adds what is
new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, register
from pipeline.adapters.sample import PER_PROBLEM_AND_POLICY, take_problems
from pipeline.adapters.source_policy import places_of, printable
from pipeline.adapters.source_tree import list_tree
from pipeline.adapters.trees import VERDICT_FOLDERS, folder_file, kept, program_item, program_of

BASIS = "folder `{}`"


class Folders:
    name = "folders"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        if not root.is_dir():
            raise SourceError(f"no folder {source}")
        places = places_of(root)
        tree = list_tree(root, places)
        file = folder_file(root, printable(root.resolve().name), tree.files, places, tree.skipped)
        return [replace(file, options={"limit": limit})] if limit is not None else [file]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        tree = list_tree(Path(file.path), file.places)
        problems = [problem_and_verdict(file.name, entry.name)[0] or "" for entry in tree.files]
        limit = file.options.get("limit")
        named = ((problem.partition("/")[0], problem) for problem in problems if problem)
        taken = None if limit is None else take_problems(named, limit)
        read = dict.fromkeys(problems, 0)
        file.rows_in_file = len(tree.files)
        for line, (entry, problem) in enumerate(zip(tree.files, problems, strict=True), start=1):
            read[problem] += 1
            if (
                taken is not None
                and problem
                and (problem not in taken or read[problem] > PER_PROBLEM_AND_POLICY)
            ):
                continue
            file.bytes_read += entry.size_bytes
            raw = program_of(line, entry, file.places)
            yield raw if isinstance(raw, Refused) else self._item(line, raw, entry.name, file)
        if tree.overflow:
            reason = f"{tree.overflow}: {file.name}; the others are not read: ingest its folders one by one"
            yield Refused(0, b"", reason)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        name, _, program = raw.partition(b"\n")
        return [self._item(line, program, printable(name.decode(errors="replace")), file)]

    def _item(self, line: int, raw: bytes, name: str, file: SourceFile) -> ReadItem:
        problem, verdict = problem_and_verdict(file.name, name)
        if problem is None:
            return Refused(line, kept(name, raw), f"{name}: lies in no problem's folder")
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
