"""The part `spo` of documents that this project wrote (`pipeline/corpora/interchange.py`)."""

from __future__ import annotations

from typing import Any


def own_columns(part: dict[str, Any], asked: Any, answer: Any) -> dict[str, Any]:
    """The columns of `trajectories` in a part `spo`, with the prompt and the answer that are beside it.

    Raises KeyError for a part without its flags.
    """
    own = dict(part)
    if own.pop("has_prompt"):
        own["prompt"] = asked
    if own.pop("has_completion"):
        own["completion"] = answer
    return own
