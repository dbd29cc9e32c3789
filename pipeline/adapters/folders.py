"""Human solutions in folders: ROOT/<source>/<id>/[<verdict>/]<file>.

The path between ROOT and the file is the problem_id. If the last folder has the name of a verdict (accepted,
WA, wrong_answer, time_limit_exceeded, ..., see `pipeline/text/names.py`), it is the claimed verdict. If there
is only one folder, ROOT's name is the source. The suffix gives the language; files with another suffix are
refused. ROOT is one batch: after adding files, ingest it again; everything is read and the new files are
added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, register
from pipeline.adapters.sample import PER_PROBLEM_AND_POLICY, select_problems
from pipeline.adapters.source_policy import allowed_roots, printable
from pipeline.adapters.source_tree import list_tree
from pipeline.adapters.trees import VERDICT_FOLDERS, folder_file, program_item, quarantine_bytes, read_program

BASIS = "folder `{}`"


class Folders:
    name = "folders"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        if not root.is_dir():
            raise SourceError(f"no folder {source}")
        roots = allowed_roots(root)
        tree = list_tree(root, roots)
        file = folder_file(root, printable(root.resolve().name), tree.files, roots, tree.skipped)
        return [replace(file, options={"limit": limit})] if limit is not None else [file]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        tree = list_tree(Path(file.path), file.roots)
        problems = [problem_and_verdict(file.name, entry.name)[0] or "" for entry in tree.files]
        limit = file.options.get("limit")
        named = ((problem.partition("/")[0], problem) for problem in problems if problem)
        selected = None if limit is None else select_problems(named, limit)
        read = dict.fromkeys(problems, 0)
        file.rows_in_file = len(tree.files)
        for line, (entry, problem) in enumerate(zip(tree.files, problems, strict=True), start=1):
            read[problem] += 1
            if (
                selected is not None
                and problem
                and (problem not in selected or read[problem] > PER_PROBLEM_AND_POLICY)
            ):
                continue
            file.bytes_read += entry.size_bytes
            raw = read_program(line, entry, file.roots)
            yield raw if isinstance(raw, Refused) else self._item(line, raw, entry.name, file)
        if tree.overflow:
            reason = f"{tree.overflow}: {file.name}; the rest is not read: ingest its folders one by one"
            yield Refused(0, b"", reason)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        name, _, program = raw.partition(b"\n")
        return [self._item(line, program, printable(name.decode(errors="replace")), file)]

    def _item(self, line: int, raw: bytes, name: str, file: SourceFile) -> ReadItem:
        problem, verdict = problem_and_verdict(file.name, name)
        if problem is None:
            return Refused(line, quarantine_bytes(name, raw), f"{name}: is not in a folder of a problem")
        return program_item(
            line, raw, name, problem, VERDICT_FOLDERS[verdict] if verdict else None, BASIS.format(verdict)
        )


register(Folders())


def problem_and_verdict(root: str, name: str) -> tuple[str | None, str | None]:
    """(problem_id, name of the verdict folder) of a file below the root; None if missing."""
    folders = list(PurePosixPath(name).parts[:-1])
    verdict = folders.pop().lower() if folders and folders[-1].lower() in VERDICT_FOLDERS else None
    if len(folders) == 1:
        folders.insert(0, PurePosixPath(root).name)
    return ("/".join(folders) or None), verdict
