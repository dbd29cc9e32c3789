"""Did training help? The run's policies against its reference, and which conclusion the interval of the
change allows.

The numbers come from `pipeline/evaluation/comparison.py`; this module puts them into words. Intervals cover
problems and, with several seeds, seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.evaluation.aggregate import per_problem
from pipeline.evaluation.comparison import Difference, NotComparable, difference, pair
from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.report.runfolder import Run
from pipeline.evaluation.report.text import count, listed, number, some

# With fewer problems than this an interval over problems is not reliable.
FEWEST_PROBLEMS = 10
# Smaller changes are rounding errors of means over seeds.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Metric:
    """A figure of a policy, by its column of `per_problem`. A change whose whole interval is within `margin`
    of 0 is no change.

    `share`: shown in per cent. `optional`: not mentioned if no problem has enough samples.
    """

    column: str
    label: str
    margin: float
    share: bool
    optional: bool = False

    def level(self, value: float) -> str:
        return number(100 * value, 1) + "\u202f%" if self.share else number(value, 2)

    def shown(self, value: float) -> float:
        """A change as it is printed, in points or programs; adding 0 turns -0 into 0."""
        return (round(100 * value, 1) if self.share else round(value, 2)) + 0.0

    def change(self, value: float, unit: bool = True) -> str:
        text = number(self.shown(value), 1 if self.share else 2)
        return ("+" if self.shown(value) > 0 else "") + text + (" points" if self.share and unit else "")

    def direction(self, value: float) -> str:
        return "up" if self.shown(value) > 0 else "down" if self.shown(value) < 0 else "same"


METRICS = (
    Metric("pass_1", "pass@1", 0.01, True),
    Metric("pass_10", "pass@10", 0.01, True),
    Metric("pass_100", "pass@100", 0.01, True, optional=True),
    Metric("distinct_correct", "distinct correct programs per problem", 0.05, False),
)


@dataclass(frozen=True)
class SeedResult:
    """A seed after training, and its change from the reference on the same problems."""

    name: str
    after: Estimate
    change: Estimate


@dataclass(frozen=True)
class Finding:
    """One metric before and after. `outcome`: helped, made worse, did not help, or inconclusive."""

    metric: Metric
    before: Estimate
    after: Estimate
    change: Estimate
    seeds: list[SeedResult]

    @property
    def total_before(self) -> float:
        return self.before.mean * self.before.problems

    @property
    def total_after(self) -> float:
        return self.after.mean * self.after.problems

    @property
    def outcome(self) -> str:
        return outcome_of(self.change, self.metric.margin)

    @property
    def sentence(self) -> str:
        low, high = (self.metric.change(edge, unit=False) for edge in (self.change.low, self.change.high))
        levels = f"from {self.metric.level(self.before.mean)} to {self.metric.level(self.after.mean)}"
        change = f"{self.metric.change(self.change.mean)}; 95 % interval {low} to {high}"
        return (
            f"Mean {self.metric.label} went {levels} ({change}, {self.problems_in_words}):"
            f" {self.conclusion}{self.seeds_in_words}"
        )

    @property
    def problems_in_words(self) -> str:
        left_out = f", {count(self.change.left_out)} left out" if self.change.left_out else ""
        return f"{count(self.change.problems)} problems{left_out}"

    @property
    def conclusion(self) -> str:
        if self.change.problems < FEWEST_PROBLEMS:
            return f"with fewer than {FEWEST_PROBLEMS} problems the result is inconclusive."
        margin = self.metric.change(self.metric.margin).lstrip("+")
        return {
            "helped": "training helped.",
            "made worse": "training made it worse.",
            "did not help": f"training did not help; any change is below {margin}.",
            "inconclusive": "the result is inconclusive, because the interval includes 0.",
        }[self.outcome]

    @property
    def seeds_in_words(self) -> str:
        if len(self.seeds) == 1:
            return " This is one seed; others may differ."
        up = sum(result.change.mean > ROUNDING for result in self.seeds)
        down = sum(result.change.mean < -ROUNDING for result in self.seeds)
        same = len(self.seeds) - up - down
        if len(self.seeds) in (up, down):
            return f" All {len(self.seeds)} seeds went {'up' if up else 'down'}."
        unchanged = f", {same} did not change" if same else ""
        return f" Of {len(self.seeds)} seeds, {up} went up and {down} went down{unchanged}."


def outcome_of(change: Estimate, margin: float) -> str:
    """The conclusion that the interval of a change allows."""
    if change.problems < FEWEST_PROBLEMS:
        return "inconclusive"
    if change.low > ROUNDING:
        return "helped"
    if change.high < -ROUNDING:
        return "made worse"
    within = -margin - ROUNDING <= change.low and change.high <= margin + ROUNDING
    return "did not help" if within else "inconclusive"


@dataclass(frozen=True)
class Comparison:
    """Before and after over the problems that both were evaluated on; `missing` are sentences about what is
    missing.

    `problems`: problem_id, counts `correct_before`, `samples_before`, `correct_after`, `samples_after` (all
    seeds together), `solved_before`, `solved_after` (by more than half of the seeds), and `<metric>_before`,
    `<metric>_after` (mean over seeds), both null where the reference or a seed has too few samples for it.
    """

    findings: list[Finding]
    problems: pl.DataFrame
    settings: dict
    split: str
    seeds: list[str]
    missing: list[str]

    @property
    def summary(self) -> str:
        by_outcome: dict[str, list[str]] = {}
        for finding in self.findings:
            by_outcome.setdefault(finding.outcome, []).append(finding.metric.label)
        sentences = {
            "helped": "Training helped {}.",
            "made worse": "Training made {} worse.",
            "did not help": "Training did not help {}.",
            "inconclusive": "The result for {} is inconclusive.",
        }
        return " ".join(
            sentence.format(listed(by_outcome[outcome]))
            for outcome, sentence in sentences.items()
            if outcome in by_outcome
        )


def compare(evaluations: pl.DataFrame, run: Run) -> Comparison:
    """Compare the run's policies with its reference, from rows of the table `evaluations`."""
    names = {seed.policy_id: seed.name for seed in run.seeds}
    try:
        pairing = pair(evaluations, [run.reference_policy], list(names))
    except NotComparable:
        return Comparison([], pl.DataFrame(), {}, "", [], [_nothing_to_compare(evaluations, run)])
    here = {policy: names[policy] for policy in pairing.b}
    differences = {metric: find(pairing.rows, metric, run.reference_policy, here) for metric in METRICS}
    absent = [names[policy] for policy in pairing.absent]
    missing = [f"Not evaluated with the reference's settings: {some(absent)}."] if absent else []
    missing += [
        f"{metric.label} has no estimate: no problem has enough samples before and after."
        for metric, finding in differences.items()
        if not (finding or metric.optional)
    ]
    return Comparison(
        [finding for finding in differences.values() if finding],
        _side_by_side(pairing.rows, run.reference_policy, pairing.b),
        json.loads(pairing.comparable),
        listed(pairing.rows["split"].unique().sort().to_list()),
        list(here.values()),
        missing,
    )


def _nothing_to_compare(evaluations: pl.DataFrame, run: Run) -> str:
    rows = per_problem(evaluations.filter(pl.col("policy_id") == run.reference_policy)).drop_nulls("pass_1")
    if rows.is_empty():
        reference = f"The reference policy {run.reference_policy or '(not known)'} has not been evaluated."
    else:
        level = METRICS[0].level(float(rows["pass_1"].to_numpy().mean()))
        problems = count(rows["problem_id"].n_unique())
        reference = f"The reference alone, over all its evaluations: pass@1 {level} on {problems} problems."
    if not run.seeds:
        return f"No policy has been trained yet, so there is nothing to compare. {reference}"
    return (
        f"No trained policy has been evaluated on the problems and settings of the reference yet. {reference}"
    )


def find(rows: pl.DataFrame, metric: Metric, reference: str, names: Mapping[str, str]) -> Finding | None:
    """The finding on one metric; None if no problem has an estimate for the reference and every seed.

    `rows` are those of `per_problem` under one settings, `names` are policy ids of seeds and what to call
    them.
    """
    result = difference(rows, metric.column, [reference], list(names))
    return _finding(metric, result, names) if result else None


def _finding(metric: Metric, measured: Difference, names: Mapping[str, str]) -> Finding:
    seeds = [SeedResult(names[seed.policy_id], seed.level, seed.change) for seed in measured.seeds]
    return Finding(metric, measured.a, measured.b, measured.change, seeds)


def _side_by_side(rows: pl.DataFrame, reference: str, policies: list[str]) -> pl.DataFrame:
    """Problems with a judged sample before and for every seed after, see `Comparison`."""
    columns = [metric.column for metric in METRICS]
    judged = rows.filter(pl.col("samples") > 0)
    before = judged.filter(pl.col("policy_id") == reference).select(
        "problem_id", pl.col("samples", "correct", *columns).name.suffix("_before")
    )
    after = (
        judged.filter(pl.col("policy_id").is_in(policies))
        .group_by("problem_id")
        .agg(
            pl.col("samples", "correct").sum().name.suffix("_after"),
            *[_mean_of_all_seeds(name, len(policies)) for name in columns],
            seeds=pl.len(),
            seeds_solved=(pl.col("correct") > 0).sum(),
        )
    )
    joined = before.join(after.filter(pl.col("seeds") == len(policies)), on="problem_id").sort("problem_id")
    # Both or none: a mean before and a mean after must be over the same problems.
    for name in columns:
        both = pl.col(f"{name}_before").is_not_null() & pl.col(f"{name}_after").is_not_null()
        joined = joined.with_columns(pl.when(both).then(pl.col(f"{name}_before", f"{name}_after")))
    # More than half of the seeds, not any seed: three seeds have three times the samples of the reference, so
    # luck helps them more.
    return joined.with_columns(
        solved_before=pl.col("correct_before") > 0, solved_after=2 * pl.col("seeds_solved") > pl.col("seeds")
    )


def _mean_of_all_seeds(column: str, seeds: int) -> pl.Expr:
    """Mean over seeds; null unless every seed has a value."""
    return pl.when(pl.col(column).count() == seeds).then(pl.col(column).mean()).alias(f"{column}_after")
