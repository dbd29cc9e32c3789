"""A folder of this user on this machine: for locks, and for what a query puts on the disk while it runs.

Temporary files lie where every user may write. So the folder is taken only if it is a folder, no link,
belongs to this user, and lets nobody else in; files in it are opened without following links.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK, for opening a FIFO would wait for its other end.
OPEN_FILE = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What opening gives for a link, a folder, and a FIFO or device without its other end.
NOT_PLAIN = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


class PrivateFolderError(RuntimeError):
    """A folder or file that another user could have made or can change; the message names it and says what
    to do.
    """


def private_folder(name: str) -> Path:
    """The folder `name` among this user's own temporary files, made if it is missing; its mode is 0700.

    Raises PrivateFolderError where something else is in its place.
    """
    root = Path(tempfile.gettempdir()) / f"spo-{os.geteuid()}"
    for folder in (root, root / name):
        with suppress(FileExistsError):  # whatever is there is looked at next
            folder.mkdir(mode=0o700)
        check_private(folder)
    return root / name


def check_private(folder: Path) -> None:
    """Raise PrivateFolderError unless a path is a folder of this user that nobody else may enter."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        fault = "is not a folder"
    elif status.st_uid != os.geteuid():
        fault = f"belongs to user {status.st_uid}"
    elif status.st_mode & 0o077:
        fault = f"can be entered by others (mode {stat.S_IMODE(status.st_mode):04o})"
    else:
        return
    raise PrivateFolderError(f"{folder} {fault}: remove it, or set TMPDIR to a folder of your own")


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """A descriptor of a regular file in a folder, made with this mode if it is missing; neither of them is a
    link.

    Raises PrivateFolderError for a link, a FIFO or a device, and for a file that also has another name.
    """
    try:
        folder = os.open(path.parent, OPEN_FOLDER)
        try:
            descriptor = os.open(path.name, flags | OPEN_FILE, mode, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in NOT_PLAIN:
            raise PrivateFolderError(
                f"{path}: it or its folder is a link or no plain file; remove it"
            ) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise PrivateFolderError(f"{path}: not a plain file with one name; remove it")
    return descriptor
