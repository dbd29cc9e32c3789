"""One process at a time: a lock on a store for one kind of work, on one machine, freed by the kernel however its holder ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.engine import DATA
from flows.terminal import console


@contextmanager
def alone(store: str, work: str) -> Iterator[None]:
    """Be the only process of this machine that does this work on this store; wait for another that does."""
    path = lock_path(store, work)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "?"
            console.print(f"{work}: waits for process {other}, which does the same on this store", highlight=False, markup=False)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def lock_path(store: str, work: str) -> Path:
    """In a store that is a folder, so that everybody who uses it meets; of others, in the data folder."""
    if "://" not in store:
        return Path(store).resolve() / ".locks" / work
    return DATA / "locks" / f"{hashlib.blake2b(store.rstrip('/').encode(), digest_size=8).hexdigest()}-{work}"
