"""Runs that differ in their seed alone are one configuration: its figures are means over its seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.aggregate import run_name
from pipeline.evaluation.report.runfolder import Run, Seed
from pipeline.evaluation.report.text import flattened

# Settings that name a run and say nothing about it.
IDENTITY = ("seed", "run", "name", "seeds")


@dataclass(frozen=True)
class Configuration:
    """`settings`: by dotted name, without those that differ between seeds; `colour`: index of its series."""

    label: str
    runs: list[Run]
    settings: dict[str, str]
    colour: int = 0

    @property
    def seeds(self) -> list[Seed]:
        return [seed for run in self.runs for seed in run.seeds]

    @property
    def references(self) -> list[str]:
        return list(dict.fromkeys(run.reference_policy for run in self.runs if run.reference_policy))


def configurations(runs: Sequence[Run]) -> list[Configuration]:
    """Runs by their settings, in the order in which they were named."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key(run), []).append(run)
    labels = labels_of([_common_name(group) for group in groups.values()])
    return [
        Configuration(label, group, dict(flattened(_without_identity(group[0]))), colour)
        for colour, (label, group) in enumerate(zip(labels, groups.values(), strict=True))
    ]


def differing_settings(groups: Sequence[Configuration]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same everywhere, with the value of each configuration."""
    names = dict.fromkeys(name for group in groups for name in group.settings)
    rows = [(name, [group.settings.get(name, "") for group in groups]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def labels_of(names: Sequence[str]) -> list[str]:
    """The names without the words that they all begin with; equal ones are numbered."""
    shared = _shared_start(names) if len(names) > 1 else ""
    cut = max((shared.rfind(sign) for sign in "/-_. "), default=-1) + 1
    short = [name[cut:] or name for name in names]
    return [
        f"{name} ({short[: i + 1].count(name)})" if short.count(name) > 1 else name
        for i, name in enumerate(short)
    ]


def _key(run: Run) -> str:
    # Of a run without settings nothing is known: it is a configuration of its own.
    return json.dumps(_without_identity(run), sort_keys=True, default=str) if run.settings else run.name


def _without_identity(run: Run) -> dict[str, Any]:
    """The settings of a run; its name and folder, wherever they occur, are replaced."""
    own = {run.name: "(this run)", str(run.settings.get("run", "")): "(its folder)"}

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return own.get(value, value) if isinstance(value, str) and value else value

    return replaced({key: value for key, value in run.settings.items() if key not in IDENTITY})


def _common_name(runs: Sequence[Run]) -> str:
    """What the names of the runs of one configuration have in common."""
    names = list(dict.fromkeys(run_name(run.name) for run in runs))
    shared = _shared_start(names)
    return shared.rstrip("/-_. @") or names[0]


def _shared_start(names: Sequence[str]) -> str:
    """The longest text that all names begin with."""
    shortest = min(names, key=len)
    differs = (i for i, signs in enumerate(zip(*names, strict=False)) if len(set(signs)) > 1)
    return shortest[: next(differs, len(shortest))]
