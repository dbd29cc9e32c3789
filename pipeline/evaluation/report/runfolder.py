"""What a run left on disk: `run.json`, and for each seed the lines of `metrics.jsonl` that the trainer wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ReportError(ValueError):
    """There is no run to report on; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Seed:
    """One trained policy of a run: its metrics by step, and in words what could not be read of them."""

    policy_id: str
    seed: int
    metrics: list[dict[str, Any]]
    problem: str | None = None

    @property
    def name(self) -> str:
        return f"seed {self.seed}"


@dataclass(frozen=True)
class Stage:
    """A stage of a run and the seconds it took the first time it ended."""

    name: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Run:
    """A run as its folder has it; everything but the name may be missing."""

    name: str
    started_at: str
    command: str
    settings: dict[str, Any]
    reference_policy: str
    seeds: list[Seed]
    stages: list[Stage]
    rows_in_file: dict[str, int]


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises ReportError where `run.json` is missing or is no such record."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{path}: not there; a run folder holds run.json") from None
    except ValueError as error:
        raise ReportError(f"{path}: {error}") from error
    if not isinstance(record, dict) or not record.get("run"):
        raise ReportError(f"{path}: no object with the key run")
    try:
        seeds = [
            read_seed(folder, int(entry.get("seed", i)), entry)
            for i, entry in enumerate(record.get("policies") or [])
        ]
        stages = [
            Stage(str(entry["name"]), float(entry["seconds"]), str(entry.get("detail") or ""))
            for entry in record.get("stages") or []
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wanted = "policies are objects with policy_id, seed and folder, stages objects with name and seconds"
        raise ReportError(f"{path}: {wanted}: {error!r}") from error
    return Run(
        name=str(record["run"]),
        started_at=str(record.get("started_at") or ""),
        command=str(record.get("command") or ""),
        settings=record.get("settings") or {},
        reference_policy=str(record.get("reference_policy") or ""),
        seeds=sorted(seeds, key=lambda seed: seed.seed),
        stages=stages,
        rows_in_file=record.get("rows_in_file") or {},
    )


def read_seed(folder: Path, seed: int, entry: dict) -> Seed:
    path = folder / str(entry["folder"]) / "metrics.jsonl"
    where = f"{entry['folder']}/metrics.jsonl"
    if not path.exists():
        return Seed(str(entry["policy_id"]), seed, [], f"{where} is not there: no step was logged.")
    metrics, unread = read_metrics(path)
    problem = None if metrics else f"{where} is empty: no step was logged."
    if unread:
        problem = f"{where}: line {', '.join(map(str, unread[:5]))} could not be read and is left out."
    return Seed(str(entry["policy_id"]), seed, metrics, problem)


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """One entry a step, in order, and the numbers of lines that are none: a kill may cut the last one short."""
    by_step: dict[int, dict[str, Any]] = {}
    unread = []
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
            by_step[int(entry["step"])] = entry
        except (ValueError, KeyError, TypeError):
            unread.append(line)
    return [by_step[step] for step in sorted(by_step)], unread
