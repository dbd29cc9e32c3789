"""Which Prefect server uses a data folder: one at a time, which holds a lock while it runs.

The server locks `server.json`, and writes its address there once it listens. A client that finds the file
locked and an address in it therefore talks to that server, and not to a process that has taken its port
since. The kernel releases the lock however the server ends. Commands that use the server share a second lock;
a server that a command started exits when no process holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

_RECORD, _USERS = "server.json", "server.users"
# `find` holds the lock for microseconds; a server that starts just then tries again.
_ATTEMPTS, _ATTEMPT_WAIT_S = 25, 0.02

_joined: dict[Path, IO[str]] = {}


class ServerError(RuntimeError):
    """Prefect's server cannot be started or used. The message is one line that says what to do."""


@dataclass(frozen=True)
class ServerRecord:
    """What a server writes about itself.

    `url`: the address of its API, None until it listens. `embedded`: it exits with the commands that use it.
    """

    pid: int
    embedded: bool
    url: str | None = None


def claim(home: Path, embedded: bool) -> IO[str] | None:
    """Become the server of a data folder, until the file is closed; None if another process is its server."""
    file = _opened(home / _RECORD)
    for attempt in range(_ATTEMPTS):
        if _locked(file, fcntl.LOCK_EX):
            write(file, ServerRecord(os.getpid(), embedded))
            return file
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_ATTEMPT_WAIT_S)
    file.close()
    return None


def write(file: IO[str], record: ServerRecord) -> None:
    """Write a record into the file that `claim` returned."""
    text = json.dumps(asdict(record)).encode()
    os.ftruncate(file.fileno(), 0)
    os.pwrite(file.fileno(), text, 0)


def find(home: Path) -> ServerRecord | None:
    """The server that uses a data folder, or is starting to; None if there is none."""
    path = home / _RECORD
    if not path.exists():
        return None
    with open(path) as file:
        if _locked(file, fcntl.LOCK_SH):
            return None
        try:
            return ServerRecord(**json.loads(file.read()))
        except (ValueError, TypeError):
            return ServerRecord(pid=0, embedded=True)  # it holds the lock and has not written its record yet


def join(home: Path) -> None:
    """Use the server of a data folder until this process exits. Waits for a server that is about to exit."""
    if home not in _joined:
        _joined[home] = file = _opened(home / _USERS)
        fcntl.flock(file, fcntl.LOCK_SH)


def unused(file: IO[str]) -> bool:
    """Whether no command uses the server. If so, no command can join until the file is closed."""
    return _locked(file, fcntl.LOCK_EX)


def users_file(home: Path) -> IO[str]:
    """The file that a server passes to `unused`."""
    return _opened(home / _USERS)


def _opened(path: Path) -> IO[str]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(handle, "r+")


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
