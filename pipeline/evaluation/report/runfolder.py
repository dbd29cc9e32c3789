"""Reads a run from its folder and the store.

A run by `spo train` has `config.json` (its configuration), `reference.json` (the parts of the reference's
fingerprint) and `metrics.jsonl` (one line per step). The demo adds `run.json` in the folder above its seeds,
with stages, seeds and their folders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from pipeline.store import query

RECORD, CONFIG, REFERENCE, METRICS = "run.json", "config.json", "reference.json", "metrics.jsonl"

# The parent of a published policy is the reference; a run that has published nothing is known by its
# reference's weights.
REFERENCE_OF_RUN = """
SELECT policy_id FROM (
    SELECT parent_id AS policy_id, 1 AS preference, created_at FROM policies
    WHERE run_id = $run AND parent_id IS NOT NULL
    UNION ALL
    SELECT policy_id, 2, created_at FROM policies WHERE details ->> '$.fingerprint.weights' = $weights
)
ORDER BY preference, created_at, policy_id LIMIT 1
"""

# The final policy has the run's own name, those published on the way are RUN@STEP.
EVALUATED_LAST = """
SELECT policy_id, step FROM policies
WHERE run_id = $run AND policy_id IN (SELECT policy_id FROM evaluations)
    AND (policy_id = $run OR starts_with(policy_id, $run || '@')) AND step > 0
ORDER BY step DESC, policy_id LIMIT 1
"""


class ReportError(ValueError):
    """There is no run to report on; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Seed:
    """One trained policy of a run: its metrics by step, and a sentence about what could not be read.

    `step` is set for a policy published before the end of training; `folder` has the log.
    """

    policy_id: str
    seed: int
    metrics: list[dict[str, Any]]
    problem: str | None = None
    step: int | None = None
    folder: Path | None = None

    @property
    def run_id(self) -> str:
        """The name under which the run publishes policies and adds rows."""
        return self.policy_id if self.step is None else self.policy_id.removesuffix(f"@{self.step}")

    @property
    def name(self) -> str:
        return f"seed {self.seed}" if self.step is None else f"seed {self.seed} at step {self.step}"


@dataclass(frozen=True)
class Stage:
    """A stage of a run and the seconds it took the first time it ended."""

    name: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Run:
    """A run as read from its folder; everything except the name may be missing."""

    name: str
    started_at: str
    command: str
    settings: dict[str, Any]
    reference_policy: str
    seeds: list[Seed]
    stages: list[Stage]
    rows_in_file: dict[str, int]
    reference_weights: str = ""


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises ReportError if the folder has neither `run.json` nor the `config.json` of a
    run.
    """
    if (folder / RECORD).exists():
        return _from_record(folder, _read_object(folder / RECORD, "run"))
    if (folder / CONFIG).exists():
        return _from_config(folder, _read_object(folder / CONFIG, "source"))
    raise ReportError(
        f"{folder}: does not exist, or has neither {RECORD} nor {CONFIG};"
        " name the folder of a run, see `run` in its configuration"
    )


def complete_from_store(run: Run, connection: duckdb.DuckDBPyConnection) -> Run:
    """Add what only the store has of a run by `spo train`: its reference policy, and the evaluated policies.

    Of a run that names its reference, only unfinished seeds change.
    """
    if not run.reference_policy:
        wanted = {"run": run.name, "weights": run.reference_weights}
        reference = query(connection, REFERENCE_OF_RUN, wanted)
        run = replace(run, reference_policy=reference["policy_id"][0] if reference.height else "")
    return replace(run, seeds=[_evaluated_seed(seed, connection) for seed in run.seeds])


def _evaluated_seed(seed: Seed, connection: duckdb.DuckDBPyConnection) -> Seed:
    """The seed with the policy of its last step that was evaluated; its final policy if there is none."""
    rows = query(connection, EVALUATED_LAST, {"run": seed.policy_id})
    if not rows.height or rows["policy_id"][0] == seed.policy_id:
        return seed
    return replace(seed, policy_id=rows["policy_id"][0], step=rows["step"][0])


def _read_object(path: Path, key: str) -> dict[str, Any]:
    """The JSON object in a file. Raises ReportError if it is not one, or has no value for `key`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path}: {error}") from error
    if not isinstance(record, dict) or not record.get(key):
        raise ReportError(f"{path}: not the record of a run: it has no key {key}")
    return record


def _from_record(folder: Path, record: dict[str, Any]) -> Run:
    try:
        seeds = [
            _read_seed(folder, int(entry.get("seed", i)), entry)
            for i, entry in enumerate(record.get("policies") or [])
        ]
        stages = [
            Stage(str(entry["name"]), float(entry["seconds"]), str(entry.get("detail") or ""))
            for entry in record.get("stages") or []
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        expected = (
            "policies are objects with policy_id, seed and folder, stages objects with name and seconds"
        )
        raise ReportError(f"{folder / RECORD}: {expected}: {error!r}") from error
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


def _from_config(folder: Path, config: dict[str, Any]) -> Run:
    name = str(config.get("name") or folder.resolve().name)
    try:
        seed = int(config.get("seed") or 0)
    except (TypeError, ValueError):
        raise ReportError(f"{folder / CONFIG}: seed: not a whole number: {config['seed']!r}") from None
    path = folder / REFERENCE
    parts = _read_object(path, "weights") if path.exists() else {}
    return Run(
        name=name,
        started_at="",
        command="spo train RUN.toml    # with the settings below and a new folder under `run`",
        settings=config,
        reference_policy=str(config.get("reference_policy") or ""),
        seeds=[_read_seed(folder, seed, {"policy_id": name, "folder": "."})],
        stages=[],
        rows_in_file={},
        reference_weights=str(parts.get("weights", "")),
    )


def _read_seed(folder: Path, seed: int, entry: dict[str, Any]) -> Seed:
    where = Path(str(entry["folder"])) / METRICS
    path, policy = folder / where, str(entry["policy_id"])
    if not path.exists():
        problem = f"{where} does not exist: no step was logged."
        return Seed(policy, seed, [], problem, folder=path.parent)
    metrics, unread = read_metrics(path)
    unlogged = None if metrics else f"{where} is empty: no step was logged."
    if unread:
        unlogged = f"{where}: line {', '.join(map(str, unread[:5]))} could not be read and is left out."
    return Seed(policy, seed, metrics, unlogged, folder=path.parent)


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """One entry per step, in order, and the numbers of unreadable lines: the last may be cut by a kill."""
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
