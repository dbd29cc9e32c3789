"""The secret of Prefect's server, generated once per data folder.

Our own commands and their child processes read it from the folder. It has the form `USER:PASSWORD`, and the
login page of the UI asks for all of it. A secret in the environment takes precedence:
PREFECT_SERVER_API_AUTH_STRING for the server, PREFECT_API_AUTH_STRING for both sides.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from flows.runtime.record import ServerError

CLIENT, SERVER = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"
_FILE_NAME = "secret"
_USER = "spo"


def server_secret(home: Path) -> str:
    """The secret that a server of this data folder requires: the user's own, else the folder's."""
    return explicit_secret() or folder_secret(home)


def explicit_secret(names: tuple[str, ...] = (SERVER, CLIENT)) -> str | None:
    """The secret in the environment, if there is one. Raises ServerError if it is not USER:PASSWORD."""
    for name in names:
        if (value := os.environ.get(name)) is not None:
            return _checked(value, name)
    return None


def folder_secret(home: Path) -> str:
    """The secret of a data folder, generated if missing. Raises ServerError if other users can read it."""
    path = home / _FILE_NAME
    for _ in range(2):
        try:
            return _read(path)
        except FileNotFoundError:
            _generate(path)
    raise ServerError(f"{path} was removed while it was read; run the command again")


def _generate(path: Path) -> None:
    """Create the secret file atomically, so that two processes that start at once read the same secret."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".secret-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{_USER}:{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)


def _read(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ServerError(f"{path}: {error.strerror}; remove it to generate a new secret") from error
    with os.fdopen(handle) as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise ServerError(f"{path} is not a regular file of this user; remove it, or set {CLIENT}")
        if status.st_mode & 0o077:
            raise ServerError(f"{path} can be read by other users; remove it to generate a new secret")
        return _checked(file.read(1024).strip(), str(path))


def _checked(secret: str, source: str) -> str:
    """The secret, if Prefect can use it: Prefect compares ASCII only, and treats an empty secret as none."""
    user, colon, password = secret.partition(":")
    if not (user and colon and password and secret.isascii() and secret.isprintable()) or " " in secret:
        raise ServerError(f"{source}: not a secret; give USER:PASSWORD in ASCII, without spaces")
    return secret
