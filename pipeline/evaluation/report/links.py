"""Addresses of pages of a running explorer (`spo view`), at the versions of the tables that a report read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from pipeline.store import TABLES


@dataclass(frozen=True)
class Explorer:
    """An explorer that figures link to. `address`: `http://127.0.0.1:PORT`; `runs`: the folder below which it
    shows runs, None if that is not known.
    """

    address: str
    runs: Path | None = None


@dataclass(frozen=True)
class Links:
    """Every method gives an address, or None without an explorer or for a run that it does not show."""

    explorer: Explorer | None
    versions: dict[str, int]

    @property
    def at(self) -> str:
        """The versions as the explorer writes them, such as `problems1.trajectories6`."""
        parts = [f"{name}{self.versions[name]}" for name in TABLES if self.versions.get(name, -1) >= 0]
        return ".".join(parts) or "empty"

    def page(self, path: str, pairs: Iterable[tuple[str, str]] = ()) -> str | None:
        if self.explorer is None:
            return None
        address = self.explorer.address.rstrip("/")
        return f"{address}/{quote(path)}?{urlencode([*pairs, ('at', self.at)])}"

    def sql(self, statement: str) -> str | None:
        """The rows of a statement: what a figure was made of."""
        return self.page("sql", [("q", statement)])

    def record(self, kind: str, name: str) -> str | None:
        """A problem, a trajectory or a policy."""
        return self.page(kind, [("id", name)])

    def runs(self, folders: Iterable[Path | None]) -> str | None:
        """The curves of runs over each other."""
        names = [name for name in map(self._name, folders) if name]
        return self.page("run", [("run", name) for name in dict.fromkeys(names)]) if names else None

    def step(self, folder: Path | None) -> str | None:
        """The page of a step; the number of the step is to be appended."""
        name = self._name(folder)
        page = self.page("step", [("run", name)]) if name else None
        return page and f"{page}&step="

    def _name(self, folder: Path | None) -> str | None:
        """A run as the explorer names it: its folder below the folder of runs."""
        if self.explorer is None or self.explorer.runs is None or folder is None:
            return None
        try:
            return str(folder.resolve().relative_to(self.explorer.runs.resolve()))
        except ValueError:
            return None
