"""Runs of training on this machine: folders with a `metrics.jsonl` below one folder, and their figures.

A run in a URL is a name that is compared with the folders that exist; nothing else is opened.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG, CONFIG = "metrics.jsonl", "config.json"
FINAL = "final/config.json"  # of a finished run
MAX_LOG_BYTES = 256_000_000
MAX_CONFIG_BYTES = 1_000_000
DEPTH = 4
# Columns with a chart of their own: title and unit, in this order.
CURVES = {
    "loss": ("Loss", "loss"),
    "kl": ("KL from the reference, estimated", "nats per sequence"),
    "log_ratio": ("log pi - log pi_ref, mean over rows", "nats per sequence"),
    "token_entropy": ("Entropy of the next token", "nats per token"),
    "terminal_q": ("Q_T, mean over rows", "reward"),
    "beta": ("Temperature beta", "reward per nat"),
    "learning_rate": ("Learning rate", "per step"),
    "success_share": ("Successes in the batch", "share of rows"),
    "gradient_norm": ("Norm of the gradient before clipping", "norm"),
    "tokens_per_s": ("Speed", "tokens per second"),
    "age_steps": ("Age of the run's own rows in the batch, mean", "steps"),
    "distinct_correct": ("Distinct accepted completions in the batch", "completions"),
}


class RunError(ValueError):
    """A run that cannot be shown; one line."""


@dataclass(frozen=True)
class Metrics:
    """The logged steps of a run, and a sentence about lines that could not be read."""

    name: str
    steps: list[dict[str, Any]]
    problem: str | None


def list_runs(folder: Path) -> dict[str, Path]:
    """Folders of runs by name, the path below `folder`; links are not followed."""
    runs = {}
    for place, folders, files in os.walk(folder, followlinks=False):
        relative = Path(place).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "checkpoint-", "policy-")))
        if len(relative.parts) >= DEPTH:
            folders.clear()
        if LOG in files:
            runs[str(relative)] = Path(place)
    return runs


def run_folder(folder: Path, name: str) -> Path:
    """The folder of a run. Raises RunError that lists the known ones."""
    known = list_runs(folder)
    if name not in known:
        some = ", ".join(sorted(known)[:10]) or "none"
        raise RunError(f"no run {name[:100]!r} in {folder}; there are: {some}")
    return known[name]


def progress_of(folder: Path, names: list[str]) -> tuple[str, bool]:
    """A text that changes when a run logs a step, and whether all of these runs are finished. Raises
    RunError.
    """
    sizes, finished = [], True
    for name in names:
        place = run_folder(folder, name)
        status = (place / LOG).lstat()
        sizes.append(f"{status.st_size}-{status.st_mtime_ns}")
        finished = finished and (place / FINAL).is_file()
    return ".".join(sizes), finished


def read_metrics(folder: Path, name: str) -> Metrics:
    """The steps of a run, in order; of a step that was logged twice the last line. Raises RunError."""
    text = _read_file(run_folder(folder, name) / LOG, MAX_LOG_BYTES)
    steps: dict[int, dict[str, Any]] = {}
    wrong = 0
    lines = text.split("\n")
    for line in lines[:-1]:
        try:
            figures = json.loads(line)
            steps[int(figures["step"])] = figures
        except (ValueError, TypeError, KeyError, RecursionError):
            wrong += 1
    problem = f"{wrong} of {len(lines) - 1} lines of {LOG} cannot be read" if wrong else None
    return Metrics(name, [steps[step] for step in sorted(steps)], problem)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The configuration of a run; empty if it has none. Raises RunError."""
    path = run_folder(folder, name) / CONFIG
    if not path.is_file() or path.is_symlink():
        return {}
    try:
        config = json.loads(_read_file(path, MAX_CONFIG_BYTES))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def series(metrics: Metrics, column: str, source: str | None = None) -> tuple[list[int], list[float]]:
    """Steps and finite values of a column, of the whole batch or of one source."""
    steps, values = [], []
    for figures in metrics.steps:
        place = figures if source is None else (figures.get("sources") or {}).get(source, {})
        value = place.get(column) if isinstance(place, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            steps.append(int(figures["step"]))
            values.append(float(value))
    return steps, values


def smoothed(values: list[float], window: int) -> list[float]:
    """Running means over the last `window` values, fewer at the beginning."""
    if window <= 1:
        return values
    means, total = [], 0.0
    for index, value in enumerate(values):
        total += value
        if index >= window:
            total -= values[index - window]
        means.append(total / min(index + 1, window))
    return means


def sources_of(metrics: Metrics) -> list[str]:
    """Names of the sources of the mixture, as logged."""
    names: dict[str, None] = {}
    for figures in metrics.steps:
        if isinstance(figures.get("sources"), dict):
            names |= dict.fromkeys(map(str, figures["sources"]))
    return list(names)


def other_columns(metrics: Metrics) -> list[str]:
    """Logged numbers without a chart at first."""
    names: dict[str, None] = {}
    for figures in metrics.steps:
        for name, value in figures.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                names[name] = None
    return [name for name in names if name not in CURVES and name != "step"]


def _read_file(path: Path, largest: int) -> str:
    """The text of a regular file of bounded size, without following a link. Raises RunError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise RunError(f"{path}: not a regular file")
        if status.st_size > largest:
            raise RunError(f"{path}: larger than {largest:,} bytes, which the explorer does not read")
        return file.read().decode("utf-8", errors="replace")
