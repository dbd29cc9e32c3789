"""GGUF files: their weights are unpacked, so that they can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def gguf_source(path: Path) -> tuple[str, dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"no GGUF file at {path}")
    return str(path.parent), {"gguf_file": path.name}


def dequantised() -> Any:
    try:
        import accelerate  # noqa: F401  (transformers loads no GGUF file without it)
        import gguf  # noqa: F401
        from transformers import GgufConfig
    except ImportError as error:
        raise ImportError(
            f"a GGUF model needs the extra `gguf` ({error.name} is missing): pip install 'spo[gguf]'"
        ) from error
    return GgufConfig(dequantize=True)
