"""Training curves of a run's seeds, from the lines the trainer logs (method section 9: what to watch)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.evaluation.report.runfolder import Seed

# Lines are running means over this share of a run's steps: single batches are small and jump.
SMOOTHED_SHARE = 0.04
MOST_SEEDS = MOST_SOURCES = 8

Q_SENTENCE = "In units of reward. Successes should end near 0, failures near the lowest reward."
ABOVE_SENTENCE = "Sequences valued above the highest reward, if that is 0; the cross-entropy loss lets go of successes there."
RESIDUAL_SENTENCE = "Q at the last token minus reward. On fresh samples, above 0 and not falling: the soft value Q0 is too high."
RATIO_SENTENCE = "Nats a sequence. For rows the policy has just written itself this estimates its KL from the reference; for others not."
WAITING_SENTENCE = "Drawing fresh samples, judging and scoring them count as waiting."

Figures = dict[str, Any]
Value = Callable[[Figures], float | None]


@dataclass(frozen=True)
class Line:
    """One curve: `colour` and `dash` are indices; the colour says what, the dash which seed."""

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
    """A seed's run in numbers; `fresh`: steps at which the watermark moved, that is, new rows could be drawn."""

    name: str
    steps: int
    tokens: int
    seconds: float
    waited: float | None
    fresh: list[int]
    problem: str | None


@dataclass(frozen=True)
class Curves:
    panels: list[Panel]
    facts: list[SeedFacts]
    window: int
    seeds_left: int


def curves(seeds: list[Seed]) -> Curves:
    """Panels over all seeds; without any logged step there are none, and the facts say why."""
    drawn = [seed for seed in seeds if seed.metrics][:MOST_SEEDS]
    longest = max((len(seed.metrics) for seed in drawn), default=0)
    left = sum(1 for seed in seeds if seed.metrics) - len(drawn)
    return Curves(
        [panel for panel in panels_of(drawn) if panel.lines],
        [facts(seed) for seed in seeds],
        window_of(longest),
        left,
    )


def panels_of(seeds: list[Seed]) -> list[Panel]:
    """Panels with one line a seed, but for Q, with two, and the log-ratio, with one a source."""

    def panel(title: str, sentence: str, value: Value, kind: str = "plain") -> Panel:
        lines = [line(seed, i, seed.name, i, value) for i, seed in enumerate(seeds) if has(seed, value)]
        return Panel(title, sentence, lines, kind)

    return [
        panel("Loss", "The SPO loss, mean over a batch.", of("loss")),
        Panel("Q at the last token", Q_SENTENCE, q_lines(seeds)),
        panel("Share with Q above 0", ABOVE_SENTENCE, of("q_above_zero"), "share"),
        panel("Mean residual", RESIDUAL_SENTENCE, of("residual")),
        Panel("log π − log π_ref by source", RATIO_SENTENCE, ratio_lines(seeds)),
        panel("Gradient norm", "Before clipping.", of("gradient_norm"), "log"),
        panel(
            "Tokens a second", "Prompt and completion tokens trained on, waiting included.", tokens_per_second
        ),
        panel("Share of time waiting for data", WAITING_SENTENCE, waiting, "share"),
    ]


def q_lines(seeds: list[Seed]) -> list[Line]:
    return [
        line(seed, dash, f"Q of {what}", colour, of(name))
        for colour, (what, name) in enumerate((("successes", "q_success"), ("failures", "q_failure")))
        for dash, seed in enumerate(seeds)
        if has(seed, of(name))
    ]


def ratio_lines(seeds: list[Seed]) -> list[Line]:
    names = sorted({name for seed in seeds for entry in seed.metrics for name in entry.get("sources") or {}})
    return [
        line(seed, dash, name, colour, in_source(name, "log_ratio"))
        for colour, name in enumerate(names[:MOST_SOURCES])
        for dash, seed in enumerate(seeds)
        if has(seed, in_source(name, "log_ratio"))
    ]


def of(name: str) -> Value:
    return lambda entry: entry.get(name)


def in_source(source: str, name: str) -> Value:
    return lambda entry: ((entry.get("sources") or {}).get(source) or {}).get(name)


def tokens_per_second(entry: Figures) -> float | None:
    return entry["tokens"] / entry["seconds"] if entry.get("tokens") and entry.get("seconds") else None


def waiting(entry: Figures) -> float | None:
    return (
        entry["data_seconds"] / entry["seconds"]
        if entry.get("seconds") and entry.get("data_seconds") is not None
        else None
    )


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def has(seed: Seed, value: Value) -> bool:
    return any(finite(value(entry)) for entry in seed.metrics)


def line(seed: Seed, dash: int, label: str, colour: int, value: Value) -> Line:
    found = [(int(entry["step"]), value(entry)) for entry in seed.metrics]
    kept = [(step, number) for step, number in found if number is not None and finite(number)]
    return Line(label, colour, dash, [step for step, _ in kept], [float(number) for _, number in kept])


def window_of(steps: int) -> int:
    return max(1, round(SMOOTHED_SHARE * steps)) | 1


def running_mean(values: list[float]) -> np.ndarray:
    """Centred; shorter at both ends, so that it has a value at each step."""
    window = window_of(len(values))
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def facts(seed: Seed) -> SeedFacts:
    def total(name: str) -> float:
        return float(sum(entry[name] for entry in seed.metrics if finite(entry.get(name))))

    seconds, waited = total("seconds"), total("data_seconds")
    share = waited / seconds if seconds > 0 else None
    return SeedFacts(
        seed.name,
        len(seed.metrics),
        int(total("tokens")),
        seconds,
        share,
        fresh_steps(seed.metrics),
        seed.problem,
    )


def fresh_steps(metrics: list[Figures]) -> list[int]:
    """Steps whose watermark differs from the step before."""
    marks = [(entry["step"], entry.get("watermark")) for entry in metrics]
    return [int(step) for (_, before), (step, now) in pairwise(marks) if before != now]
