"""Finds and reads the files of one problem package under the source policy."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePosixPath

from pipeline.adapters.source_policy import SourceRefused, is_plain_name, read_bounded, refused
from pipeline.adapters.source_tree import Entry, fault_kind, list_tree

MAX_PACKAGE_ENTRIES = 20_000
# The quarantine keeps a list of up to this many files of a refused package.
LISTED_FILES = 1_000
MAX_SETTINGS_BYTES = 256 << 10
MAX_SOURCE_BYTES, MAX_SOURCES_CHARACTERS = 4 << 20, 16 << 20


class PackageFiles:
    """The files of a package by name.

    Raises SourceRefused if the folder cannot be listed or has too many files. `settings` is the file that
    describes the package.
    """

    def __init__(self, folder: Path, roots: tuple[str, ...], name: str, settings: str = "problem.yaml"):
        tree = list_tree(folder, roots, max_entries=MAX_PACKAGE_ENTRIES)
        if tree.overflow:
            raise refused(f"a package of {tree.overflow}", name, "it is not a problem package; remove it")
        self.name, self.roots, self.skipped, self.settings = name, roots, tree.skipped, settings
        self.entries = {entry.name: entry for entry in tree.files}
        self.folders = set(tree.folders)
        self.constants: dict[str, str] = {}  # of its sequences: see `kattis_constants.py`

    def files_below(self, folder: str) -> list[Entry]:
        """The files below a folder, and unreadable entries at its path or at that of a folder above it."""
        return [
            entry
            for name, entry in self.entries.items()
            if name.startswith(f"{folder}/") or (entry.fault and f"{folder}/".startswith(f"{name}/"))
        ]

    def read_bytes(self, name: str, limit_bytes: int) -> bytes:
        """Raises SourceRefused, also if there is no such file."""
        entry = self.entries.get(name)
        if entry is None:
            raise refused("no such file", name, "add it to the package")
        if entry.fault:
            raise SourceRefused(entry.fault)
        return read_bounded(entry.path, self.roots, name, limit_bytes)

    def read_text(self, name: str, limit_bytes: int = MAX_SETTINGS_BYTES) -> str:
        """Raises SourceRefused, and ValueError for a file that is not UTF-8."""
        content = self.read_bytes(name, limit_bytes)
        try:
            return content.removeprefix(b"\xef\xbb\xbf").decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from error

    def sources(self, folder: str) -> list[tuple[str, str]]:
        """(path, text) of the sources below a folder, without hidden, large and binary files.

        Raises ValueError for an unsafe file name or too much text.
        """
        files: list[tuple[str, str]] = []
        characters = 0
        for entry in self.files_below(folder):
            if entry.fault:
                raise SourceRefused(entry.fault)
            parts = PurePosixPath(entry.name).relative_to(folder).parts
            if any(part.startswith(".") for part in parts) or entry.size_bytes > MAX_SOURCE_BYTES:
                continue
            if not all(map(is_plain_name, parts)):
                raise ValueError(
                    f"{entry.name} has an unsafe name; use at most 100 bytes, and no dash or dot first"
                )
            try:
                text = self.read_bytes(entry.name, MAX_SOURCE_BYTES).decode()
            except UnicodeDecodeError:
                continue
            files.append(("/".join(parts), text))
            characters += len(text)
            if characters > MAX_SOURCES_CHARACTERS:
                raise ValueError(f"{folder} has more than {MAX_SOURCES_CHARACTERS} characters of sources")
        return files

    def skipped_files(self, needed: tuple[str, ...]) -> Counter[str]:
        """Counts of unreadable entries that the package does not need, by kind."""
        others = (
            entry for name, entry in self.entries.items() if entry.fault and not name.startswith(needed)
        )
        return self.skipped + Counter(fault_kind(entry.fault) for entry in others)

    def listing(self) -> bytes:
        """The bytes for the quarantine: the settings, and the names and sizes of the files."""
        names = sorted(self.entries)[:LISTED_FILES]
        try:
            yaml_text = self.read_bytes(self.settings, MAX_SETTINGS_BYTES).decode(errors="backslashreplace")
        except ValueError as error:
            yaml_text = str(error)
        files = {name: self.entries[name].fault or self.entries[name].size_bytes for name in names}
        summary = {self.settings: yaml_text, "files": files, "number of files": len(self.entries)}
        return json.dumps(summary, ensure_ascii=False).encode(errors="backslashreplace")
