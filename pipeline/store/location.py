"""Where a store is: names of folders that every program which reads it takes for the same folder."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.store.errors import StoreError

# delta-rs decodes %41 and takes a backslash for a slash; [ ] ^ | end it; DuckDB takes * ? [ for patterns of
# names.
MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[\\\[\]^|*?\x00-\x1f\x7f]")


def local_folder(location: str) -> Path:
    """The folder, absolute. Raises StoreError for one whose name, or that of a folder above, delta-rs or
    DuckDB would misread.
    """
    folder = Path(location).resolve()
    if match := MISREAD.search(str(folder)):
        raise StoreError(
            f"a store cannot be in the folder {str(folder)!r}: {match[0]!r} in its path is taken for something else"
            f" by programs that read it; use another name"
        )
    return folder
