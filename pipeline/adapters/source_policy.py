"""The source policy: limits what an untrusted source can make this program open, read and expand.

All adapters open files of a source through this module:

* Links are followed only inside the source. FIFOs, sockets and devices are never opened.
* A compressed file or a table expands to at most `EXPANSION_RATIO` times its stored size, or to
  `EXPANSION_FLOOR_BYTES`.
* The constants below bound rows, folders, nesting and names.

If the policy forbids reading something, it raises `SourceRefused`: one line with the kind, the name, and what
to do. Ingestion puts this line into the quarantine and continues with the next file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BufferedReader
from pathlib import Path
from typing import Any

# Expanded bytes per stored byte. Programs and statements compress 3 to 20 times, repetitive rollouts up to
# 100 times.
EXPANSION_RATIO = 200
EXPANSION_FLOOR_BYTES = 512 << 20
MAX_EXPANDED_BYTES = 1 << 40
# A file may have this many rows, and one more per stored byte.
FREE_ROWS = 100_000
MAX_ROW_BYTES = 64 << 20
MAX_JSON_DEPTH = 200
MAX_FOLDER_DEPTH = 32
MAX_FOLDER_ENTRIES = 200_000
MAX_TREE_ENTRIES = 1_000_000
MAX_PLAIN_NAME_BYTES = 100
FOLDER_KIND, FOLDER_ADVICE = "a folder named like a file", "rename it, or ingest it separately"
# Errors that are about the file that was opened; all others are about this machine.
FILE_ERRORS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
}
NETWORK_LIBRARIES = {"httpx", "httpcore", "requests", "urllib3", "aiohttp", "huggingface_hub"}
SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class SourceError(ValueError):
    """A source or adapter cannot be used at all; the message says what is missing and where."""


class SourceRefused(SourceError):
    """A file or folder of a source is not read. The message is one line: `kind: name; what to do`."""


def refused(kind: str, name: str, advice: str) -> SourceRefused:
    return SourceRefused(f"{kind}: {printable(name)}; {advice}")


def printable(text: str) -> str:
    """The text with escapes for characters that are not printable, such as control characters and invalid
    UTF-8.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_plain_name(name: str) -> bool:
    """Whether a file name is safe to create in one of our folders and to pass to a compiler."""
    fits = name.isprintable() and 0 < len(name.encode()) <= MAX_PLAIN_NAME_BYTES
    return fits and "/" not in name and name[0] not in "-."


def allowed_bytes(stored_bytes: int) -> int:
    """Largest expanded size of a compressed file or a table with that stored size."""
    return min(MAX_EXPANDED_BYTES, max(EXPANSION_FLOOR_BYTES, EXPANSION_RATIO * stored_bytes))


def allowed_rows(stored_bytes: int) -> int:
    """Largest number of rows, blank ones included, of a file with that stored size."""
    return FREE_ROWS + stored_bytes


def too_large(name: str, stored_bytes: int) -> SourceRefused:
    return refused(
        f"expands to more than {allowed_bytes(stored_bytes):,} bytes",
        name,
        f"it is stored in {stored_bytes:,} bytes; if that is right, store it as plain JSON lines",
    )


def too_many_rows(name: str, stored_bytes: int) -> SourceRefused:
    return refused(
        f"more than {allowed_rows(stored_bytes):,} rows",
        name,
        f"it is stored in {stored_bytes:,} bytes; if that is right, store it as plain JSON lines",
    )


def is_too_deep(value: Any, limit: int = MAX_JSON_DEPTH) -> bool:
    """Whether lists and objects are nested deeper than `limit`."""
    level = [value] if type(value) in (dict, list) else []
    for _ in range(limit):
        if not level:
            return False
        children = (one.values() if type(one) is dict else one for one in level)
        level = [child for held in children for child in held if type(child) in (dict, list)]
    return bool(level)


def allowed_roots(root: Path) -> tuple[str, ...]:
    """The folders where files of a source may be: its own and, in the Hub's cache, the blobs of the
    snapshot.
    """
    real = Path(os.path.realpath(root if root.is_dir() else root.parent))
    for folder in (real, *real.parents):
        is_snapshot = folder.parent.name == "snapshots"
        if is_snapshot and folder.parent.parent.name.startswith(("datasets--", "models--", "spaces--")):
            return str(real), str(folder.parent.parent / "blobs")
    return (str(real),)


def is_inside(real: str, roots: tuple[str, ...]) -> bool:
    return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)


def open_regular(path: str, roots: tuple[str, ...], name: str) -> BufferedReader:
    """Open a regular file of a source for reading. Raises SourceRefused.

    The target of a link must be in one of `roots`; no roots means that the user named this file itself. The
    checks use a descriptor opened with O_PATH, so a device is not touched, and the file that is checked is
    the file that is opened.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise open_refusal(error, path, name) from error
    try:
        real = os.readlink(f"/proc/self/fd/{handle}")
        if roots and not is_inside(real, roots):
            raise link_outside_source(name)
        refuse_special(os.fstat(handle), name)
        stream = open(f"/proc/self/fd/{handle}", "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise open_refusal(error, path, name) from error
    finally:
        os.close(handle)
    try:
        refuse_sparse(stream, name)
    except SourceRefused:
        stream.close()
        raise
    return stream


def read_bounded(path: str, roots: tuple[str, ...], name: str, limit_bytes: int) -> bytes:
    """The content of a file of a source. Raises SourceRefused, also for a file of more than `limit_bytes`."""
    with open_regular(path, roots, name) as stream:
        content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise refused(f"a file of more than {limit_bytes:,} bytes", name, "make it smaller")
    return content


def fingerprint(path: str, roots: tuple[str, ...], name: str) -> tuple[str, int]:
    """(SHA-256, size in bytes) of a file of a source. Raises SourceRefused."""
    with open_regular(path, roots, name) as stream:
        status = os.fstat(stream.fileno())
        known = _fingerprints.get()
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if known is None or key not in known:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if known is None:
                return digest, status.st_size
            known[key] = digest
        return known[key], status.st_size


# Device, inode, size and time of a file -> SHA-256.
Fingerprints = dict[tuple[int, int, int, int], str]
_fingerprints: ContextVar[Fingerprints | None] = ContextVar("_fingerprints", default=None)


@contextmanager
def fingerprints_kept() -> Iterator[None]:
    """Within this context a file is read once for its fingerprint, however often it is asked for."""
    token = _fingerprints.set({})
    try:
        yield
    finally:
        _fingerprints.reset(token)


def stored_size(stream: Any, stated: int = 0) -> int:
    """Size of an open local file, or the size that the Hub states for a remote one."""
    try:
        return os.fstat(stream.fileno()).st_size
    except (AttributeError, OSError):
        return stated


def link_outside_source(name: str) -> SourceRefused:
    return refused("a link that leads out of the source", name, "replace it by the file itself")


def open_refusal(error: OSError, path: str, name: str) -> OSError | SourceRefused:
    """The refusal for an error of opening a file; the error itself if it is about this machine."""
    if is_machine_error(error):
        return error
    if error.errno == errno.ELOOP:
        return refused("a circle of links", name, "replace it by the file itself")
    if error.errno == errno.ENOENT and os.path.islink(path):
        return refused("a link to a missing file", name, "remove it, or replace it by the file itself")
    if error.errno in (errno.EACCES, errno.EPERM):
        return refused("not readable by this user", name, "change its permissions")
    return refused(f"cannot be opened ({error.strerror})", name, "fix or remove it")


def is_machine_error(error: BaseException) -> bool:
    """Whether reading failed because of this machine (disk, network), so that it may succeed later."""
    if isinstance(error, OSError):
        return error.errno not in FILE_ERRORS
    return type(error).__module__.partition(".")[0] in NETWORK_LIBRARIES


def refuse_special(status: os.stat_result, name: str) -> None:
    """Raise SourceRefused for anything but a regular file."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise refused(FOLDER_KIND, name, FOLDER_ADVICE)
    if kind != stat.S_IFREG:
        raise refused(f"{SPECIAL.get(kind, 'a special file')} instead of a file", name, "remove it")


def refuse_sparse(stream: BufferedReader, name: str) -> None:
    """Raise SourceRefused for a sparse file with almost no data: it needs no disk space but hours to read."""
    status = os.fstat(stream.fileno())
    allocated = status.st_blocks * 512
    if status.st_size <= allowed_bytes(allocated):
        return
    if not allocated:
        # Some file systems report no blocks; there, only a file without any data counts as sparse.
        try:
            os.lseek(stream.fileno(), 0, os.SEEK_DATA)
            return
        except OSError as error:
            if error.errno != errno.ENXIO:
                return
        finally:
            os.lseek(stream.fileno(), 0, os.SEEK_SET)
    raise refused(
        f"a sparse file of {status.st_size:,} bytes with almost no data",
        name,
        "remove it, or truncate it to its data",
    )
