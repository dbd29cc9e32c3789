"""Files and folders that a power cut does not take: written, flushed, then published under their names.

A name that is flushed before the content behind it can lead to an empty file after a power cut; so content
comes first, the folder that holds the name last. Used for the store, for checkpoints of a training run and
for published policies.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A flush waits for the disk, and flushes that wait at the same time share one write of the file system's
# journal.
FLUSHES_AT_ONCE = 8
# Folders whose own name this process has flushed already.
_named: set[str] = set()


def flush_file(path: str | Path) -> None:
    """Return once the content of a file is on the disk. Raises OSError where the disk refuses."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: str | Path) -> None:
    """Return once the names in a folder are on the disk: new files, renamed and deleted ones."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # File systems that cannot flush a folder by itself (some network ones) write names at once, and say
        # EINVAL.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def flush_all(files: Iterable[str | Path], folders: Iterable[str | Path] = ()) -> None:
    """Flush files and folders, all at the same time: in no order among them."""
    work = [(flush_file, path) for path in files] + [(flush_folder, path) for path in folders]
    if len(work) == 1:
        work[0][0](work[0][1])
    elif work:
        with ThreadPoolExecutor(min(len(work), FLUSHES_AT_ONCE)) as pool:
            for done in [pool.submit(flush, path) for flush, path in work]:
                done.result()


def make_folder(path: str | Path) -> None:
    """Make a folder and those above it, and flush the name of each that is new or that this process has
    not flushed yet.
    """
    folder = Path(path)
    above = [folder]
    while not above[-1].is_dir() and above[-1] != above[-1].parent:
        above.append(above[-1].parent)
    for missing in reversed(above[:-1]):
        missing.mkdir(exist_ok=True)
        _named.discard(str(missing))
    for ancestor in reversed(above[:-1] or above):
        if str(ancestor) not in _named:
            flush_folder(ancestor.parent)
            _named.add(str(ancestor))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that readers, also after a power cut, find with the old content or the new one, and
    never with a part.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        flush_file(partial)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)  # a full disk needs the room
        raise
    flush_folder(path.parent)


def publish_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside the target, then give it its name: a kill or a power cut leaves the target
    whole or absent.
    """
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(target.parent)
    partial.mkdir()
    try:
        write(partial)
        name_folder(partial, target)
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise


def name_folder(partial: Path, target: Path) -> None:
    """Give a folder that is written its name, once all that is in it is on the disk."""
    flush_tree(partial)
    os.replace(partial, target)
    flush_folder(target.parent)


def flush_tree(folder: Path) -> None:
    """Flush every file and every folder below a folder, and the folder itself."""
    folders, files = [], []
    for where, _, names in os.walk(folder):
        folders.append(where)
        files += [path for name in names if not os.path.islink(path := os.path.join(where, name))]
    flush_all(files, folders)
