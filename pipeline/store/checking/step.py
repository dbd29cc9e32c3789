"""One step of a repair: what was done, or could not be done, about one file."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.disk_log import DiskLog
from pipeline.store.files import flush_folder, make_folder

SET_ASIDE = "set-aside"


@dataclass(frozen=True)
class RepairStep:
    """`done`: the fault is gone; otherwise it remains, and `what` says why. `lost_rows` are rows that
    cannot be read any more, None where their number is unknown; `lost_keys` names each of them."""

    table: str
    what: str
    done: bool = True
    lost_rows: int | None = 0
    lost_keys: tuple[str, ...] = ()


def set_aside(log: DiskLog, path: Path) -> None:
    """Move a damaged file out of the way, to `_spo/set-aside` of its table, where people can examine it."""
    if path.exists():
        keep_damaged(log, path)
        path.unlink()
        flush_folder(path.parent)


def keep_damaged(log: DiskLog, path: Path) -> None:
    """Give a damaged file a second name in `_spo/set-aside`, before it is replaced under its own."""
    if path.exists():
        folder = log.copies / SET_ASIDE
        make_folder(folder)
        os.link(path, folder / f"{path.name}.{uuid.uuid4().hex[:8]}")
        flush_folder(folder)
