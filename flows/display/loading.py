"""Says on a terminal what a command waits for while large libraries are imported."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

# Importing each of these takes a second or more.
SLOW = ("torch", "transformers", "prefect", "matplotlib", "datasets")


class _Announcer(MetaPathFinder):
    """Finds no module; it is asked first, and prints a line when one of the names is imported."""

    def __init__(self, names: Collection[str]):
        self.names = set(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname in self.names:
            self.names.remove(fullname)
            print(f"loading {fullname} ...", file=sys.stderr, flush=True)
        return None


def announce_imports(names: Collection[str] = SLOW) -> None:
    """Print a line when one of these libraries is first imported, if stderr is a terminal."""
    if sys.stderr.isatty():
        sys.meta_path.insert(0, _Announcer(names))
