"""Training curves of a run's seeds, from the lines that the trainer logs in `metrics.jsonl`.

Columns that are known here have a panel with an explanation. An objective may log columns of its own: any
other number is listed in a table, so that nothing logged is hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.evaluation.report.runfolder import Seed

# Lines are running means over this share of a run's steps: single batches are small and vary.
SMOOTHED_SHARE = 0.04
MOST_SEEDS = MOST_SOURCES = 8

Q_SENTENCE = "In units of reward. Successes should end near 0, failures near the lowest reward."
ABOVE_SENTENCE = (
    "Sequences valued above 0, the highest binary reward. There the cross-entropy loss no longer"
    " moves successes."
)
RESIDUAL_SENTENCE = (
    "Q at the last token minus reward. If it stays above 0 on fresh samples, the soft value Q0 is too high."
)
RATIO_SENTENCE = (
    "Nats per sequence. For rows that the policy has just sampled itself this estimates its KL from the"
    " reference; for others it does not."
)
SPEED_SENTENCE = "Prompt and completion tokens trained on, per second of the whole step."
WAITING_SENTENCE = "Sampling, judging and scoring fresh data count as waiting."

# Columns behind the panels and the table of seeds; all other numbers are listed.
KNOWN = {"step", "tokens", "seconds", "data_seconds", "loss", "q_success", "q_failure", "q_above_zero"}
KNOWN |= {"residual", "gradient_norm"}

Figures = dict[str, Any]
Value = Callable[[Figures], float | None]


@dataclass(frozen=True)
class Line:
    """One curve. `colour` and `dash` are indices: the colour is what it shows, the dash which seed."""

    label: str
    colour: int
    dash: int
    steps: list[int]
    values: list[float]

    @property
    def smooth(self) -> np.ndarray:
        return running_mean(self.values)


@dataclass(frozen=True)
class Panel:
    title: str
    sentence: str
    lines: list[Line]
    kind: str = "plain"  # plain, share (0 to 1), or log


@dataclass(frozen=True)
class SeedFacts:
    """A seed's run in numbers; `fresh` are the steps at which the stream moved to a newer snapshot of the
    store.
    """

    name: str
    steps: int
    tokens: int
    seconds: float
    waited: float | None
    fresh: list[int]
    problem: str | None


@dataclass(frozen=True)
class OtherColumn:
    """A logged number without a panel: first, smallest and largest value, and mean of the last steps."""

    seed: str
    name: str
    steps: int
    first: float
    lowest: float
    highest: float
    last: float


@dataclass(frozen=True)
class Curves:
    panels: list[Panel]
    facts: list[SeedFacts]
    others: list[OtherColumn]
    window: int
    seeds_left: int


def curves(seeds: list[Seed]) -> Curves:
    """Panels over all seeds; without any logged step there are none, and the facts say why."""
    logged = [seed for seed in seeds if seed.metrics]
    runs = logged[:MOST_SEEDS]
    longest = max((len(seed.metrics) for seed in runs), default=0)
    return Curves(
        [panel for panel in _panels(runs) if panel.lines],
        [_facts(seed) for seed in seeds],
        [column for seed in runs for column in _other_columns(seed)],
        window_of(longest),
        len(logged) - len(runs),
    )


def _panels(seeds: list[Seed]) -> list[Panel]:
    """Panels with one line per seed; Q has two per seed, the log-ratio one per source and seed."""

    def panel(title: str, sentence: str, value: Value, kind: str = "plain") -> Panel:
        lines = [_line(seed, i, seed.name, i, value) for i, seed in enumerate(seeds) if _has(seed, value)]
        return Panel(title, sentence, lines, kind)

    return [
        panel("Loss", "The loss of the objective, mean over a batch.", _column("loss")),
        Panel("Q at the last token", Q_SENTENCE, _q_lines(seeds)),
        panel("Share with Q above 0", ABOVE_SENTENCE, _column("q_above_zero"), "share"),
        panel("Mean residual", RESIDUAL_SENTENCE, _column("residual")),
        Panel("log π − log π_ref by source", RATIO_SENTENCE, _ratio_lines(seeds)),
        panel("Gradient norm", "Before clipping.", _column("gradient_norm"), "log"),
        panel("Tokens per second", SPEED_SENTENCE, _tokens_per_second),
        panel("Share of time waiting for data", WAITING_SENTENCE, _waiting, "share"),
    ]


def _q_lines(seeds: list[Seed]) -> list[Line]:
    return [
        _line(seed, dash, f"Q of {what}", colour, _column(name))
        for colour, (what, name) in enumerate((("successes", "q_success"), ("failures", "q_failure")))
        for dash, seed in enumerate(seeds)
        if _has(seed, _column(name))
    ]


def _ratio_lines(seeds: list[Seed]) -> list[Line]:
    names = sorted({name for seed in seeds for entry in seed.metrics for name in entry.get("sources") or {}})
    return [
        _line(seed, dash, name, colour, _in_source(name, "log_ratio"))
        for colour, name in enumerate(names[:MOST_SOURCES])
        for dash, seed in enumerate(seeds)
        if _has(seed, _in_source(name, "log_ratio"))
    ]


def _column(name: str) -> Value:
    return lambda entry: entry.get(name)


def _in_source(source: str, name: str) -> Value:
    return lambda entry: ((entry.get("sources") or {}).get(source) or {}).get(name)


def _tokens_per_second(entry: Figures) -> float | None:
    return entry["tokens"] / entry["seconds"] if entry.get("tokens") and entry.get("seconds") else None


def _waiting(entry: Figures) -> float | None:
    if not entry.get("seconds") or entry.get("data_seconds") is None:
        return None
    return entry["data_seconds"] / entry["seconds"]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _has(seed: Seed, value: Value) -> bool:
    return any(_is_finite(value(entry)) for entry in seed.metrics)


def _line(seed: Seed, dash: int, label: str, colour: int, value: Value) -> Line:
    points = [(int(entry["step"]), value(entry)) for entry in seed.metrics]
    finite = [(step, float(number)) for step, number in points if number is not None and _is_finite(number)]
    return Line(label, colour, dash, [step for step, _ in finite], [number for _, number in finite])


def window_of(steps: int) -> int:
    """Steps of the running mean: an odd number, 1 or more."""
    return max(1, round(SMOOTHED_SHARE * steps)) | 1


def running_mean(values: list[float]) -> np.ndarray:
    """Centred; the window is shorter at both ends, so that there is a value at each step."""
    window = window_of(len(values))
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _facts(seed: Seed) -> SeedFacts:
    def total(name: str) -> float:
        return float(sum(entry[name] for entry in seed.metrics if _is_finite(entry.get(name))))

    seconds, waited = total("seconds"), total("data_seconds")
    return SeedFacts(
        seed.name,
        len(seed.metrics),
        int(total("tokens")),
        seconds,
        waited / seconds if seconds > 0 else None,
        _fresh_steps(seed.metrics),
        seed.problem,
    )


def _fresh_steps(metrics: list[Figures]) -> list[int]:
    """Steps whose watermark differs from that of the step before."""
    marks = [(entry["step"], entry.get("watermark")) for entry in metrics]
    return [int(step) for (_, before), (step, now) in pairwise(marks) if before != now]


def _other_columns(seed: Seed) -> list[OtherColumn]:
    """Every number at the top of a log line that has no panel, by name."""
    names = sorted({name for entry in seed.metrics for name in entry} - KNOWN)
    columns = []
    for name in names:
        values = np.array([entry[name] for entry in seed.metrics if _is_finite(entry.get(name))], dtype=float)
        if values.size:
            last = float(values[-window_of(len(values)) :].mean())
            first, lowest, highest = float(values[0]), float(values.min()), float(values.max())
            columns.append(OtherColumn(seed.name, name, len(values), first, lowest, highest, last))
    return columns
