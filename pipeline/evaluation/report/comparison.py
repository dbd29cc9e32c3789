"""Did training help? The same problems before and after, and what the difference allows to be said.

Uncertainty is over problems: a paired bootstrap (Efron 1979) draws problems with replacement and takes the mean of each
problem's own difference, so that easy and hard problems cancel out. It says nothing of other seeds; those are shown one by one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.evaluation.report.runfolder import Run
from pipeline.evaluation.report.text import count, listed, number, some
from pipeline.store import Estimate, over_problems, pass_at_k

# Below this many problems an interval over problems is not worth its name.
FEWEST_PROBLEMS = 10


@dataclass(frozen=True)
class Metric:
    """A figure of a policy on a problem. A change whose whole interval lies within `margin` of 0 counts as none."""

    column: str
    label: str
    margin: float
    share: bool

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
    Metric("distinct_correct", "distinct correct programs a problem", 0.05, False),
)


@dataclass(frozen=True)
class SeedResult:
    """A seed after training, and its change from the reference on the same problems."""

    name: str
    after: Estimate
    change: Estimate


@dataclass(frozen=True)
class Finding:
    """One metric before and after. `outcome`: helped, made worse, did not help, or cannot be told."""

    metric: Metric
    before: Estimate
    after: Estimate
    change: Estimate
    seeds: list[SeedResult]
    total_before: float
    total_after: float

    @property
    def outcome(self) -> str:
        return outcome_of(self.change, self.metric.margin)

    @property
    def sentence(self) -> str:
        low, high = (self.metric.change(edge, unit=False) for edge in (self.change.low, self.change.high))
        went = f"Mean {self.metric.label} went from {self.metric.level(self.before.mean)} to {self.metric.level(self.after.mean)}"
        problems = count(self.change.problems)
        interval = (
            f"({self.metric.change(self.change.mean)}; 95 % interval {low} to {high}, {problems} problems)"
        )
        return f"{went} {interval}: {self.conclusion}{self.seeds_in_words}"

    @property
    def conclusion(self) -> str:
        if self.change.problems < FEWEST_PROBLEMS:
            return f"with fewer than {FEWEST_PROBLEMS} problems it cannot be told whether training helped."
        return {
            "helped": "training helped.",
            "made worse": "training made it worse.",
            "did not help": f"training did not help; any change is below {self.metric.change(self.metric.margin).lstrip('+')}.",
            "cannot be told": "it cannot be told whether training helped, since the interval includes 0.",
        }[self.outcome]

    @property
    def seeds_in_words(self) -> str:
        if len(self.seeds) == 1:
            return " This is one seed; others may differ."
        up = sum(result.change.mean > 0 for result in self.seeds)
        down = sum(result.change.mean < 0 for result in self.seeds)
        same = len(self.seeds) - up - down
        if len(self.seeds) in (up, down):
            return f" All {len(self.seeds)} seeds went {'up' if up else 'down'}."
        return (
            f" Of {len(self.seeds)} seeds, {up} went up and {down} down{f', {same} stayed' if same else ''}."
        )


def outcome_of(change: Estimate, margin: float) -> str:
    """What the interval of a change carries, and no more."""
    if change.problems < FEWEST_PROBLEMS:
        return "cannot be told"
    if change.low > 0:
        return "helped"
    if change.high < 0:
        return "made worse"
    return "did not help" if -margin <= change.low and change.high <= margin else "cannot be told"


@dataclass(frozen=True)
class Comparison:
    """Before and after over the problems both were evaluated on; `missing` says in words what there is not.

    `problems`: problem_id, counts `correct_before`, `samples_before`, `correct_after`, `samples_after` (all seeds together),
    `solved_before`, `solved_after` (for more than half of the seeds), and `<metric>_before`, `<metric>_after` (mean over
    seeds; null where a problem has too few samples for it).
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
        said = {
            "helped": "Training helped {}.",
            "made worse": "Training made {} worse.",
            "did not help": "Training did not help {}.",
            "cannot be told": "Whether it helped {} cannot be told from this run.",
        }
        return " ".join(
            said[outcome].format(listed(by_outcome[outcome])) for outcome in said if outcome in by_outcome
        )


def compare(evaluations: pl.DataFrame, run: Run) -> Comparison:
    """Compare the run's policies with its reference, from rows of the table `evaluations`."""
    names = {seed.policy_id: seed.name for seed in run.seeds}
    per_problem = with_metrics(evaluations.filter(pl.col("policy_id").is_in([run.reference_policy, *names])))
    before = per_problem.filter(pl.col("policy_id") == run.reference_policy)
    chosen = most_comparable(per_problem, run.reference_policy)
    if chosen is None:
        return Comparison([], pl.DataFrame(), {}, "", [], [why_nothing(before, run)])
    settings, split = chosen
    kept = per_problem.filter((pl.col("comparable") == settings) & (pl.col("split") == split))
    here = [policy for policy in names if policy in set(kept["policy_id"])]
    absent = [names[policy] for policy in names if policy not in here]
    missing = [f"Not evaluated with the reference's settings: {some(absent)}."] if absent else []
    findings = []
    for metric in METRICS:
        finding = find(kept, metric, run.reference_policy, {policy: names[policy] for policy in here})
        findings += [finding] if finding else []
        missing += (
            []
            if finding
            else [f"{metric.label} has no estimate: no problem has enough samples before and after."]
        )
    problems = side_by_side(kept, run.reference_policy, here)
    return Comparison(
        findings, problems, json.loads(settings), split, [names[policy] for policy in here], missing
    )


def why_nothing(before: pl.DataFrame, run: Run) -> str:
    if before.is_empty():
        alone = f"The reference policy {run.reference_policy or '(not named)'} has not been evaluated."
    else:
        level = METRICS[0].level(float(before["pass_1"].to_numpy().mean()))
        alone = f"The reference alone, over all its evaluations: pass@1 {level} on {count(before['problem_id'].n_unique())} problems."
    if not run.seeds:
        return f"No policy has been trained yet, so there is nothing to compare. {alone}"
    return f"No trained policy has been evaluated on the problems and settings of the reference yet. {alone}"


def with_metrics(evaluations: pl.DataFrame) -> pl.DataFrame:
    """One row a (policy, settings without seed, problem): means over repeated evaluations, counts added up."""
    samples, correct = (evaluations[name].to_numpy() for name in ("samples", "correct"))
    enough = samples >= 10
    pass_10 = np.full(len(samples), np.nan)
    pass_10[enough] = pass_at_k(samples[enough], correct[enough], 10)
    columns = evaluations.with_columns(
        pl.Series("pass_1", correct / samples if len(samples) else [], dtype=pl.Float64),
        pl.Series("pass_10", pass_10, dtype=pl.Float64).fill_nan(None),
        pl.Series("comparable", [without_seed(text) for text in evaluations["settings"]], dtype=pl.String),
    )
    means = [pl.col(metric.column).cast(pl.Float64).mean() for metric in METRICS]
    keys = ("policy_id", "comparable", "split", "problem_id")
    return columns.group_by(keys, maintain_order=True).agg(
        pl.col("samples", "correct").sum(), pl.col("evaluated_at").max(), *means
    )


def without_seed(settings: str) -> str:
    """Settings under which two evaluations may be compared: all but the random seed."""
    try:
        found = json.loads(settings)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return json.dumps({"settings": settings})
    return json.dumps({key: value for key, value in found.items() if key != "seed"}, sort_keys=True)


def most_comparable(per_problem: pl.DataFrame, reference: str) -> tuple[str, str] | None:
    """Settings and split that the reference shares with most policies; then the test split, most problems, the latest."""
    groups = per_problem.group_by("comparable", "split").agg(
        policies=pl.col("policy_id").n_unique(),
        problems=pl.col("problem_id").n_unique(),
        latest=pl.col("evaluated_at").max(),
        with_reference=(pl.col("policy_id") == reference).any(),
    )
    groups = groups.filter("with_reference", pl.col("policies") > 1).with_columns(
        test=pl.col("split") == "test"
    )
    best = groups.sort("policies", "test", "problems", "latest", "comparable", descending=True)
    return best.select("comparable", "split").row(0) if best.height else None


def find(kept: pl.DataFrame, metric: Metric, reference: str, names: dict[str, str]) -> Finding | None:
    """The finding on one metric over problems with an estimate for the reference and every seed; None without any."""
    wide = (
        kept.drop_nulls(metric.column)
        .pivot("policy_id", index="problem_id", values=metric.column)
        .sort("problem_id")
    )
    if not {reference, *names} <= set(wide.columns):
        return None
    wide = wide.drop_nulls()
    if wide.is_empty():
        return None
    before = wide[reference].to_numpy()
    after = {name: wide[policy].to_numpy() for policy, name in names.items()}
    mean = np.mean(list(after.values()), axis=0)
    return Finding(
        metric,
        over_problems(before),
        over_problems(mean),
        over_problems(mean - before),
        [
            SeedResult(name, over_problems(values), over_problems(values - before))
            for name, values in after.items()
        ],
        float(before.sum()),
        float(mean.sum()),
    )


def side_by_side(kept: pl.DataFrame, reference: str, policies: list[str]) -> pl.DataFrame:
    """Problems evaluated before and by every seed after, see `Comparison`."""
    columns = [metric.column for metric in METRICS]
    before = kept.filter(pl.col("policy_id") == reference).select(
        "problem_id", pl.col("samples", "correct", *columns).name.suffix("_before")
    )
    after = (
        kept.filter(pl.col("policy_id").is_in(policies))
        .group_by("problem_id")
        .agg(
            pl.col("samples", "correct").sum().name.suffix("_after"),
            # A mean over some of the seeds would compare unlike with unlike.
            *[
                pl.when(pl.col(name).count() == len(policies))
                .then(pl.col(name).mean())
                .alias(f"{name}_after")
                for name in columns
            ],
            seeds=pl.len(),
            seeds_solved=(pl.col("correct") > 0).sum(),
        )
    )
    joined = before.join(after.filter(pl.col("seeds") == len(policies)), on="problem_id").sort("problem_id")
    # More than half of the seeds, not any: three seeds have three times the samples of the reference, and as many lucky ones.
    return joined.with_columns(
        solved_before=pl.col("correct_before") > 0, solved_after=2 * pl.col("seeds_solved") > pl.col("seeds")
    )
