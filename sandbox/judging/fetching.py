"""Files that a run has left in its working folder, where the submission asks for them (`fetch_files`)."""

from __future__ import annotations

import os
import stat

from sandbox.bounds import MIB
from sandbox.isolation import Session

MAX_FETCHED_BYTES = 16 * MIB  # of one run

Fetched = tuple[tuple[tuple[str, bytes], ...], str]


def fetch(session: Session, paths: tuple[str, ...]) -> Fetched:
    """The contents of the plain files among these paths, and "" or why none of them are there. A path that
    leads through a link, and what is not a plain file, count as missing.
    """
    files: list[tuple[str, bytes]] = []
    left = MAX_FETCHED_BYTES
    for path in dict.fromkeys(paths):
        descriptor = session.open_file(path)
        if descriptor is None:
            continue
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                continue
            contents = os.pread(descriptor, left + 1, 0)
        finally:
            os.close(descriptor)
        left -= len(contents)
        if left < 0:
            return (), f"the files to fetch hold more than {MAX_FETCHED_BYTES // MIB} MiB"
        files.append((path, contents))
    return tuple(files), ""
