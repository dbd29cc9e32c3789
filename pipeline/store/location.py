"""Where a store is: names of folders that every program which reads it takes for the same folder."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.store.errors import StoreError
from pipeline.store.log_files import LOG_FOLDER

# delta-rs decodes %41 and takes a backslash for a slash; [ ] ^ | end it; DuckDB takes * ? [ for patterns of
# names; none of them opens a name that is not UTF-8.
MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|[\\\[\]^|*?\x00-\x1f\x7f\ud800-\udfff]")


def local_folder(location: str) -> Path:
    """The folder, absolute. Raises StoreError for one whose name, or that of a folder above, delta-rs or
    DuckDB would misread.
    """
    if location.startswith("file:"):
        raise StoreError(f"{location!r}: name a folder by its path, without file:")
    folder = Path(location).resolve()
    if wrong := misread_part(folder):
        raise StoreError(
            f"a store cannot be in the folder {str(folder)!r}:"
            f" programs that read it misinterpret {wrong!r} in its path; use another name"
        )
    return folder


def misread_part(folder: Path) -> str | None:
    if match := MISREAD.search(str(folder)):
        return match[0]
    return LOG_FOLDER if LOG_FOLDER in folder.parts else None
