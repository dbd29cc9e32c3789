"""The files below a folder of a source, found under the policy for sources.

The listing is breadth first, so that one deep or crowded folder does not keep out what lies beside it. What
is not read is listed as well, with the reason; what an operating system leaves in folders is only counted.
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
    leads_out,
    printable,
    refusal_of,
    refuse_special,
    refused,
)

LEFTOVERS = "what an operating system leaves in folders (._*, .DS_Store)"
LEFTOVER_NAMES = {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"}
HIDDEN_FOLDERS = "hidden folders"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file below a folder: its printable path below it, where to open it, and its size. `fault`: why it
    is not read.
    """

    name: str
    path: str
    size_bytes: int = 0
    fault: str = ""


@dataclass
class Tree:
    """The files below a folder by name, the folders entered, and how many things were passed over, by kind.

    `overflow` says that the folder holds more than is listed. With a marker, `marked` are the folders that
    hold a file of that name; nothing below them is listed.
    """

    files: list[Entry] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    marked: list[Entry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    overflow: str = ""


def list_tree(
    root: Path, places: tuple[str, ...], *, max_entries: int = MAX_TREE_ENTRIES, marker: str = ""
) -> Tree:
    """What lies below `root`, hidden folders aside. Raises SourceRefused where `root` itself cannot be
    listed.
    """
    walk = _Walk(places, max_entries, marker)
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


def kind_of_fault(fault: str) -> str:
    """The kind of a refusal, without the name: what like refusals are counted by."""
    return fault.partition(": ")[0]


@dataclass(frozen=True, slots=True)
class _Folder:
    name: str
    path: str
    real: str
    depth: int


class _Walk:
    def __init__(self, places: tuple[str, ...], max_entries: int, marker: str):
        self.places, self.max_entries, self.marker = places, max_entries, marker
        self.tree = Tree()
        self.queue: deque[_Folder] = deque()
        self.seen = 0

    def enter(self, folder: _Folder) -> None:
        """List one folder, and queue those in it. Raises SourceRefused."""
        shown = folder.name or folder.path
        if folder.depth > MAX_FOLDER_DEPTH:
            raise refused(f"deeper than {MAX_FOLDER_DEPTH} folders", shown, "ingest it by itself")
        at_most = min(MAX_FOLDER_ENTRIES, self.max_entries - self.seen)
        try:
            with os.scandir(folder.path) as scan:
                entries = list(islice(scan, at_most + 1))
        except OSError as error:
            raise refusal_of(error, folder.path, shown) from error
        if len(entries) > MAX_FOLDER_ENTRIES:
            raise refused(f"a folder of more than {MAX_FOLDER_ENTRIES:,} entries", shown, "split it")
        if len(entries) > at_most:
            self.tree.overflow = f"more than {self.max_entries:,} files and folders"
            entries.pop()
        self.seen += len(entries)
        if any(entry.name == self.marker for entry in entries):
            self.tree.marked.append(Entry(folder.name, folder.path))
            return
        if folder.name:
            self.tree.folders.append(folder.name)
        for entry in sorted(entries, key=lambda entry: entry.name):
            self.place(entry, folder)

    def place(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        """Put one entry where it belongs: a file, a folder to enter, or something that is not read."""
        if entry.name.startswith("._") or entry.name in LEFTOVER_NAMES:
            self.tree.skipped[LEFTOVERS] += 1
            return
        name = f"{folder.name}/{printable(entry.name)}".removeprefix("/")
        try:
            real = self.real_path(entry, folder, name)
            facts = os.stat(real)
            if not stat.S_ISDIR(facts.st_mode):
                refuse_special(facts, name)
                self.tree.files.append(Entry(name, entry.path, facts.st_size))
            elif entry.name.startswith("."):
                self.tree.skipped[HIDDEN_FOLDERS] += 1
            else:
                self.queue.append(_Folder(name, entry.path, real, folder.depth + 1))
        except (OSError, SourceRefused) as error:
            refusal = refusal_of(error, entry.path, name) if isinstance(error, OSError) else error
            if not isinstance(refusal, SourceRefused):
                raise
            self.tree.files.append(Entry(name, entry.path, fault=str(refusal)))

    def real_path(self, entry: os.DirEntry[str], folder: _Folder, name: str) -> str:
        """Where an entry really is. Raises SourceRefused for a link out of the source or into a folder
        that holds it.
        """
        if not entry.is_symlink():
            return os.path.join(folder.real, entry.name)
        real = os.path.realpath(entry.path, strict=True)
        if not is_inside(real, self.places):
            raise leads_out(name)
        if is_inside(folder.real, (real,)):
            raise refused("links in a circle", name, "remove it")
        return real
