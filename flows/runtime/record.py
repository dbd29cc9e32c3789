"""Which Prefect server works on a data folder: one at a time, which holds a lock for as long as it lives.

The server holds `server.json`, where it notes its address once it listens, so that a client that finds the file locked and an address
in it talks to that server and to nobody who took its port since. The kernel frees the lock however the server ends. Every
command that uses a server of the folder shares a second lock; a server that was started by a command ends when nobody shares it.
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
# Looking at a lock takes it for some microseconds; a server that starts just then tries again.
_ATTEMPTS, _ATTEMPT_WAIT_S = 25, 0.02

_joined: dict[Path, IO[str]] = {}


class ServerError(RuntimeError):
    """Prefect's server cannot be started or used; one line with what to do."""


@dataclass(frozen=True)
class ServerRecord:
    """What a server notes of itself: `url` of its API, None until it listens; `embedded` if it ends with the commands that use it."""

    pid: int
    embedded: bool
    url: str | None = None


def claim(home: Path, embedded: bool) -> IO[str] | None:
    """Become the server of a data folder; None if another process is. To be kept open for as long as the server lives."""
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
    text = json.dumps(asdict(record)).encode()
    os.ftruncate(file.fileno(), 0)
    os.pwrite(file.fileno(), text, 0)


def find(home: Path) -> ServerRecord | None:
    """The server that works on a data folder now, or starts to; None if none does."""
    path = home / _RECORD
    if not path.exists():
        return None
    with open(path) as file:
        if _locked(file, fcntl.LOCK_SH):
            return None
        try:
            return ServerRecord(**json.loads(file.read()))
        except (ValueError, TypeError):
            return ServerRecord(pid=0, embedded=True)  # has the lock, and is about to note itself


def join(home: Path) -> None:
    """Use the server of a data folder until this process ends. Waits for one that is about to end because nobody used it."""
    if home not in _joined:
        _joined[home] = file = _opened(home / _USERS)
        fcntl.flock(file, fcntl.LOCK_SH)


def unused(file: IO[str]) -> bool:
    """Whether no command uses the server; from then on none can join before the file is closed."""
    return _locked(file, fcntl.LOCK_EX)


def users_file(home: Path) -> IO[str]:
    """What `unused` looks at, in a server."""
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
