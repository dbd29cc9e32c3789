"""Kattis/ICPC problem packages: a package (a folder with problem.yaml) or a folder of packages, each a batch
of its own.

Format: the Problem Package Format, legacy and 2023-07-draft (https://www.kattis.com/problem-package-format/).
Read are
* problem.yaml: name, licence, limits (memory in MiB, time_limit in seconds), validation and validator_flags,
  type; `.timelimit` and domjudge-problem.ini (timelimit) for the time;
* the statement, English first: problem_statement/problem[.en].tex or .md (also statement/), its TeX slightly
  reduced;
* data/sample/**/*.in and data/secret/**/*.in with their .ans; flags in data/testdata.yaml or test_group.yaml;
* submissions/<verdict>/<file>, claimed as the folder says (judges put them there). Submissions of several
  files are refused;
* output_validators/, output_validator/, input_validators/ into `problems.programs`.

The default output validator compares tokens, case folded unless `case_sensitive`, floats within the tolerance
given, and with `space_change_sensitive` exactly. A package with an output validator of its own, or an
interactive one, is `custom`; the validator's flags are kept with it, and an interactive one has the role
`interactor`. Links inside the source are followed. A file that the policy for sources does not read
(`source_policy.py`) refuses its submission or, where the problem needs it, the package with all its
submissions; elsewhere it is passed over and counted. Archives are not read. The problem is named <name of the
folder that holds the packages>/<path of the package below it>.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, refused_file, register
from pipeline.adapters.kattis_problem import NEEDED, problem_item
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.sample import take_problems
from pipeline.adapters.source_policy import SourceRefused, places_of, printable, refused
from pipeline.adapters.source_tree import Tree, list_tree
from pipeline.adapters.trees import VERDICT_FOLDERS, folder_file, kept, program_item, program_of

BASIS = "folder of the problem package (set by the judges)"
ARCHIVES = (".zip", ".kpp", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
PACKAGE_REFUSED = "its package was refused"


class Kattis:
    name = "kattis"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        if source.endswith(ARCHIVES) and os.path.isfile(source):
            raise SourceError(f"{source} is an archive: unpack it, and ingest the folder")
        tree = list_tree(root, places_of(root), marker="problem.yaml") if root.is_dir() else Tree()
        packages = tree.marked
        if limit is not None:
            taken = take_problems((("", package.path) for package in packages), limit)
            packages = [package for package in packages if package.path in taken]
        # A single package is named after the folder it lies in, as it would be among others.
        real = root.resolve()
        above = real.parent.name if tree.marked and not tree.marked[0].name else real.name
        named = [(package.path, f"{above}/{package.name or real.name}") for package in packages]
        files = [package_file(path, printable(name), places_of(root)) for path, name in named]
        files += [
            refused_file(entry.path, f"{above}/{entry.name}", archive_fault(entry.name))
            for entry in tree.files
            if entry.name.endswith(ARCHIVES) and not entry.fault
        ]
        if tree.overflow:
            fault = f"{tree.overflow}: {printable(source)}; ingest its folders one by one"
            files.append(refused_file(source, above, fault))
        if not files:
            raise SourceError(f"no problem package in {printable(source)}: a folder with problem.yaml")
        files[0].skipped = files[0].skipped + tree.skipped
        return files if limit is None else [replace(file, options={"limit": limit}) for file in files]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        file.rows_in_file = 1
        try:
            if file.fault:
                raise SourceRefused(file.fault)
            package = PackageFiles(Path(file.path), file.places, file.name)
        except SourceRefused as refusal:
            yield Refused(0, b"", str(refusal))
            return
        problem = problem_item(package)
        yield problem
        for entry in package.below("submissions"):
            file.rows_in_file += 1
            file.bytes_read += entry.size_bytes
            raw = program_of(file.rows_in_file, entry, file.places)
            name = entry.name.removeprefix("submissions/")
            if isinstance(raw, Refused):
                yield raw
            elif isinstance(problem, Refused):
                # A problem of that name may be in the store, and would judge what was written for this one.
                yield Refused(
                    file.rows_in_file, kept(name, raw), f"{PACKAGE_REFUSED}: {file.name}", size=len(raw)
                )
            else:
                yield submission(file.rows_in_file, raw, name, file.name)

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """A submission; a package that was refused as a problem is read again from its folder, once that
        has changed.
        """
        name, _, program = raw.partition(b"\n")
        if line == 1:
            return [
                Refused(line, raw, "a package is read from its folder: fix it there, and ingest it again")
            ]
        return [submission(line, program, printable(name.decode(errors="replace")), file.name)]


register(Kattis())


def package_file(path: str, name: str, places: tuple[str, ...]) -> SourceFile:
    """A package as one file of the source."""
    try:
        package = PackageFiles(Path(path), places, name)
    except SourceRefused as refusal:
        return refused_file(path, name, str(refusal))
    return folder_file(Path(path), name, package.entries.values(), places, package.passed_over(NEEDED))


def archive_fault(name: str) -> str:
    return str(refused("an archive", name, "unpack it, and ingest the folder"))


def submission(line: int, raw: bytes, name: str, problem_id: str) -> ReadItem:
    verdict, *rest = name.split("/")
    if len(rest) != 1:
        reason = f"{name}: a submission of several files, or in no verdict's folder"
        return Refused(line, kept(name, raw), reason)
    return program_item(line, raw, name, problem_id, VERDICT_FOLDERS.get(verdict), BASIS, problem_line=1)
