"""The demo's settings, the run name that follows from them, and the problems that they select."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from trainer.objectives import AnyObjectiveSettings, SpoSettings
from trainer.rollouts import OnlineSettings, SamplingSettings
from trainer.run import OptimiserSettings, TrainingSettings

# In a source tree, or beside the packages of an installed wheel.
_ROOT = Path(__file__).parents[2]
STARTER = next(
    (place for place in (_ROOT / "data" / "starter", _ROOT / "spo" / "data" / "starter") if place.exists()),
    _ROOT / "data" / "starter",
)


class DemoSettings(BaseModel):
    """Settings of the demo. All of them except the number of seeds determine the run's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    starter_limit: int | None = Field(
        None, ge=1, description="maximum number of problems of the starter set; null: all"
    )
    data: str | None = Field(
        None, description="folder of real contest data in the layout of the bundle adapter"
    )
    hub: str | None = Field(
        None, description="DeepMind CodeContests: a Hub name or a local parquet file or folder"
    )
    limit: int | None = Field(
        350, ge=1, description="maximum number of problems of each real data set; null: all"
    )
    model: str | None = Field(
        None, description="folder or Hub name of a causal model; null: a small model, warm-started here"
    )
    seeds: int = Field(3, ge=1)
    train_problems: int = Field(
        662, ge=1, description="number of starter problems sampled for the soft value and online"
    )
    earlier_problems: int = Field(
        200, ge=1, description="number of these problems on which the earlier policy is sampled"
    )
    test_problems: int = Field(80, ge=1, description="number of held-out starter problems of the evaluation")
    contest_problems: int = Field(
        24,
        ge=0,
        description="number of real problems with short statements that are sampled, too, with `data`",
    )
    max_tokens: int = Field(
        768, ge=1, description="maximum tokens of prompt and completion together in training"
    )
    warm_start: dict[str, Any] = {
        "rows": {
            "problems": "split = 'train' and source = 'starter'",
            "where": "j.origin = 'human'",
            "share": 0.5,
            "per_problem": 2,
        },
        "seed": 0,
        "model": {"layers": 3, "width": 128},
        "training": {"steps": 300, "batch_tokens": 2048},
    }
    earlier_steps: int = Field(
        200, ge=1, description="warm-start steps of the earlier policy whose samples are mixed in"
    )
    reference_sampling: SamplingSettings = SamplingSettings(samples_per_problem=6, max_new_tokens=128)
    earlier_sampling: SamplingSettings = SamplingSettings(samples_per_problem=4, max_new_tokens=128)
    evaluation: SamplingSettings = SamplingSettings(samples_per_problem=20, max_new_tokens=128)
    objective: AnyObjectiveSettings = SpoSettings()
    training: TrainingSettings = TrainingSettings(steps=240)
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1.5e-3)
    online: OnlineSettings = OnlineSettings(from_step=200, every=10, problems=32)
    batch_sequences: int = 32


# Increase this when a changed default changes what a run does: runs with the old default keep name and
# folder.
GENERATION = 2


def identity_of(settings: DemoSettings) -> str:
    """The text that a run's name is derived from: the settings that differ from their defaults. So a new
    setting does not rename old runs.
    """
    return f"{GENERATION} {settings.model_dump_json(exclude={'seeds'}, exclude_defaults=True)}"


def train_problems(settings: DemoSettings, count: int) -> str:
    """SQL predicate: `count` starter problems, and real problems with short statements and an accepted Python
    program.
    """
    starter = first_by_hash("split = 'train' and source = 'starter'", count)
    if not settings.data or not settings.contest_problems:
        return starter
    short = (
        "source <> 'starter' and split = 'train' and input_mode = 'stdin' and checker <> 'custom'"
        " and length(statement) < 900 and exists (select 1 from judged j"
        " where j.problem_id = problems.problem_id and j.verdict = 'accepted'"
        " and j.language = 'python3' and length(j.program) < 700)"
    )
    return f"{starter} or {first_by_hash(short, settings.contest_problems)}"


def first_by_hash(predicate: str, count: int) -> str:
    """SQL predicate: the first `count` problems in hash order of those that a predicate selects."""
    return (
        f"problem_id in (select problem_id from problems where {predicate}"
        f" order by md5(problem_id) limit {count})"
    )


def evaluation_problems(settings: DemoSettings) -> str:
    """SQL predicate: the held-out starter problems of the evaluation."""
    return first_by_hash("split = 'test' and source = 'starter'", settings.test_problems)
