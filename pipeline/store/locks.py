"""Who waits for whom on one machine: locks that the kernel frees however their holder ends.

`alone` is for one kind of work on one store, so that no program is judged and no row appended twice; `one_of` is for what is
scarce on the machine whatever the store, its processors first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOOK_AGAIN_S = 0.5


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def alone(store: str, work: str, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Be the only process of this machine that does this work on this store; wait for another that does, and `tell` for which.

    Not to be entered twice by one process. Machines do not see each other's locks.
    """
    with opened(lock_path(store, work)) as file:
        if not taken(file):
            tell(f"{work}: waits for process {holder(file)}, which does the same on this store")
            fcntl.flock(file, fcntl.LOCK_EX)
        sign(file)
        yield


@contextmanager
def one_of(places: int, what: str, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Take one of so many places of this machine's user, e.g. among those that fill all processors; wait until one is free."""
    files = [opened(machine_locks() / f"{what}-{number}") for number in range(places)]
    try:
        waiting = False
        while (free := next(filter(taken, files), None)) is None:
            if not waiting:
                tell(f"{what}: waits for {' or '.join(f'process {holder(file)}' for file in files)}")
            waiting = True
            time.sleep(LOOK_AGAIN_S)
        sign(free)
        yield
    finally:
        for file in files:
            file.close()


def lock_path(store: str, work: str) -> Path:
    """In a store that is a folder, so that everybody who uses it meets; of others, in this user's temporary files."""
    if "://" not in store:
        return Path(store).resolve() / ".locks" / work
    return (
        machine_locks() / f"{hashlib.blake2b(store.rstrip('/').encode(), digest_size=8).hexdigest()}-{work}"
    )


def machine_locks() -> Path:
    return Path(tempfile.gettempdir()) / f"spo-locks-{os.getuid()}"


def opened(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a+")


def taken(file: IO[str]) -> bool:
    """Take the lock of a file, if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(file: IO[str]) -> None:
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "?"
