"""The files of one problem package, found and read under the policy for sources."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePosixPath

from pipeline.adapters.source_policy import SourceRefused, is_plain_name, read_bounded, refused
from pipeline.adapters.source_tree import Entry, kind_of_fault, list_tree

MAX_PACKAGE_ENTRIES = 20_000
# A package that is refused is kept as a list of its files, up to this many.
LISTED_FILES = 1_000
MAX_SETTINGS_BYTES = 256 << 10
MAX_SOURCE_BYTES, MAX_SOURCES_CHARACTERS = 4 << 20, 16 << 20


class PackageFiles:
    """A package's files by name. Raises SourceRefused where the folder cannot be listed or holds too much."""

    def __init__(self, folder: Path, places: tuple[str, ...], name: str):
        tree = list_tree(folder, places, max_entries=MAX_PACKAGE_ENTRIES)
        if tree.overflow:
            raise refused(f"a package of {tree.overflow}", name, "it is not a problem package; remove it")
        self.name, self.places, self.skipped = name, places, tree.skipped
        self.entries = {entry.name: entry for entry in tree.files}
        self.folders = set(tree.folders)

    def below(self, folder: str) -> list[Entry]:
        """The files below a folder; and what has its place, or that of a folder above it, and is not read."""
        return [
            entry
            for name, entry in self.entries.items()
            if name.startswith(f"{folder}/") or (entry.fault and f"{folder}/".startswith(f"{name}/"))
        ]

    def bytes_of(self, name: str, limit_bytes: int) -> bytes:
        """Raises SourceRefused, also where there is no such file."""
        entry = self.entries.get(name)
        if entry is None:
            raise refused("no such file", name, "add it to the package")
        if entry.fault:
            raise SourceRefused(entry.fault)
        return read_bounded(entry.path, self.places, name, limit_bytes)

    def text(self, name: str, limit_bytes: int = MAX_SETTINGS_BYTES) -> str:
        """Raises SourceRefused, and ValueError for what is not UTF-8."""
        content = self.bytes_of(name, limit_bytes)
        try:
            return content.removeprefix(b"\xef\xbb\xbf").decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from error

    def sources(self, folder: str) -> list[tuple[str, str]]:
        """Path and text of the sources below a folder. Hidden files, and what is large or not text, are
        by-products and left out.

        Raises ValueError for a name that could not be given to a file and to a compiler, or for too much
        text.
        """
        found: list[tuple[str, str]] = []
        characters = 0
        for entry in self.below(folder):
            if entry.fault:
                raise SourceRefused(entry.fault)
            parts = PurePosixPath(entry.name).relative_to(folder).parts
            if any(part.startswith(".") for part in parts) or entry.size_bytes > MAX_SOURCE_BYTES:
                continue
            if not all(map(is_plain_name, parts)):
                raise ValueError(
                    f"{entry.name} needs a plain name: at most 100 bytes, not beginning with a dash or a dot"
                )
            try:
                text = self.bytes_of(entry.name, MAX_SOURCE_BYTES).decode()
            except UnicodeDecodeError:
                continue
            found.append(("/".join(parts), text))
            characters += len(text)
            if characters > MAX_SOURCES_CHARACTERS:
                raise ValueError(f"{folder} holds sources of more than {MAX_SOURCES_CHARACTERS} characters")
        return found

    def passed_over(self, needed: tuple[str, ...]) -> Counter[str]:
        """What is not read although no part of the package needs it, by kind."""
        others = (
            entry for name, entry in self.entries.items() if entry.fault and not name.startswith(needed)
        )
        return self.skipped + Counter(kind_of_fault(entry.fault) for entry in others)

    def listing(self) -> bytes:
        """What the quarantine keeps of a package: problem.yaml, and the names and sizes of its files."""
        names = sorted(self.entries)[:LISTED_FILES]
        try:
            yaml_text = self.bytes_of("problem.yaml", MAX_SETTINGS_BYTES).decode(errors="backslashreplace")
        except ValueError as error:
            yaml_text = str(error)
        files = {name: self.entries[name].fault or self.entries[name].size_bytes for name in names}
        kept = {"problem.yaml": yaml_text, "files": files, "number of files": len(self.entries)}
        return json.dumps(kept, ensure_ascii=False).encode(errors="backslashreplace")
