"""Who waits for whom on one machine: locks that the kernel frees however their holder ends.

`alone` is for one kind of work on one store, so that no program is judged and no row appended twice; `one_of`
is for what is scarce on the machine whatever the store, its processors first.

Locks are files in a private folder of the user. Who uses a store as another user meets the others at a second
file in the store's own folder, which is locked and never written: what a colleague put there in its place is
not touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from pipeline.store.private_folder import open_regular, private_folder

LOOK_AGAIN_S = 0.5


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def alone(store: str, work: str, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Be the only process of this machine that does this work on this store; wait for another that does, and
    `tell` for which.

    Not to be entered twice by one process. Machines do not see each other's locks. Raises PrivateFolderError
    where a lock is not a plain file.
    """
    with ExitStack() as stack:
        mine = stack.enter_context(opened(lock_path(store, work)))
        if not taken(mine):
            tell(f"{work}: waits for {holder(mine)}, which does the same on this store")
            fcntl.flock(mine, fcntl.LOCK_EX)
        sign(mine)
        if (path := shared_path(store, work)) is not None:
            shared = stack.enter_context(opened_shared(path))
            if not taken(shared):
                tell(f"{work}: waits for another user, who does the same on this store")
                fcntl.flock(shared, fcntl.LOCK_EX)
        yield


@contextmanager
def one_of(places: int, what: str, tell: Callable[[str], None] = say) -> Iterator[None]:
    """Take one of so many places of this machine's user, e.g. among those that fill all processors; wait
    until one is free.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(opened(machine_lock(f"{what}-{number}"))) for number in range(places)]
        waiting = False
        while (free := next(filter(taken, files), None)) is None:
            if not waiting:
                tell(f"{what}: waits for {' or '.join(map(holder, files))}")
            waiting = True
            time.sleep(LOOK_AGAIN_S)
        sign(free)
        yield


def lock_path(store: str, work: str) -> Path:
    """The file of this user that stands for one kind of work on one store, wherever the store is."""
    place = store.rstrip("/") if "://" in store else str(Path(store).resolve())
    return machine_lock(f"{place}\0{work}")


def machine_lock(what: str) -> Path:
    return private_folder("locks") / hashlib.blake2b(what.encode(), digest_size=16).hexdigest()


def shared_path(store: str, work: str) -> Path | None:
    """The file in a local store where its users meet; None for a store elsewhere."""
    if "://" in store:
        return None
    return Path(store).resolve() / ".locks" / hashlib.blake2b(work.encode(), digest_size=16).hexdigest()


def opened(path: Path) -> IO[str]:
    return os.fdopen(open_regular(path, os.O_RDWR), "r+")


def opened_shared(path: Path) -> IO[str]:
    """A file that is locked and never written, for others may have made it."""
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True)
    return os.fdopen(open_regular(path, os.O_RDONLY, 0o644), "r")


def taken(file: IO[str]) -> bool:
    """Take the lock of a file, if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(file: IO[str]) -> None:
    file.seek(0)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def holder(file: IO[str]) -> str:
    file.seek(0)
    said = file.read(20).strip()
    return f"process {said if said.isdecimal() else '?'}"
