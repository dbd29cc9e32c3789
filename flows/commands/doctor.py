"""`spo doctor`: what this machine offers."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import typer

from flows.commands.common import (
    DATA,
    JsonOption,
)


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine offers: isolation, languages, torch, disk; exit code 1 where no sandbox can
    stand.

    Examples: `spo doctor` -- `spo doctor --json`
    """
    found = examine(DATA)
    typer.echo(
        json.dumps(found) if as_json else "\n".join(f"{name:<14} {value}" for name, value in found["lines"])
    )
    raise typer.Exit(0 if found["sandbox"] else 1)


def examine(data: Path) -> dict:
    """`sandbox`: whether programs can be run at all; `lines`: (what, finding) for a person."""
    import torch

    from sandbox import probe

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
