"""What this machine offers, found out by doing."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from sandbox import probe


def examine(data: Path) -> dict:
    """`sandbox`: whether programs can be run at all; `lines`: (what, finding) for a person."""
    import torch

    found = probe()
    place = next(folder for folder in [data.resolve(), *data.resolve().parents] if folder.exists())
    device = (
        torch.cuda.get_device_name(0)
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    lines = [
        ("python", platform.python_version()),
        ("torch", f"{torch.__version__} on {device}"),
        ("disk", f"{shutil.disk_usage(place).free / 1e9:.1f} GB free at {place}"),
        ("sandbox", f"{found.tier} ({found.engine})" if found.tier else f"NONE: {found.why_not}"),
        ("supervisor", f"{found.supervisor} (runs compiled programs in the jail)"),
        *((name, version or "language unavailable") for name, version in found.languages.items()),
    ]
    return {"sandbox": found.tier is not None, "lines": lines}
