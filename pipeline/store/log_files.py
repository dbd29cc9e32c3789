"""Names of the files of a table's log on a disk, and of what is kept beside it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

LOG_FOLDER = "_delta_log"
# Beside the log: copies of its newest entries, hashes of its checkpoints, and files that are being written.
OWN_FOLDER = "_spo"
# Names the newest checkpoint, for readers that then need not look for it.
HINT = "_last_checkpoint"
ENTRY = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
CHECKPOINT_HASH = re.compile(r"(\d{20})\.(?P<hash>[0-9a-f]{32})\.checkpoint")


def entry_name(version: int) -> str:
    return f"{version:020}.json"


def checkpoint_name(version: int) -> str:
    return f"{version:020}.checkpoint.parquet"


def checkpoint_hash_name(version: int, content_hash: str) -> str:
    """Name of the file with the hash of a checkpoint; its content is that of `_last_checkpoint`."""
    return f"{version:020}.{content_hash}.checkpoint"


def versions_of(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    """Versions of the files in a folder whose names fit, in order."""
    return sorted(int(match[1]) for name in listed(folder) if (match := pattern.fullmatch(name)))


def checkpoint_hashes(own_folder: Path, version: int) -> set[str]:
    """Stored hashes of the checkpoints of a version; two processes may have made one each."""
    matches = map(CHECKPOINT_HASH.fullmatch, listed(own_folder))
    return {match["hash"] for match in matches if match and int(match[1]) == version}


def hint_version(log_folder: Path) -> int:
    """The version that `_last_checkpoint` names; -1 if there is none, or if it cannot be read."""
    try:
        return version_in_hint((log_folder / HINT).read_bytes())
    except OSError:
        return -1


def version_in_hint(content: bytes) -> int:
    """The version in the text of a `_last_checkpoint`; -1 if it cannot be read."""
    try:
        return int(json.loads(content)["version"])
    except (ValueError, KeyError, TypeError):
        return -1


def listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
