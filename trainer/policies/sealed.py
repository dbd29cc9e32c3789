"""Folders that a run writes: sealed with a list of their files, so that damage and foreign folders are found.

A checkpoint `checkpoint-<step>/` and a policy `policy-<step>/` have a `manifest.json` with the folder's own
name and, per file, its size and digest. A truncated, zeroed or missing file no longer fits the manifest, and
a copy of a folder under another name does not bear that name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.store import publish_folder

MANIFEST = "manifest.json"
ASIDE = "aside-"  # begins the name of what stood in the way and was renamed
_BLOCK = 1 << 24  # bytes hashed at a time
_THREADS = 8
logger = logging.getLogger(__name__)


def numbered(run_folder: Path, kind: str) -> list[Path]:
    """The folders `<kind>-<step>` of a run by step. Files, links and other names are not among them."""
    name = re.compile(rf"{re.escape(kind)}-(0|[1-9][0-9]*)")
    entries = run_folder.iterdir() if run_folder.is_dir() else ()
    folders = [path for path in entries if name.fullmatch(path.name) and is_real_folder(path)]
    return sorted(folders, key=step_number)


def is_real_folder(path: Path) -> bool:
    """Whether a path is a folder and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def step_number(folder: Path) -> int:
    """The step in the name of a numbered folder."""
    return int(folder.name.rpartition("-")[2])


def publish_sealed(target: Path, write: Callable[[Path], None]) -> None:
    """Write a folder whole or not at all, with its manifest. What has its name already makes way."""

    def write_and_seal(partial: Path) -> None:
        write(partial)
        seal(partial, target.name)

    make_way(target)
    publish_folder(target, write_and_seal)


def make_way(target: Path) -> None:
    """Free the name that a run is about to give to a folder. A damaged folder of a run is deleted; anything
    else is not the run's to delete: it is renamed, and named in the log.
    """
    if is_real_folder(target) and _sealed_name(target) == target.name:
        remove_folder(target)
    elif os.path.lexists(target):
        logger.warning("%s: not a folder of this run; renamed to %s", target, _set_aside(target).name)


def seal(folder: Path, name: str) -> None:
    """Write the manifest of a folder that is about to get this name."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "digest": _digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / MANIFEST).write_text(json.dumps({"folder": name, "files": files}, indent=1))


def damage(folder: Path, *, content: bool = True) -> str | None:
    """What is wrong with a sealed folder, None if it is whole. Without `content` only names and sizes are
    compared, and no file but the manifest is read.
    """
    if folder.is_symlink():
        return "it is a link"
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        name, files = str(manifest["folder"]), dict(manifest["files"])
        if name != folder.name:
            return f"its {MANIFEST} names {name}: it is a copy"
        for file, listed in files.items():
            if wrong := _damage_of_file(folder / file, listed, content):
                return f"{file} {wrong}"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{MANIFEST} cannot be read"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


def _sealed_name(folder: Path) -> str | None:
    """The name in the manifest of a folder, None without a readable manifest."""
    try:
        return str(json.loads((folder / MANIFEST).read_bytes())["folder"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _set_aside(path: Path) -> Path:
    """Rename a path to a free name, which is returned."""
    names = (f"{ASIDE}{path.name}" + (f"-{number}" if number else "") for number in range(10**6))
    target = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    os.rename(path, target)
    return target


def remove_folder(folder: Path) -> None:
    """Delete a folder; a reader finds it whole or not at all."""
    going = folder.parent / f".{folder.name}.gone"
    shutil.rmtree(going, ignore_errors=True)
    os.replace(folder, going)
    shutil.rmtree(going)


def _damage_of_file(path: Path, listed: dict[str, Any], content: bool) -> str | None:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != listed["bytes"]:
        return f"has {size} bytes of {listed['bytes']}"
    if content and _digest(path) != listed["digest"]:
        return "has other content than was written"
    return None


def _digest(path: Path) -> str:
    """SHA-256 over the SHA-256 of each block, so that blocks are hashed in parallel."""
    with open(path, "rb") as file, ThreadPoolExecutor(_THREADS) as pool:
        descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
        blocks = pool.map(
            lambda start: hashlib.sha256(os.pread(descriptor, _BLOCK, start)).digest(),
            range(0, size, _BLOCK),
        )
        return hashlib.sha256(b"".join(blocks)).hexdigest()
