"""The data files below a table's folder, and those among them that belong to a commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.store.disk_log import DiskLog
from pipeline.store.log_files import LOG_FOLDER, OWN_FOLDER


def data_paths(log: DiskLog) -> Iterator[tuple[Path, str]]:
    """Data files of every version and of none, in order: the path, and the path relative to the table."""
    for path in sorted(log.place.folder.rglob("*.parquet")):
        relative = path.relative_to(log.place.folder)
        if relative.parts[0] not in (LOG_FOLDER, OWN_FOLDER):
            yield path, relative.as_posix()


def committed_paths(log: DiskLog) -> set[str] | None:
    """Relative paths that some version's entry adds or removes; None where an entry cannot be read."""
    readable = dict(readable_actions(log))
    if len(readable) < len(log.versions()):
        return None
    return {
        unquote(action[kind]["path"])
        for actions in readable.values()
        for action in actions
        for kind in ("add", "remove")
        if kind in action
    }


def readable_actions(log: DiskLog) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Versions and what their entries do, without those that cannot be read."""
    for version in log.versions():
        with contextlib.suppress(OSError, ValueError):
            actions = log.actions(version)
            if all(isinstance(action, dict) for action in actions):
                yield version, actions
