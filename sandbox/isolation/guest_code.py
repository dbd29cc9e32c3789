"""The supervisor's code for bubblewrap jails: compiled once per process, since every program has a jail."""

from __future__ import annotations

import importlib._bootstrap_external as bootstrap
import os
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent / "guest"


@cache
def files() -> dict[str, int]:
    """{file name: descriptor} of the supervisor's modules as .pyc memory files.

    Rewind them before each use.
    """
    sources = {}
    for source in sorted(SOURCE.glob("*.py")):
        if source.name not in ("__init__.py", "confine.py"):
            code = compile(
                source.read_bytes(), f"/guest/{source.name}", "exec", dont_inherit=True, optimize=0
            )
            descriptor = os.memfd_create(source.stem)
            os.write(descriptor, bootstrap._code_to_timestamp_pyc(code))  # type: ignore[attr-defined]
            sources[f"{source.stem}.pyc"] = descriptor
    return sources
