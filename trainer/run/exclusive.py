"""One process trains a run: a lock in the run's folder, which the kernel frees however its holder ends."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"
_held = threading.local()  # folders whose lock this thread has


class RunBusy(RuntimeError):
    """Another process trains this run; the message names it."""


@contextmanager
def exclusive_run(folder: Path) -> Iterator[None]:
    """Hold the run's lock, which this thread may have already. Raises RunBusy at once if another process or
    thread has it. Machines that share the
    folder over a network file system exclude each other only where that file system passes locks on (NFSv4
    does)."""
    mine = _held.__dict__.setdefault("folders", set())
    if folder.resolve() in mine:
        yield
        return
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    # The folder may be shared with others: a link in place of the lock must not make us truncate another
    # file.
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            raise RunBusy(
                f"{folder}: process {holder or '?'} trains this run; wait until it ends, or stop it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        mine.add(folder.resolve())
        yield
    finally:
        mine.discard(folder.resolve())
        if is_new and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()  # a run that was refused before it began leaves no folder
            folder.rmdir()
        os.close(descriptor)
