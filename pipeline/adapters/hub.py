"""Files of a data set on the Hub, named by their content as the Hub states it; nothing is downloaded before it is read."""

from __future__ import annotations

from pipeline.adapters import SourceError, SourceFile


def hub_files(source: str, suffixes: tuple[str, ...]) -> list[SourceFile]:
    """The files with one of these suffixes in a data set `OWNER/NAME` or `OWNER/NAME@REVISION`. Raises SourceError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    name, _, revision = source.partition("@")
    try:
        found = HfApi().dataset_info(name, revision=revision or None, files_metadata=True)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{source} is no file or folder here and not to be had from the Hub: {reason}"
        ) from error
    folder, base = name.rpartition("/")[2], f"hf://datasets/{name}@{found.sha}"
    return [
        SourceFile(f"{base}/{one.rfilename}", f"{folder}/{one.rfilename}", content_name(one), one.size or 0)
        for one in found.siblings or []
        if one.rfilename.endswith(suffixes)
    ]


def content_name(sibling) -> str:
    """SHA-256 of a large file's content; of a small one the id of its git blob, which names its content as well."""
    return sibling.lfs.sha256 if sibling.lfs is not None else f"git-blob-{sibling.blob_id}"
