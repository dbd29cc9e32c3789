"""Problem packages as a source: folders and archives, each with a file that marks it, one batch each."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, refused_file
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.sample import select_problems
from pipeline.adapters.source_policy import SourceRefused, allowed_roots, fingerprint, printable, refused
from pipeline.adapters.source_tree import Entry, Tree, list_tree
from pipeline.adapters.trees import folder_file
from pipeline.adapters.zipped_packages import ZIPPED, extracted, packages_inside

ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
PACKAGE_REFUSED = "its package was refused"
INSIDE = "package"  # the option that names the folder of a package in an archive


class Packages(ABC):
    """Finds packages by a file at their top, and reads them one by one.

    A kind of package has the `name` of its adapter, the names of such files (`markers`; the first one
    describes the package), the files without which a package is refused (`needed`), and its items.
    """

    name: str
    markers: tuple[str, ...]
    needed: tuple[str, ...]

    @abstractmethod
    def items(self, package: PackageFiles, file: SourceFile) -> Iterator[ReadItem]:
        """The problem of a package, in line 1, and its submissions."""

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        if source.endswith(ARCHIVES) and os.path.isfile(source):
            raise SourceError(f"{source} is an archive: extract it, and ingest the folder")
        roots = allowed_roots(root)
        tree = list_tree(root, roots, markers=self.markers) if root.is_dir() else Tree()
        if source.endswith(ZIPPED) and root.is_file():
            tree.files.append(Entry(root.name, source))
            roots = ()
        # A single package is named after the folder above it, as it would be among other packages.
        real = root.resolve()
        is_one = bool(tree.marked) and not tree.marked[0].name
        above = real.parent.name if is_one or not root.is_dir() else real.name
        packages = [FoundPackage(one.path, f"{above}/{one.name or real.name}") for one in tree.marked]
        refusals: list[SourceFile] = []
        for entry in tree.files:
            name = f"{above}/{entry.name}"
            if entry.name.endswith(ZIPPED) and not entry.fault:
                try:
                    packages += zipped(entry.path, roots, name, self.markers)
                except SourceRefused as refusal:
                    refusals.append(refused_file(entry.path, name, str(refusal)))
            elif entry.name.endswith(ARCHIVES) and not entry.fault:
                refusals.append(refused_file(entry.path, name, archive_fault(entry.name)))
        if limit is not None:
            selected = select_problems((("", one.name) for one in packages), limit)
            packages = [one for one in packages if one.name in selected]
        files = [package_file(one, roots, self.markers[0], self.needed) for one in packages] + refusals
        if tree.overflow:
            fault = f"{tree.overflow}: {printable(source)}; ingest its folders one by one"
            files.append(refused_file(source, above, fault))
        if not files:
            raise SourceError(f"no problem package (a folder with {self.markers[0]}) in {printable(source)}")
        files[0].skipped = files[0].skipped + tree.skipped
        return files if limit is None else [with_option(file, "limit", limit) for file in files]

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        file.rows_in_file = 1
        try:
            if file.fault:
                raise SourceRefused(file.fault)
            with opened_package(file, self.markers[0]) as package:
                yield from self.with_refusals(package, file)
        except SourceRefused as refusal:
            yield Refused(0, b"", str(refusal))

    def with_refusals(self, package: PackageFiles, file: SourceFile) -> Iterator[ReadItem]:
        """The items of a package; a refused problem takes its submissions with it."""
        problem: ReadItem | None = None
        for item in self.items(package, file):
            if problem is None:
                problem = item
                if INSIDE in file.options:  # the extracted files are gone when somebody asks for the listing
                    problem.raw = package.listing()
            elif isinstance(problem, Refused) and not isinstance(item, Refused):
                # The store may have another problem with the same id, which must not judge these programs.
                item = Refused(item.line, item.raw, f"{PACKAGE_REFUSED}: {file.name}", size=item.size)
            yield item


@dataclass(frozen=True)
class FoundPackage:
    """A package of a source: its folder, or its archive and the folder in it."""

    path: str
    name: str
    inside: str | None = None


def zipped(path: str, roots: tuple[str, ...], name: str, markers: tuple[str, ...]) -> list[FoundPackage]:
    """The packages in an archive, named after it. Raises SourceRefused."""
    folders = packages_inside(path, roots, name, markers)
    if not folders:
        raise refused("an archive without a problem package", name, "remove it, or extract it")
    stem = name.rpartition(".")[0]
    return [FoundPackage(path, stem if len(folders) == 1 else f"{stem}/{one}", one) for one in folders]


def package_file(
    package: FoundPackage, roots: tuple[str, ...], marker: str, needed: tuple[str, ...]
) -> SourceFile:
    """A package as one file of the source."""
    name = printable(package.name)
    try:
        if package.inside is not None:
            options = {INSIDE: package.inside}
            return SourceFile(
                package.path, name, *fingerprint(package.path, roots, name), options, roots=roots
            )
        files = PackageFiles(Path(package.path), roots, name, marker)
    except SourceRefused as refusal:
        return refused_file(package.path, name, str(refusal))
    skipped = files.skipped_files(needed)
    return folder_file(Path(package.path), name, files.entries.values(), roots, skipped)


@contextmanager
def opened_package(file: SourceFile, marker: str) -> Iterator[PackageFiles]:
    """The files of a package, extracted if it is in an archive. Raises SourceRefused."""
    inside = file.options.get(INSIDE)
    if inside is None:
        yield PackageFiles(Path(file.path), file.roots, file.name, marker)
        return
    with extracted(file.path, file.roots, file.name, inside) as folder:
        yield PackageFiles(folder, allowed_roots(folder), file.name, marker)


def with_option(file: SourceFile, name: str, value: Any) -> SourceFile:
    return replace(file, options=file.options | {name: value})


def archive_fault(name: str) -> str:
    return str(refused("an archive", name, "extract it, and ingest the folder"))
