"""A full disk is reported in one line: what could not be written, and how to go on when there is room."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The disk, the user's quota, the process's limit on the size of a file.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# The same in messages of libraries written in Rust, which carry no number.
_MARKS = ("No space left on device", *(f"os error {number})" for number in _FULL))
# torch.save reports a write that came short, and not why.
_TORCH_MARKS = ("iostream error", "PytorchStreamWriter failed writing")


class DiskFull(RuntimeError):
    """Something could not be written because the disk is full; nothing of it is visible under its name."""


@contextmanager
def full_disk_named(what: Path | str) -> Iterator[None]:
    """Raise DiskFull, with what was to be written, in place of the error of whichever library met it."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DiskFull(
            f"{what}: cannot be written: {reason}; make room, then the same command goes on from the last"
            " checkpoint"
        ) from error


def _reason(error: BaseException) -> str | None:
    """The system's words for a full disk, anywhere in the chain of an error; None if it is another error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return seen.strerror or "No space left on device"
        if any(mark in str(seen) for mark in _MARKS):
            return next(line.strip() for line in str(seen).splitlines() if any(m in line for m in _MARKS))
        if isinstance(seen, RuntimeError) and any(mark in str(seen) for mark in _TORCH_MARKS):
            return "a write was refused, as on a full disk"
        seen = seen.__cause__ or seen.__context__
    return None
