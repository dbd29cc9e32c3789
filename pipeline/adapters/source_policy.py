"""What a source can make this program open, read and expand: the one policy that every adapter keeps.

A source may be made by a stranger. Adapters open its files here and nowhere else:

* A link is followed inside the source and never out of it. FIFOs, sockets and devices are never opened.
* A compressed file or a table expands to at most `EXPANSION_RATIO` times its stored size, or to
  `EXPANSION_FLOOR_BYTES`.
* Rows, folders, nesting and names are bounded by the constants below.

What the policy does not read is a `SourceRefused`: one line with the kind, the name, and what to do. Whoever
reads the source puts that line into the quarantine and goes on with the next file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

# Expanded bytes per stored byte. Programs and statements compress 3 to 20 times, very repetitive rollouts 100
# times.
EXPANSION_RATIO = 200
EXPANSION_FLOOR_BYTES = 512 << 20
MAX_EXPANDED_BYTES = 1 << 40
# Beyond these, a stored byte may make one row at most.
FREE_ROWS = 100_000
MAX_ROW_BYTES = 64 << 20
MAX_JSON_DEPTH = 200
MAX_FOLDER_DEPTH = 32
MAX_FOLDER_ENTRIES = 200_000
MAX_TREE_ENTRIES = 1_000_000
MAX_PLAIN_NAME_BYTES = 100
FOLDER_KIND, FOLDER_ADVICE = "a folder named like a file", "rename it, or ingest it by itself"
# Errors of opening a file that say something about the file; any other one is about this machine.
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
    """A source or adapter that cannot be used at all; the message says what was looked for and where."""


class SourceRefused(SourceError):
    """A file or folder of a source that is not read. The message is one line: `kind: name; what to do`."""


def refused(kind: str, name: str, advice: str) -> SourceRefused:
    return SourceRefused(f"{kind}: {printable(name)}; {advice}")


def printable(text: str) -> str:
    """The text with every character escaped that a terminal would not print: control characters, bytes
    that are not UTF-8.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_plain_name(name: str) -> bool:
    """Whether a file name is safe to create in a folder of ours and to hand to a compiler."""
    fits = name.isprintable() and 0 < len(name.encode()) <= MAX_PLAIN_NAME_BYTES
    return fits and "/" not in name and name[0] not in "-."


def allowed_bytes(stored_bytes: int) -> int:
    """How far a compressed file or a table of that stored size may expand."""
    return min(MAX_EXPANDED_BYTES, max(EXPANSION_FLOOR_BYTES, EXPANSION_RATIO * stored_bytes))


def allowed_rows(stored_bytes: int) -> int:
    """How many rows, blank ones included, a file of that stored size may hold."""
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


def places_of(root: Path) -> tuple[str, ...]:
    """The folders in which files of a source may really be: its own and, for a snapshot in the Hub's
    cache, the blobs beside it.
    """
    real = Path(os.path.realpath(root if root.is_dir() else root.parent))
    for folder in (real, *real.parents):
        is_snapshot = folder.parent.name == "snapshots"
        if is_snapshot and folder.parent.parent.name.startswith(("datasets--", "models--", "spaces--")):
            return str(real), str(folder.parent.parent / "blobs")
    return (str(real),)


def is_inside(real: str, places: tuple[str, ...]) -> bool:
    return any(real == place or real.startswith(place.rstrip("/") + "/") for place in places)


def open_regular(path: str, places: tuple[str, ...], name: str) -> BufferedReader:
    """Open a regular file of a source for reading. Raises SourceRefused.

    What a link leads to must be in one of `places`; without places the user named this very file. The checks
    look at a descriptor that opens nothing (O_PATH), so a device is not touched, and the file checked is the
    file opened.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise refusal_of(error, path, name) from error
    try:
        real = os.readlink(f"/proc/self/fd/{handle}")
        if places and not is_inside(real, places):
            raise leads_out(name)
        refuse_special(os.fstat(handle), name)
        stream = open(f"/proc/self/fd/{handle}", "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise refusal_of(error, path, name) from error
    finally:
        os.close(handle)
    try:
        refuse_holes(stream, name)
    except SourceRefused:
        stream.close()
        raise
    return stream


def read_bounded(path: str, places: tuple[str, ...], name: str, limit_bytes: int) -> bytes:
    """The content of a file of a source. Raises SourceRefused, also for a file of more than `limit_bytes`."""
    with open_regular(path, places, name) as stream:
        content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise refused(f"a file of more than {limit_bytes:,} bytes", name, "make it smaller")
    return content


def fingerprint(path: str, places: tuple[str, ...], name: str) -> tuple[str, int]:
    """(SHA-256, size in bytes) of a file of a source. Raises SourceRefused."""
    with open_regular(path, places, name) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), os.fstat(stream.fileno()).st_size


def stored_bytes_of(stream: Any, stated: int = 0) -> int:
    """Size of an open file here, or the size that the Hub states for one there."""
    try:
        return os.fstat(stream.fileno()).st_size
    except (AttributeError, OSError):
        return stated


def leads_out(name: str) -> SourceRefused:
    return refused("a link that leads out of the source", name, "put the file itself there")


def refusal_of(error: OSError, path: str, name: str) -> OSError | SourceRefused:
    """The refusal that an error of opening stands for; the error itself where it is about this machine and
    not about the file.
    """
    if is_about_this_machine(error):
        return error
    if error.errno == errno.ELOOP:
        return refused("links in a circle", name, "put the file itself there")
    if error.errno == errno.ENOENT and os.path.islink(path):
        return refused("a link that leads nowhere", name, "remove it, or put the file itself there")
    if error.errno in (errno.EACCES, errno.EPERM):
        return refused("not readable by this user", name, "give the permission to read it")
    return refused(f"cannot be opened ({error.strerror})", name, "repair or remove it")


def is_about_this_machine(error: BaseException) -> bool:
    """Whether reading failed for a disk, a network or the like, and not for what is in the file: then it
    can succeed later.
    """
    if isinstance(error, OSError):
        return error.errno not in FILE_ERRORS
    return type(error).__module__.partition(".")[0] in NETWORK_LIBRARIES


def refuse_special(facts: os.stat_result, name: str) -> None:
    """Raises SourceRefused for anything but a regular file."""
    kind = stat.S_IFMT(facts.st_mode)
    if kind == stat.S_IFDIR:
        raise refused(FOLDER_KIND, name, FOLDER_ADVICE)
    if kind != stat.S_IFREG:
        raise refused(f"{SPECIAL.get(kind, 'a special file')} and not a file", name, "remove it")


def refuse_holes(stream: BufferedReader, name: str) -> None:
    """Raises SourceRefused for a file that is nearly all a hole: it takes no room here and would take
    hours to read.
    """
    facts = os.fstat(stream.fileno())
    allocated = facts.st_blocks * 512
    if facts.st_size <= allowed_bytes(allocated):
        return
    if not allocated:
        # Some file systems state no blocks; there only a file without any data is known to be a hole.
        try:
            os.lseek(stream.fileno(), 0, os.SEEK_DATA)
            return
        except OSError as error:
            if error.errno != errno.ENXIO:
                return
        finally:
            os.lseek(stream.fileno(), 0, os.SEEK_SET)
    raise refused(
        f"a file of {facts.st_size:,} bytes that are nearly all a hole",
        name,
        "remove it, or cut it to its data",
    )
