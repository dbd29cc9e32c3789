"""Cells of the comparison of objectives: method, data condition, configuration and seed; and what each
trains on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.data import Source
from trainer.rollouts import SamplingSettings
from trainer.run import MixtureConfig, OnlineConfig, OptimiserSettings, RunConfig, TrainingSettings

REFERENCE = "reference"
AFTER_SFT = "after-sft"
VARIED = "varied"
HARD = "hard.json"  # the problems that the reference solves in none of HARD_SAMPLES samples, by split
HARD_SAMPLES = 50
MAX_NEW_TOKENS = 128
GROUP = 8  # samples of a problem in a round, for every method
ROUND_STEPS = 4  # of 32 rows, between rounds of 128 fresh samples
BATCH = 32
CURVE_POINTS = 2  # evaluations of a run on the validation split, the last of its final policy
CURVE_SAMPLES = 10
CURVE_PROBLEMS = 24


@dataclass(frozen=True)
class Configuration:
    """A learning rate, and settings of the objective that differ from those of its method."""

    rate: float
    objective: Mapping[str, Any] = field(default_factory=dict)


RATES = tuple(Configuration(rate) for rate in (3e-5, 1e-4, 3e-4, 1e-3))
# The pseudo-samples of Q0 bound how far a success is pulled, and how hard the failures of a problem without
# any success are pushed: trainer/objectives/soft_value.py.
SPO_TRIED = (
    Configuration(3e-4),
    *(Configuration(rate, {"smoothing": 0.05}) for rate in (1e-4, 3e-4, 1e-3)),
)
# From results/rivals-tuning.json: the best of four on the validation split, of one seed. SFT was as good at
# 3e-4 as at 1e-3. SPO online takes the best half-online whose KL stayed low. The others were not tuned, and
# take 1e-4 with fresh samples and 3e-4 without.
SPO_CHOSEN = {
    "offline": Configuration(3e-4),
    "half": Configuration(3e-4, {"smoothing": 0.05}),
    "successes": Configuration(3e-4),
} | dict.fromkeys(("online", "stale", AFTER_SFT), Configuration(1e-4, {"smoothing": 0.05}))
PPO_CHOSEN = dict.fromkeys(("online", "stale", AFTER_SFT), Configuration(3e-5))
GRPO_CHOSEN = dict.fromkeys(("online", "stale", AFTER_SFT), Configuration(3e-5))
UNTUNED = dict.fromkeys(("online", "half", "stale"), Configuration(1e-4))
SFT_TRIED = tuple(Configuration(rate) for rate in (1e-4, 3e-4, 1e-3, 3e-3))


@dataclass(frozen=True)
class Method:
    """An objective with the settings that its source starts from, and the data it is tried on.

    `tried` are the configurations of the tuning, as many for each method; `chosen` those that are compared
    where a budget tunes nothing, by condition.
    """

    objective: dict[str, Any]
    conditions: tuple[str, ...]
    groups: bool = False
    seeds: int = 3
    tried: tuple[Configuration, ...] = RATES
    chosen: Mapping[str, Configuration] = field(default_factory=dict)

    def best(self, condition: str) -> Configuration:
        return self.chosen.get(condition, Configuration(3e-4))


# offline: human programs and samples of the reference. successes: the right ones of both alone. online: fresh
# samples alone, each used once. half: both, with half of the fresh samples. stale: fresh samples of a policy
# of up to 40 updates ago. after-sft: online from the policy of `sft, successes` of the same seed, which has
# seen what the offline methods see.
METHODS = {
    "spo": Method(
        {"name": "spo", "beta": 0.1},
        ("offline", "successes", "half", "online", "stale", AFTER_SFT),
        seeds=5,
        tried=SPO_TRIED,
        chosen=SPO_CHOSEN,
    ),
    "ppo": Method(
        {"name": "ppo", "kl": 0.01, "clip_high": 0.28},
        ("online", "stale", AFTER_SFT),
        seeds=5,
        chosen=PPO_CHOSEN,
    ),
    "grpo": Method(
        {"name": "grpo"}, ("online", "stale", AFTER_SFT), groups=True, seeds=5, chosen=GRPO_CHOSEN
    ),
    "grpo-truncated": Method(
        {"name": "grpo", "importance": "truncate"}, ("offline", "half"), groups=True, seeds=5
    ),
    "sft": Method({"name": "sft"}, ("successes",), seeds=5, tried=SFT_TRIED),
    "astar_po": Method({"name": "astar_po"}, ("online", "offline"), chosen=UNTUNED),
    "tba": Method({"name": "tba", "beta": 0.014}, ("online", "half"), groups=True, chosen=UNTUNED),
    "oapl": Method({"name": "oapl"}, ("online", "stale"), groups=True, chosen=UNTUNED),
    "topr": Method({"name": "topr"}, ("online",), chosen=UNTUNED),
    "asymre": Method({"name": "asymre"}, ("offline", "online"), chosen=UNTUNED),
    "rloo": Method({"name": "rloo"}, ("offline",), groups=True),
}


@dataclass(frozen=True)
class Variant:
    """A condition of SPO with other settings of the objective, or of its data: `weight` and `window` of the
    fresh rows, the weight of another source by its name.
    """

    condition: str
    objective: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """How much is trained and evaluated. `tuned`: configurations are tried on the validation split first;
    without `seeds` nothing else is done. `hard`: only problems that the reference solves in none of
    HARD_SAMPLES samples. `variants`: cells with one setting of their own beside those of `cells`.
    """

    programs: tuple[int, int]  # human programs of each starter problem, at most: right and wrong ones
    steps: int
    warm_start_steps: int
    evaluated: int  # held-out problems
    samples: int  # of each of them
    tuned: bool
    cells: tuple[tuple[str, str], ...] | None = None  # None: all
    seeds: int | None = None  # None: as the method says
    hard: bool = False
    variants: tuple[Variant, ...] = ()


SHORT = (
    *(("spo", condition) for condition in ("offline", "half", "online")),
    ("ppo", "online"),
    ("grpo", "online"),
    ("sft", "successes"),
)
FAIR = (
    ("sft", "successes"),
    *(("spo", condition) for condition in ("offline", "successes", "half", "online", AFTER_SFT)),
    ("ppo", "online"),
    ("ppo", AFTER_SFT),
    ("grpo", "online"),
    ("grpo", AFTER_SFT),
)
OTHERS = (
    ("astar_po", "offline"),
    ("tba", "half"),
    ("oapl", "online"),
    ("topr", "online"),
    ("asymre", "offline"),
    ("rloo", "offline"),
)
# One setting at a time beside that of `chosen`: the loss, beta, the cap, Q0; how much fresh data and how old.
# Last of those on stored rows what pulls successes further, together.
VARIANTS = (
    *(
        Variant("offline", {**SPO_CHOSEN["offline"].objective, **changed})
        for changed in (
            {"failure_weight_cap": 0.1},
            {"smoothing": 0.0},
            {"shape": "squared"},
            {"beta": 0.03},
            {"smoothing": 0.05},
            {"beta": 0.3},
        )
    ),
    *(Variant("offline", SPO_CHOSEN["offline"].objective, {"human, right": weight}) for weight in (2.0, 9.0)),
    *(
        Variant("offline", {"failure_weight_cap": 0.1, "smoothing": value}, {"human, right": 9.0})
        for value in (0.05, 0.0)
    ),
    *(Variant("successes", {"smoothing": value}) for value in (0.05, 0.0)),
    *(
        Variant("half", SPO_CHOSEN["half"].objective, data)
        for data in ({"weight": 0.25}, {"window": 128}, {"window": 4096})
    ),
)
BUDGETS = {
    "small": Budget(
        (2, 1), 60, 300, 40, 20, False, (("spo", "half"), ("ppo", "online"), ("sft", "successes")), 1
    ),
    # What `chosen` of the methods comes from: online SPO takes what is best half-online.
    "tuning": Budget((3, 2), 60, 300, 41, 20, True, tuple(c for c in SHORT if c != ("spo", "online")), 0),
    # A comparison that two shared cores finish in an hour or two.
    "short": Budget((3, 2), 40, 300, 40, 20, False, SHORT, 3),
    # 100 samples, for pass@100.
    "medium": Budget((3, 2), 240, 300, 50, 100, False, (*FAIR, ("ppo", "stale"), *OTHERS)),
    "hard": Budget((3, 2), 160, 300, 40, 100, False, FAIR, 3, hard=True),
    "variants": Budget(
        (3, 2),
        240,
        300,
        50,
        100,
        False,
        (("spo", "offline"), ("spo", "successes"), ("spo", "half")),
        3,
        variants=VARIANTS,
    ),
    "full": Budget((12, 12), 480, 300, 80, 200, True),
}


@dataclass(frozen=True)
class Cell:
    """One training run and its evaluation."""

    method: str
    condition: str
    rate: float
    seed: int
    phase: str = "final"  # or VARIED, or `tune`, which is evaluated on the validation split
    objective: Mapping[str, Any] = field(default_factory=dict)  # settings that are not those of the method
    data: Mapping[str, float] = field(default_factory=dict)  # those of a `Variant`
    start: str = ""  # the cell whose policy it begins from, and is held near to; else the reference

    @property
    def name(self) -> str:
        settings = sorted([*self.objective.items(), *self.data.items()])
        changed = "".join(f"-{name}={value}" for name, value in settings)
        return f"{self.phase}-{self.method}-{self.condition}-{self.rate:g}{changed}-{self.seed}"

    @property
    def configuration(self) -> Configuration:
        return Configuration(self.rate, self.objective)

    @property
    def group(self) -> str:
        """Cells that differ in their seed alone."""
        own = METHODS[self.method].best(self.condition).objective
        changed = [f"{name} {value}" for name, value in self.objective.items() if own.get(name) != value]
        settings = changed if self.phase == VARIED else []
        settings += [f"{name} {value:g}" for name, value in self.data.items()]
        return ", ".join((self.method, self.condition, *settings))


def pairs(budget: Budget) -> Iterator[tuple[str, str]]:
    """Method and condition of the cells of a budget."""
    everything = ((name, condition) for name, method in METHODS.items() for condition in method.conditions)
    yield from budget.cells or everything


def tuning_cells(budget: Budget) -> Iterator[Cell]:
    """The same number of configurations for each method; after SFT it takes what is best online."""
    if budget.tuned:
        for method, condition in pairs(budget):
            for one in METHODS[method].tried if condition != AFTER_SFT else ():
                yield Cell(method, condition, one.rate, 0, "tune", one.objective)


def final_cells(budget: Budget, best: Mapping[str, Configuration]) -> Iterator[Cell]:
    """The cells that are compared. `best`: the configuration by group, else that of the method. By seed
    first, so that a run that is stopped has all methods.
    """

    def seeds_of(method: str) -> int:
        return METHODS[method].seeds if budget.seeds is None else budget.seeds

    for seed in range(max(seeds_of(method) for method, _ in pairs(budget))):
        for method, condition in pairs(budget):
            if seed < seeds_of(method):
                tuned = "online" if condition == AFTER_SFT else condition
                one = best.get(f"{method}, {tuned}", METHODS[method].best(condition))
                start = ""
                if condition == AFTER_SFT:
                    sft = best.get("sft, successes", METHODS["sft"].best("successes"))
                    start = Cell("sft", "successes", sft.rate, seed, objective=sft.objective).name
                yield Cell(method, condition, one.rate, seed, objective=one.objective, start=start)
        for variant in budget.variants if seed < seeds_of("spo") else ():
            rate = METHODS["spo"].best(variant.condition).rate
            yield Cell("spo", variant.condition, rate, seed, VARIED, variant.objective, variant.data)


def first_problems(split: str, count: int, budget: Budget, place: Path) -> str:
    """SQL predicate: the first problems of a split by hash; of a hard budget, of the hard ones."""
    among = f" and {hard_problems(place, split)}" if budget.hard else ""
    return (
        f"problem_id in (select problem_id from problems where split = '{split}'{among}"
        f" order by md5(problem_id) limit {count})"
    )


def hard_problems(place: Path, split: str) -> str:
    """SQL predicate: the problems of a split that the preparation chose as hard."""
    names = json.loads((place / HARD).read_text())[split]
    return f"problem_id in ({', '.join(repr(name) for name in names)})"


def curve_every(budget: Budget) -> int:
    """Steps between the policies that are evaluated on the way."""
    return budget.steps // CURVE_POINTS


def config_of(cell: Cell, budget: Budget, place: Path) -> RunConfig:
    """The configuration of a cell, as in a file for `spo train`."""
    method, run_id = METHODS[cell.method], f"rivals/{cell.name}"
    hard = f" and {hard_problems(place, 'train')}" if budget.hard else ""
    every = {"half": 2 * ROUND_STEPS, "stale": 10 * ROUND_STEPS}.get(cell.condition, ROUND_STEPS)
    online = None
    if cell.condition in ("online", "half", "stale", AFTER_SFT):
        online = OnlineConfig(
            problems_where=f"split = 'train' and source = 'starter'{hard}",
            from_step=0,
            every=every,
            problems=BATCH * (ROUND_STEPS if cell.condition != "stale" else every) // GROUP,
            sampling=SamplingSettings(samples_per_problem=GROUP, max_new_tokens=MAX_NEW_TOKENS),
        )
    return RunConfig(
        run=place / "runs" / cell.name,
        name=run_id,
        store=str(place / "store"),
        reference=place / "runs" / cell.start / "final" if cell.start else place / REFERENCE,
        reference_policy=f"rivals/{cell.start}" if cell.start else REFERENCE,
        seed=cell.seed,
        evaluation=first_problems("test", budget.evaluated, budget, place),
        allow_leaks=("ngrams",),
        objective={**method.objective, **cell.objective},
        training=TrainingSettings(
            steps=budget.steps,
            checkpoint_every=20,
            publish_every=curve_every(budget) if cell.phase == "final" else 0,
            publish_keep=CURVE_POINTS,
        ),
        optimiser=OptimiserSettings(learning_rate=cell.rate, schedule="constant"),
        mixture=MixtureConfig(batch_sequences=BATCH),
        source=list(_sources(cell, run_id, groups=method.groups, every=every, hard=hard)),
        online=online,
    )


def _sources(cell: Cell, run_id: str, *, groups: bool, every: int, hard: str) -> Iterator[Source]:
    """What a run draws from. A method that compares the rows of a problem has them in one source."""
    condition, group = cell.condition, GROUP if groups else None
    # All cells share a store, so what a source may draw is named: fresh samples of other cells are in it too.
    reference = f"j.policy_id = '{REFERENCE}' and j.origin = 'earlier_training'"
    stored = f"(j.origin = 'human' or {reference}){hard}"
    if condition == "successes":
        where = f"{stored} and j.verdict = 'accepted'"
        yield Source(name="successes", where=where, weight=1.0, unique="token")
    if condition in ("offline", "half"):
        if groups:
            yield Source(name="stored", where=stored, weight=1.0, group=group)
        else:
            human = f"j.origin = 'human'{hard} and j.verdict"
            right = cell.data.get("human, right", 0.55)
            yield Source(name="human, right", where=f"{human} = 'accepted'", weight=right, unique="token")
            yield Source(name="human, wrong", where=f"{human} <> 'accepted'", weight=0.15, unique="token")
            yield Source(name="reference", where=f"{reference}{hard}", weight=0.3)
    fresh = "j.origin = 'online' and j.run_id = $run"
    options: dict[str, Any] = {"parameters": {"run": run_id}, "group": group}
    if condition == "half":
        share = {"weight": 1.0, "window": 512, **cell.data}
        yield Source(name="fresh", where=fresh, when_empty="others", **share, **options)
    elif condition in ("online", "stale", AFTER_SFT):
        yield Source(name="fresh", where=fresh, weight=1.0, max_age_steps=every - 1, **options)
