"""The members of a .zip file as bytes, bounded in size; also those that are compressed with Zstandard, which
`zipfile` reads from Python 3.14 on (APPNOTE.TXT 4.4.5, method 93).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any, BinaryIO

import pyarrow as pa

STORED, DEFLATED, ZSTANDARD = 0, 8, 93
ENCRYPTED = 1
LOCAL_HEADER_BYTES, LOCAL_HEADER_MARK = 30, b"PK\x03\x04"
READ_BYTES = 1 << 16
# What a broken or unsupported archive raises while it is read.
BROKEN = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
)


class MemberTooLargeError(ValueError):
    """A member has more bytes than its reader takes."""


def member_bytes(stream: BinaryIO, member: zipfile.ZipInfo, most: int) -> bytes:
    """The content of a member of the archive in `stream`.

    Raises MemberTooLargeError beyond `most` bytes, and one of BROKEN for what cannot be read.
    """
    if member.flag_bits & ENCRYPTED:
        raise ValueError("an encrypted member")
    if member.compress_size > most:
        raise MemberTooLargeError(f"more than {most:,} bytes")
    stored = stored_bytes(stream, member)
    if member.compress_type == STORED:
        whole = bounded(io.BytesIO(stored), most)
    elif member.compress_type == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        whole = inflater.decompress(stored, most + 1)
    elif member.compress_type == ZSTANDARD:
        whole = zstandard(stored, most)
    else:
        raise ValueError(f"compression method {member.compress_type}")
    if len(whole) > most:
        raise MemberTooLargeError(f"more than {most:,} bytes")
    if zlib.crc32(whole) != member.CRC:
        raise ValueError("its checksum is wrong")
    return whole


def zstandard(stored: bytes, most: int) -> bytes:
    try:
        with pa.CompressedInputStream(pa.PythonFile(io.BytesIO(stored), mode="r"), "zstd") as content:
            return bounded(content, most)
    except OSError as error:
        raise ValueError(f"broken Zstandard: {error}") from error


def bounded(content: Any, most: int) -> bytes:
    """The content, or its first bytes if it has more than `most`."""
    whole = bytearray()
    while len(whole) <= most and (block := content.read(READ_BYTES)):
        whole += block
    return bytes(whole)


def stored_bytes(stream: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    """The compressed bytes of a member, which follow its local header."""
    stream.seek(member.header_offset)
    header = stream.read(LOCAL_HEADER_BYTES)
    if len(header) < LOCAL_HEADER_BYTES or header[:4] != LOCAL_HEADER_MARK:
        raise ValueError("no local header where the directory says")
    name_bytes, extra_bytes = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    stream.seek(name_bytes + extra_bytes, io.SEEK_CUR)
    stored = stream.read(member.compress_size)
    if len(stored) < member.compress_size:
        raise ValueError("the file is truncated")
    return stored
