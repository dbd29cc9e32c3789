"""Lists the files below a folder of a source under the source policy.

The listing is breadth first, so that one deep or crowded folder does not exclude its siblings. Files that are
not read are listed with the reason. Files of the operating system are only counted.
"""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pipeline.adapters.source_policy import (
    MAX_FOLDER_DEPTH,
    MAX_FOLDER_ENTRIES,
    MAX_TREE_ENTRIES,
    SourceRefused,
    is_inside,
    link_outside_source,
    open_refusal,
    printable,
    refuse_special,
    refused,
)

LEFTOVERS = "files of the operating system (._*, .DS_Store)"
LEFTOVER_NAMES = {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"}
HIDDEN_FOLDERS = "hidden folders"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file below a folder.

    `name`: printable path below it; `path`: to open it; `fault`: why it is not read.
    """

    name: str
    path: str
    size_bytes: int = 0
    fault: str = ""


@dataclass
class Tree:
    """The files below a folder by name, the folders entered, and counts of what was skipped, by kind.

    `overflow` says that the folder has more than is listed. With markers, `marked` are the folders that
    contain a file of such a name; nothing below them is listed.
    """

    files: list[Entry] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    marked: list[Entry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    overflow: str = ""


def list_tree(
    root: Path, roots: tuple[str, ...], *, max_entries: int = MAX_TREE_ENTRIES, markers: tuple[str, ...] = ()
) -> Tree:
    """List everything below `root` except hidden folders. Raises SourceRefused if `root` cannot be listed."""
    walk = _Walk(roots, max_entries, markers)
    walk.enter(_Folder("", str(root), os.path.realpath(root), 0))
    while walk.queue and not walk.tree.overflow:
        folder = walk.queue.popleft()
        try:
            walk.enter(folder)
        except SourceRefused as refusal:
            walk.tree.files.append(Entry(folder.name, folder.path, fault=str(refusal)))
    for entries in (walk.tree.files, walk.tree.marked):
        entries.sort(key=lambda entry: entry.name.split("/"))
    return walk.tree


def fault_kind(fault: str) -> str:
    """The kind of a refusal without the name, to count similar refusals together."""
    return fault.partition(": ")[0]


@dataclass(frozen=True, slots=True)
class _Folder:
    name: str
    path: str
    real: str
    depth: int


class _Walk:
    def __init__(self, roots: tuple[str, ...], max_entries: int, markers: tuple[str, ...]):
        self.roots, self.max_entries, self.markers = roots, max_entries, markers
        self.tree = Tree()
        self.queue: deque[_Folder] = deque()
        self.seen = 0

    def enter(self, folder: _Folder) -> None:
        """List one folder and queue its subfolders. Raises SourceRefused."""
        name = folder.name or folder.path
        if folder.depth > MAX_FOLDER_DEPTH:
            raise refused(f"deeper than {MAX_FOLDER_DEPTH} folders", name, "ingest it separately")
        limit = min(MAX_FOLDER_ENTRIES, self.max_entries - self.seen)
        try:
            with os.scandir(folder.path) as scan:
                entries = list(islice(scan, limit + 1))
        except OSError as error:
            raise open_refusal(error, folder.path, name) from error
        if len(entries) > MAX_FOLDER_ENTRIES:
            raise refused(f"a folder of more than {MAX_FOLDER_ENTRIES:,} entries", name, "split it")
        if len(entries) > limit:
            self.tree.overflow = f"more than {self.max_entries:,} files and folders"
            entries.pop()
        self.seen += len(entries)
        if any(entry.name in self.markers for entry in entries):
            self.tree.marked.append(Entry(folder.name, folder.path))
            return
        if folder.name:
            self.tree.folders.append(folder.name)
        for entry in sorted(entries, key=lambda entry: entry.name):
            self.add(entry, folder)

    def add(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        """Add one entry as a file, as a folder to enter, or as something that is not read."""
        if entry.name.startswith("._") or entry.name in LEFTOVER_NAMES:
            self.tree.skipped[LEFTOVERS] += 1
            return
        name = f"{folder.name}/{printable(entry.name)}".removeprefix("/")
        try:
            real = self.real_path(entry, folder, name)
            status = os.stat(real)
            if not stat.S_ISDIR(status.st_mode):
                refuse_special(status, name)
                self.tree.files.append(Entry(name, entry.path, status.st_size))
            elif entry.name.startswith("."):
                self.tree.skipped[HIDDEN_FOLDERS] += 1
            else:
                self.queue.append(_Folder(name, entry.path, real, folder.depth + 1))
        except (OSError, SourceRefused) as error:
            refusal = open_refusal(error, entry.path, name) if isinstance(error, OSError) else error
            if not isinstance(refusal, SourceRefused):
                raise
            self.tree.files.append(Entry(name, entry.path, fault=str(refusal)))

    def real_path(self, entry: os.DirEntry[str], folder: _Folder, name: str) -> str:
        """The resolved path. Raises SourceRefused for a link out of the source or to a folder above it."""
        if not entry.is_symlink():
            return os.path.join(folder.real, entry.name)
        real = os.path.realpath(entry.path, strict=True)
        if not is_inside(real, self.roots):
            raise link_outside_source(name)
        if is_inside(folder.real, (real,)):
            raise refused("a circle of links", name, "remove it")
        return real
