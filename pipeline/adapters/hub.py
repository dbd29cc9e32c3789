"""Lists the files of a data set on the Hub, with the content hashes that the Hub states. Nothing is
downloaded until it is read.
"""

from __future__ import annotations

from typing import Any

from pipeline.adapters import SourceError, SourceFile, refused_file
from pipeline.adapters.source_policy import printable, refused


def hub_files(source: str, suffixes: tuple[str, ...]) -> list[SourceFile]:
    """The files with one of the suffixes in a data set `OWNER/NAME` or `OWNER/NAME@REVISION`.

    Raises SourceError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    name, _, revision = source.partition("@")
    try:
        info = HfApi().dataset_info(name, revision=revision or None, files_metadata=True)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{source} is not a local file or folder, and cannot be read from the Hub: {reason}"
        ) from error
    folder, base = name.rpartition("/")[2], f"hf://datasets/{name}@{info.sha}"
    return [
        hub_file(f"{base}/{one.rfilename}", f"{folder}/{one.rfilename}", one)
        for one in info.siblings or []
        if one.rfilename.endswith(suffixes) and not one.rfilename.rpartition("/")[2].startswith("._")
    ]


def hub_file(path: str, name: str, sibling: Any) -> SourceFile:
    """A file under the name its owner gave it; a name that could point to another file is refused."""
    if name != printable(name) or {"", ".", ".."} & set(name.split("/")):
        fault = refused("an invalid file name in a data set", name, "rename it there")
        return refused_file(path, printable(name), str(fault))
    return SourceFile(path, name, content_name(sibling), sibling.size or 0)


def content_name(sibling: Any) -> str:
    """SHA-256 of a large file, or the id of the git blob of a small file, which is a content hash too."""
    return sibling.lfs.sha256 if sibling.lfs is not None else f"git-blob-{sibling.blob_id}"
