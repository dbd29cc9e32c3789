"""Problem packages in .zip and .kpp files, under the source policy.

A file may hold one package, at its top or in a folder, or several in folders. What is inside is bounded in
number, in size and in its ratio to the stored size. A package is extracted to a temporary folder while it is
read; its links are followed only inside it.
"""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.adapters.source_policy import (
    MAX_FOLDER_DEPTH,
    SourceRefused,
    allowed_bytes,
    open_regular,
    printable,
    refused,
)
from pipeline.adapters.source_tree import LEFTOVER_NAMES

ZIPPED = (".zip", ".kpp")
MAX_MEMBERS = 100_000
MAX_MEMBERS_OF_PACKAGE = 20_000
MAX_UNPACKED_BYTES = 2 << 30
MAX_NAME_CHARACTERS = 1_000
COPY_BYTES = 1 << 20
ENCRYPTED = 1
ADVICE = "extract it, and ingest the folder"
# What a broken or unsupported archive raises while it is read.
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError)


def packages_inside(path: str, roots: tuple[str, ...], name: str, markers: tuple[str, ...]) -> list[str]:
    """The folders in an archive that hold a package ("" is its top), without those below another one.

    Raises SourceRefused.
    """
    with opened(path, roots, name) as archive:
        folders = sorted(
            {
                member.filename.rpartition("/")[0]
                for member in archive.infolist()
                if member.filename.rpartition("/")[2] in markers and not is_leftover(member.filename)
            }
        )
    names: list[str] = []
    for folder in folders:
        safe_path(folder or "top", name)
        if not any(above == "" or folder.startswith(f"{above}/") for above in names):
            names.append(folder)
    return names


@contextmanager
def extracted(path: str, roots: tuple[str, ...], name: str, folder: str) -> Iterator[Path]:
    """A temporary folder with the package in `folder` of an archive. Raises SourceRefused."""
    with tempfile.TemporaryDirectory(prefix="spo-package-") as scratch:
        with opened(path, roots, name) as archive:
            extract(archive, Path(scratch), name, folder, allowed_bytes(os.path.getsize(path)))
        yield Path(scratch)


@contextmanager
def opened(path: str, roots: tuple[str, ...], name: str) -> Iterator[zipfile.ZipFile]:
    try:
        with open_regular(path, roots, name) as stream, zipfile.ZipFile(stream) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise refused(f"an archive of more than {MAX_MEMBERS:,} files", name, ADVICE)
            yield archive
    except SourceRefused:
        raise
    except BROKEN as error:
        raise refused(
            f"an archive that cannot be read ({printable(str(error))[:100]})", name, ADVICE
        ) from error


def extract(archive: zipfile.ZipFile, target: Path, name: str, folder: str, most_bytes: int) -> None:
    """Write the files of a package, then its links: no file is written through a link. Raises
    SourceRefused.
    """
    prefix = f"{folder}/" if folder else ""
    members = [
        member
        for member in archive.infolist()
        if member.filename.startswith(prefix) and not member.is_dir() and not is_leftover(member.filename)
    ]
    if len(members) > MAX_MEMBERS_OF_PACKAGE:
        raise refused(f"a package of more than {MAX_MEMBERS_OF_PACKAGE:,} files", name, "it is not a package")
    left = min(most_bytes, MAX_UNPACKED_BYTES)
    links: list[tuple[Path, str]] = []
    for member in members:
        path = target / safe_path(member.filename.removeprefix(prefix), name)
        if member.flag_bits & ENCRYPTED:
            raise refused("an encrypted archive", name, ADVICE)
        if stat.S_ISLNK(member.external_attr >> 16):
            links.append((path, archive.read(member).decode("utf-8", "surrogateescape")))
            continue
        left = copy(archive, member, path, left, name)
    for path, to in links:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(to, path)
        except (FileExistsError, NotADirectoryError, ValueError) as error:
            raise refused("two entries of one name in an archive", name, ADVICE) from error


def copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, left: int, name: str) -> int:
    """Write one file. Returns how many bytes may still follow. Raises SourceRefused."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, path.open("xb") as target:
            while block := source.read(COPY_BYTES):
                left -= len(block)
                if left < 0:
                    raise refused("expands to more bytes than its stored size allows", name, ADVICE)
                target.write(block)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise refused("two entries of one name in an archive", name, ADVICE) from error
    return left


def safe_path(member: str, name: str) -> str:
    """The path of a member below its package. Raises SourceRefused for one that may lead elsewhere."""
    parts = member.split("/")
    is_bad = len(member) > MAX_NAME_CHARACTERS or len(parts) > MAX_FOLDER_DEPTH or "\0" in member
    if is_bad or any(part in ("", ".", "..") or len(part.encode(errors="replace")) > 255 for part in parts):
        raise refused(f"an archive with the unsafe path {printable(member)[:80]!r}", name, ADVICE)
    return member


def is_leftover(member: str) -> bool:
    """Whether a file is one that macOS or Windows adds to archives."""
    return any(part in LEFTOVER_NAMES or part.startswith("._") for part in member.split("/"))
