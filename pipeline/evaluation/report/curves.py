"""Training curves over steps, from the lines that the trainer logs in `metrics.jsonl`: one line per
configuration, the mean of its seeds with the range between the lowest and the highest.

Columns that are known here have a panel with an explanation. An objective may log columns of its own: any
other number is listed in a table, so that nothing logged is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.evaluation.report.configurations import Configuration
from pipeline.evaluation.report.runfolder import Seed

# Lines are running means over this share of a run's steps: single batches are small and vary.
SMOOTHED_SHARE = 0.04
MOST_SOURCES = 8

Q_SENTENCE = "Successes should end near 0, failures near the lowest reward."
ABOVE_SENTENCE = (
    "Sequences valued above 0, the highest binary reward. There the cross-entropy loss no longer"
    " moves successes."
)
RESIDUAL_SENTENCE = (
    "Q at the last token minus reward. If it stays above 0 on fresh samples, the soft value Q0 is too high."
)
RATIO_SENTENCE = (
    "For rows that the policy has just sampled itself this estimates its KL from the"
    " reference; for others it does not."
)
KL_SENTENCE = "Estimated from rows whose policy is known, by truncated importance sampling."
ENTROPY_SENTENCE = "Of the next token, along the completions of the batch."
BETA_SENTENCE = "Constant, or moved towards a target of the KL."
AGE_SENTENCE = "Steps since the policy of this run that sampled a row; rows that it did not sample have none."
DISTINCT_SENTENCE = "Different accepted completions among the rows of a batch."
SPEED_SENTENCE = "Prompt and completion tokens trained on, per second of the whole step."
WAITING_SENTENCE = "Sampling, judging and scoring fresh data count as waiting."

# Columns behind the panels and the table of seeds; all other numbers are listed.
KNOWN = {"step", "tokens", "seconds", "data_seconds", "loss", "q_success", "q_failure", "q_above_zero"}
KNOWN |= {"residual", "gradient_norm", "kl", "token_entropy", "beta", "learning_rate", "age_steps"}
KNOWN |= {"distinct_correct", "success_share"}

Figures = dict[str, Any]
Value = Callable[[Figures], float | None]


@dataclass(frozen=True)
class Trace:
    """The values of one seed."""

    seed: Seed
    steps: list[int]
    values: list[float]

    @property
    def smooth(self) -> np.ndarray:
        return running_mean(self.values)


@dataclass(frozen=True)
class Line:
    """A curve of one configuration. `colour` and `dash` are indices of series."""

    label: str
    colour: int
    dash: int
    traces: list[Trace]

    @cached_property
    def steps(self) -> list[int]:
        """Steps that every seed has logged."""
        common = set.intersection(*(set(trace.steps) for trace in self.traces))
        return sorted(common) or self.traces[0].steps

    @cached_property
    def smooth(self) -> np.ndarray:
        """Running means of the seeds at `steps`: [seeds, steps]; of the first alone without a common step."""
        known = [dict(zip(trace.steps, trace.smooth, strict=True)) for trace in self.traces]
        complete = [one for one in known if all(step in one for step in self.steps)]
        return np.array([[one[step] for step in self.steps] for one in complete])

    @property
    def mean(self) -> np.ndarray:
        return self.smooth.mean(axis=0)


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
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
    """`seeds`: the largest number of seeds of a configuration."""

    panels: list[Panel]
    facts: list[SeedFacts]
    others: list[OtherColumn]
    window: int
    seeds: int = 1
    labels: list[str] = field(default_factory=list)


def curves(groups: Sequence[Configuration]) -> Curves:
    """Panels over all configurations; without any logged step there are none, and the facts say why."""
    named = [(_name(seed, group, groups), seed) for group in groups for seed in group.seeds]
    logged = [(name, seed) for name, seed in named if seed.metrics]
    longest = max((len(seed.metrics) for _, seed in logged), default=0)
    return Curves(
        [panel for panel in _panels(groups) if panel.lines],
        [_facts(name, seed) for name, seed in named],
        [column for name, seed in logged for column in _other_columns(name, seed)],
        window_of(longest),
        max((sum(bool(seed.metrics) for seed in group.seeds) for group in groups), default=0),
        [group.label for group in groups],
    )


def _name(seed: Seed, group: Configuration, groups: Sequence[Configuration]) -> str:
    return seed.name if len(groups) == 1 else f"{group.label}, {seed.name}"


def _panels(groups: Sequence[Configuration]) -> list[Panel]:
    """Panels with one line per configuration. Q has two; of a single configuration the log-ratio and the
    ages have one per source.
    """

    def panel(title: str, unit: str, sentence: str, value: Value, kind: str = "plain") -> Panel:
        lines = [_line(group, group.label, group.colour, 0, value) for group in groups]
        return Panel(title, unit, sentence, [line for line in lines if line.traces], kind)

    def by_source(title: str, unit: str, sentence: str, column: str) -> Panel:
        if len(groups) > 1:
            return panel(title.removesuffix(" by source"), unit, sentence, _column(column))
        return Panel(title, unit, sentence, _source_lines(groups[0], column) if groups else [])

    nats, tokens = "nats per sequence", "tokens per second"
    ratio, waiting = "log π − log π_ref by source", "share of the time"
    return [
        panel("Loss", "loss", "The loss of the objective, mean over a batch.", _column("loss")),
        panel("KL from the reference", nats, KL_SENTENCE, _column("kl")),
        panel("Entropy", "nats per token", ENTROPY_SENTENCE, _column("token_entropy")),
        Panel("Q at the last token", "reward", Q_SENTENCE, _q_lines(groups)),
        panel("Share with Q above 0", "share of rows", ABOVE_SENTENCE, _column("q_above_zero"), "share"),
        panel("Mean residual", "reward", RESIDUAL_SENTENCE, _column("residual")),
        by_source(ratio, nats, RATIO_SENTENCE, "log_ratio"),
        panel("Temperature β", "reward per nat", BETA_SENTENCE, _column("beta")),
        panel("Learning rate", "rate per step", "As scheduled.", _column("learning_rate")),
        panel("Gradient norm", "norm", "Before clipping.", _column("gradient_norm"), "log"),
        panel("Successes", "share of rows", "Rows of a batch.", _column("success_share"), "share"),
        panel("Distinct successes", "completions", DISTINCT_SENTENCE, _column("distinct_correct")),
        by_source("Age of rows by source", "steps", AGE_SENTENCE, "age_steps"),
        panel("Tokens per second", tokens, SPEED_SENTENCE, _tokens_per_second),
        panel("Share of time waiting for data", waiting, WAITING_SENTENCE, _waiting, "share"),
    ]


def _q_lines(groups: Sequence[Configuration]) -> list[Line]:
    """The colour is the kind; with several configurations it is theirs, and the dash is the kind."""
    kinds = (("Q of successes", "q_success"), ("Q of failures", "q_failure"))
    lines = [
        _line(group, what, kind, 0, _column(name))
        if len(groups) == 1
        else _line(group, f"{what}, {group.label}", group.colour, kind, _column(name))
        for kind, (what, name) in enumerate(kinds)
        for group in groups
    ]
    return [line for line in lines if line.traces]


def _source_lines(group: Configuration, column: str) -> list[Line]:
    entries = [entry for seed in group.seeds for entry in seed.metrics]
    names = sorted({name for entry in entries for name in entry.get("sources") or {}})
    lines = [
        _line(group, name, colour, 0, _in_source(name, column))
        for colour, name in enumerate(names[:MOST_SOURCES])
    ]
    return [line for line in lines if line.traces]


def _line(group: Configuration, label: str, colour: int, dash: int, value: Value) -> Line:
    traces = (_trace(seed, value) for seed in group.seeds)
    return Line(label, colour, dash, [trace for trace in traces if trace.steps])


def _trace(seed: Seed, value: Value) -> Trace:
    points = [(int(entry["step"]), value(entry)) for entry in seed.metrics]
    finite = [(step, float(number)) for step, number in points if number is not None and _is_finite(number)]
    return Trace(seed, [step for step, _ in finite], [number for _, number in finite])


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


def window_of(steps: int) -> int:
    """Steps of the running mean: an odd number, 1 or more."""
    return max(1, round(SMOOTHED_SHARE * steps)) | 1


def running_mean(values: list[float]) -> np.ndarray:
    """Centred; the window is shorter at both ends, so that there is a value at each step."""
    window = window_of(len(values))
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def _facts(name: str, seed: Seed) -> SeedFacts:
    def total(column: str) -> float:
        return float(sum(entry[column] for entry in seed.metrics if _is_finite(entry.get(column))))

    seconds, waited = total("seconds"), total("data_seconds")
    return SeedFacts(
        name,
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


def _other_columns(seed_name: str, seed: Seed) -> list[OtherColumn]:
    """Every number at the top of a log line that has no panel, by name."""
    names = sorted({name for entry in seed.metrics for name in entry} - KNOWN)
    columns = []
    for name in names:
        values = np.array([entry[name] for entry in seed.metrics if _is_finite(entry.get(name))], dtype=float)
        if values.size:
            last = float(values[-window_of(len(values)) :].mean())
            first, lowest, highest = float(values[0]), float(values.min()), float(values.max())
            columns.append(OtherColumn(seed_name, name, len(values), first, lowest, highest, last))
    return columns
