"""Section [validation] of a run: evaluations every few steps on problems that are not trained on.

The figures are in the line of the step in `metrics.jsonl`, under `validation`, and the counts of each problem
in the table `evaluations`, like those of any other evaluation. The best policy so far is in `best/` in the
folder of the run. With `patience` a run ends once the figure has not risen for that number of evaluations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.store import MAY_BE_SAMPLED, Store, connect, predicate, query, report_not_sampled
from sandbox import Pool
from trainer.distributed import SINGLE, Learner, Ranks
from trainer.evaluation import Evaluation, evaluate
from trainer.policies import Policy, publish_policy
from trainer.rollouts import LocalSampler, SamplingSettings, shared_sampler

BEST = "best"  # folder of the policy with the best figure
SELECTED = """
select problem_id, statement, split from problems
where {where} and {may_be_sampled} order by md5(problem_id) limit {limit}
"""


class InvalidValidation(ValueError):
    """Validation problems that cannot be used; the message says why."""


class ValidationSettings(BaseModel):
    """How often, on what, and when the run ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    every: int = Field(50, ge=1, description="steps between evaluations; the last step is evaluated too")
    problems_where: str = Field(
        "split = 'valid'", description="SQL predicate on `problems`; none of them may be of split 'train'"
    )
    problems: int = Field(64, ge=1, description="largest number of problems, selected by hash")
    sampling: SamplingSettings = SamplingSettings(samples_per_problem=8)
    figure: Literal["pass@1", "pass@10", "distinct_correct"] = Field(
        "pass@1", description="what is compared; pass@10 needs 10 samples per problem"
    )
    patience: int | None = Field(
        None, ge=1, description="evaluations without a better figure after which the run ends; null: none"
    )

    @field_validator("problems_where")
    @classmethod
    def problems_where_is_a_condition(cls, value: str) -> str:
        predicate(value, name="condition")
        return value


@dataclass
class Progress:
    """What a checkpoint keeps: the best figure so far, its step, and the evaluations since."""

    best: float | None = None
    best_step: int | None = None
    since_best: int = 0

    def add(self, step: int, figure: float) -> bool:
        """Count an evaluation; returns whether it is the best so far."""
        if self.best is not None and figure <= self.best:
            self.since_best += 1
            return False
        self.best, self.best_step, self.since_best = figure, step, 0
        return True


@dataclass(kw_only=True)
class Validation:
    """The evaluations of one run."""

    store: Store
    judges: Pool | None  # of rank 0
    problems: pl.DataFrame
    settings: ValidationSettings
    folder: Path
    run_id: str
    seed: int
    ranks: Ranks = SINGLE
    progress: Progress = field(default_factory=Progress)

    def due(self, step: int, steps: int) -> bool:
        """Whether the policy is evaluated after this number of steps."""
        return step % self.settings.every == 0 or step == steps

    def evaluate(self, step: int, learner: Learner) -> dict[str, Any]:
        """Figures of the policy after this number of steps, to be logged. Every rank takes part."""
        evaluation = self.ranks.agree(self._evaluation(step, learner.whole()))
        figures = figures_of(evaluation)
        figure = figures[self.settings.figure]
        if figure is None:
            raise InvalidValidation(
                f"validation.figure: no problem has 10 judged samples, which {self.settings.figure} needs;"
                " raise validation.sampling.samples_per_problem"
            )
        if self.progress.add(step, figure):
            self._keep(learner)
        return {**figures, "best": self.progress.best, "best_step": self.progress.best_step}

    @property
    def ends(self) -> bool:
        """Whether the figure has not risen for long enough to end the run."""
        patience = self.settings.patience
        return patience is not None and self.progress.since_best >= patience

    def state(self) -> dict[str, Any]:
        return asdict(self.progress)

    def load_state(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state)

    def _evaluation(self, step: int, policy: Policy) -> Evaluation | None:
        """On rank 0; the others help with the samples."""
        policy_id = f"{self.run_id}@{step}"
        with shared_sampler(LocalSampler(policy), self.ranks) as sampler:
            if sampler is None or self.judges is None:
                return None
            if policy_id not in self.store.read("policies", ["policy_id"])["policy_id"].to_list():
                publish_policy(self.store, policy, None, policy_id=policy_id, run_id=self.run_id, step=step)
            return evaluate(
                self.store,
                self.judges,
                policy if self.ranks.world == 1 else sampler,
                policy_id,
                self.problems,
                self.settings.sampling,
                seed=self.seed,
                run_id=self.run_id,
                step=step,
            )

    def _keep(self, learner: Learner) -> None:
        learner.write(self.folder / BEST)


def figures_of(evaluation: Evaluation) -> dict[str, float | int | None]:
    """An evaluation as numbers of a log line: means over problems, and 95 % intervals."""
    figures: dict[str, float | int | None] = {}
    for name, estimate in (("pass@1", evaluation.pass_at_1), ("pass@10", evaluation.pass_at_10)):
        figures[name] = estimate.mean if estimate else None
        if estimate:
            figures |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return figures | {
        "distinct_correct": evaluation.distinct_correct,
        "problems": evaluation.problems,
        "samples": evaluation.samples,
        "judge_errors": evaluation.judge_errors,
    }


def validation_problems(store: Store, settings: ValidationSettings) -> pl.DataFrame:
    """Raises InvalidValidation if there is none, or one that may be trained on."""
    with connect(store) as connection:
        condition = predicate(settings.problems_where, name="validation.problems_where")
        report_not_sampled(connection, condition)
        problems = query(
            connection,
            SELECTED.format(where=condition, may_be_sampled=MAY_BE_SAMPLED, limit=settings.problems),
        )
    if problems.is_empty():
        raise InvalidValidation(
            f"validation.problems_where: no problem fits {settings.problems_where}; name a split that the"
            " store has, e.g. split = 'test'"
        )
    trained = problems.filter(pl.col("split") == "train")["problem_id"].to_list()
    if trained:
        raise InvalidValidation(
            f"validation.problems_where: {len(trained)} of {problems.height} problems are of split 'train',"
            f" which is trained on (the first: {trained[0]}); add split <> 'train'"
        )
    return problems
