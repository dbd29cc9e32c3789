"""Who waits for whom on one machine: locks that the kernel frees however their holder ends.

`exclusive` is for one kind of work on one store, so that no program is judged and no row appended twice.
`one_slot` is for what is scarce on the machine whatever the store, first of all its processors.

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


def print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def exclusive(store: str, work: str, report: Callable[[str], None] = print_to_stderr) -> Iterator[None]:
    """Be the only process of this machine that does this work on this store; wait for another that does, and
    `report` it.

    Not to be entered twice by one process. Machines do not see each other's locks. Raises PrivateFolderError
    where a lock is not a plain file.
    """
    with ExitStack() as stack:
        own = stack.enter_context(open_lock(lock_path(store, work)))
        if not try_lock(own):
            report(f"{work}: waits for {holder(own)}, which does the same on this store")
            fcntl.flock(own, fcntl.LOCK_EX)
        sign(own)
        if (path := shared_path(store, work)) is not None:
            shared = stack.enter_context(open_shared_lock(path))
            if not try_lock(shared):
                report(f"{work}: waits for another user, who does the same on this store")
                fcntl.flock(shared, fcntl.LOCK_EX)
        yield


@contextmanager
def one_slot(slots: int, what: str, report: Callable[[str], None] = print_to_stderr) -> Iterator[None]:
    """Hold one of `slots` slots of this machine's user, such as those that fill all processors; wait until
    one is free.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_lock(machine_lock(f"{what}-{number}"))) for number in range(slots)]
        waiting = False
        while (free := next(filter(try_lock, files), None)) is None:
            if not waiting:
                report(f"{what}: waits for {' or '.join(map(holder, files))}")
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


def open_lock(path: Path) -> IO[str]:
    return os.fdopen(open_regular(path, os.O_RDWR), "r+")


def open_shared_lock(path: Path) -> IO[str]:
    """A file that is locked and never written, for others may have made it."""
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True)
    return os.fdopen(open_regular(path, os.O_RDONLY, 0o644), "r")


def try_lock(file: IO[str]) -> bool:
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
    text = file.read(20).strip()
    return f"process {text if text.isdecimal() else '?'}"
