"""`spo doctor`: what this machine supports."""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import typer

from flows.commands.common import (
    DATA,
    JsonOption,
)


def doctor(as_json: JsonOption = False) -> None:
    """Show what this machine supports: isolation, languages, torch, disk. Exit code 1 if no sandbox works
    here.

    Examples: `spo doctor` -- `spo doctor --json`
    """
    report = examine(DATA)
    typer.echo(
        json.dumps(report) if as_json else "\n".join(f"{name:<14} {value}" for name, value in report["lines"])
    )
    raise typer.Exit(0 if report["sandbox"] else 1)


def examine(data: Path) -> dict:
    """`sandbox`: whether programs can be run; `lines`: (subject, result) pairs to print."""
    import torch

    from sandbox.probe import probe

    report = probe()
    existing = next(folder for folder in [data.resolve(), *data.resolve().parents] if folder.exists())
    device = (
        torch.cuda.get_device_name(0)
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    lines = [
        ("python", platform.python_version()),
        ("torch", f"{torch.__version__} on {device}"),
        ("disk", f"{shutil.disk_usage(existing).free / 1e9:.1f} GB free at {existing}"),
        ("flush", flushes_at(existing)),
        ("sandbox", f"{report.tier} ({report.engine})" if report.tier else f"NONE: {report.why_not}"),
        ("supervisor", f"{report.supervisor} (runs compiled programs in the jail)"),
        *report.protections.items(),
        *((name, version or "language unavailable") for name, version in report.languages.items()),
    ]
    return {"sandbox": report.tier is not None, "lines": lines}


def flushes_at(place: Path, rounds: int = 9) -> str:
    """How long it takes until a small file and its name are on the disk, or why nothing can be promised."""
    from pipeline.store import flush_file, flush_folder

    system = file_system_of(place)
    if system in ("tmpfs", "ramfs"):
        return f"NONE: {place} is in memory ({system}); a power cut takes all of it"
    spent = []
    try:
        with tempfile.TemporaryDirectory(prefix=".spo-doctor-", dir=place) as folder:
            for number in range(rounds):
                file = Path(folder, str(number))
                file.write_bytes(bytes(4096))
                started = time.perf_counter()
                flush_file(file)
                flush_folder(folder)
                spent.append(time.perf_counter() - started)
    except OSError as error:
        return f"REFUSED at {place} ({system}): {error}"
    return f"{1000 * statistics.median(spent):.1f} ms per file and its name at {place} ({system})"


def file_system_of(place: Path) -> str:
    """The type of the file system at a path, as the kernel names it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [
        (len(folder), number, kind)
        for number, (_, folder, kind, *_) in enumerate(mounts)
        if place.is_relative_to(folder.encode().decode("unicode_escape"))
    ]
    return max(holding)[2] if holding else "unknown"
