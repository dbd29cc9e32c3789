"""How often, and for how long, the fresh rows of a run are worth using again: measured on the run itself.

Reuse makes a step cheaper, because fewer rows are sampled for it, and worth less, because older rows have
other gradients and rows that come again bring the same noise. A step on B rows, each used `uses` times, with
sampling `mu` times as dear as training, costs B (1 + mu / uses) (Arnal et al., arXiv 2604.08706: 1 + W / T
for W samplers and T trainers). What it is worth follows McCandlish et al. (arXiv 1812.06162): with the best
step size, a step on gradients of mean G_w and noise S per row lowers the loss in proportion to

    <G_w, G_0>^2 / (|G_w|^2 + uses S / B)

where G_0 is the gradient on rows of the present policy, and S counts `uses` times because a row's noise is
not averaged away by using the row again. G_w is the mean over the ages of the window. All inner products are
estimated from pairs of batches without a row in common, so that noise does not count as agreement.

The closed forms of arXiv 2604.08706 were not at hand: this is a derivation of our own in its terms. It does
not see that rows which come again in close succession are overfitted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.store import Store, connect, query
from trainer.data import Source
from trainer.distributed import SINGLE
from trainer.policies import Policy, load_policy
from trainer.run.config import ConfigError, RunConfig, load_config
from trainer.run.execution import load_start, open_stream
from trainer.run.folder import FINAL, has_final
from trainer.run.log import LOG
from trainer.run.optim import preparation
from trainer.run.step import Trainer

USES = (1, 2, 3, 4, 6, 8, 12, 16)
FEWEST_BATCHES = 2
SIGNAL_ERRORS = 2.0  # standard errors by which the signal of the newest rows, a divisor, is above 0
SKETCH = 2**20  # numbers of a gradient that are compared; of larger models a random projection


@dataclass(frozen=True)
class AgeBin:
    """Rows whose policy was `low` to `high - 1` steps old."""

    low: int
    high: int
    rows: int


@dataclass(frozen=True)
class Agreement:
    """Inner products of the expected gradients of K age bins, newest first, and the noise of one row."""

    inner: np.ndarray  # [K, K]
    noise: float
    similarity: np.ndarray  # [K] <G_k, G_0> / |G_0|^2
    error: np.ndarray  # [K] standard error of the similarity
    signal_error: float  # standard error of inner[0, 0]; infinite for fewer than three batches


@dataclass(frozen=True)
class ReplayChoice:
    """One way to reuse rows. `cost`: time to the same progress, as a share of that with fresh rows alone."""

    uses: int
    window: int  # rows
    oldest: int  # steps
    cost: float


@dataclass(frozen=True)
class ReplayPlan:
    """What was measured on a run, and what it says of reuse; `best` is the first of `choices`."""

    run: str
    step: int
    batch: int
    cost_ratio: float  # time to sample, judge and score a row, by the time to train on it
    bins: list[AgeBin]
    similarity: list[float]
    error: list[float]
    noise_scale: float  # rows whose mean gradient is as much signal as noise
    choices: list[ReplayChoice]


def plan_replay(
    folder: Path, *, batches: int = 8, ages: int = 5, cost_ratio: float | None = None
) -> ReplayPlan:
    """Measure the gradients of a run's fresh rows at its newest policy.

    `batches`: at most so many of each of the `ages` bins. `cost_ratio` replaces that of the log, e.g. where
    workers sample elsewhere. Raises ConfigError where the run has nothing to measure.
    """
    config = load_config(folder)
    if config.objective.build().needs.value_network:
        raise ConfigError(f"{folder}: a checkpointed value network is not read here; plan a run without one")
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    policy, step = newest_policy_of(folder, lines)
    cost = cost_ratio if cost_ratio is not None else cost_ratio_of(folder, lines)
    batch = round(sum(line["rows"] for line in lines) / len(lines))
    bins = age_bins(rows_by_age(config, step), batch, ages)
    if len(bins) < 2:
        raise ConfigError(
            f"{folder}: too few judged fresh rows of different ages to compare: {2 * FEWEST_BATCHES * batch}"
            " are needed at least"
        )
    objective = {"beta": lines[-1]["beta"]} if "beta" in lines[-1] else {}
    gradients = [gradients_of(config, policy, one, step, batch, batches, objective) for one in bins]
    agreement = agreement_of(gradients, batch)
    if not agreement.inner[0, 0] > SIGNAL_ERRORS * agreement.signal_error:
        raise ConfigError(
            f"{folder}: gradients of batches of the newest rows do not agree: no signal was measured;"
            f" take more than {batches} --batches, or a later policy"
        )
    return ReplayPlan(
        run=config.run_id,
        step=step,
        batch=batch,
        cost_ratio=cost,
        bins=bins,
        similarity=agreement.similarity.tolist(),
        error=agreement.error.tolist(),
        noise_scale=agreement.noise / float(agreement.inner[0, 0]),
        choices=choices_of(agreement, bins, batch, cost),
    )


def newest_policy_of(folder: Path, lines: Sequence[Mapping[str, Any]]) -> tuple[Policy, int]:
    """The final or the last published policy of a run, and its step."""
    if has_final(folder):
        return load_policy(folder / FINAL), lines[-1]["step"] + 1
    steps = [int(path.name.removeprefix("policy-")) for path in folder.glob("policy-[0-9]*")]
    if not steps:
        raise ConfigError(f"{folder}: no policy is published yet; set training.publish_every, or wait")
    return load_policy(folder / f"policy-{max(steps)}"), max(steps)


def cost_ratio_of(folder: Path, lines: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a fresh row by seconds of a row in a step, from the log."""
    fresh = sum(line["fresh"]["rows"] for line in lines if line.get("fresh"))
    if not fresh:
        raise ConfigError(f"{folder}: the run itself made no fresh rows; give their cost as --cost-ratio")
    making = sum(line["fresh_seconds"] for line in lines) / fresh
    training = sum(line["seconds"] - line["data_seconds"] for line in lines)
    return making / (training / sum(line["rows"] for line in lines))


def rows_by_age(config: RunConfig, step: int) -> dict[int, int]:
    """Judged rows of the run's own policies by age in steps."""
    with connect(Store(config.store)) as connection:
        counts = query(
            connection,
            "select policy_step, count(*) as rows from judged"
            " where run_id = $run and origin = 'online' and policy_step <= $step group by all order by all",
            {"run": config.run_id, "step": step},
        )
    return {step - policy_step: rows for policy_step, rows in counts.iter_rows()}


def age_bins(rows: Mapping[int, int], batch: int, count: int) -> list[AgeBin]:
    """At most `count` bins from the newest rows on, of at least two batches each."""
    ages = sorted(rows)
    wanted = max(FEWEST_BATCHES * batch, math.ceil(sum(rows.values()) / count))
    bins: list[AgeBin] = []
    low, taken = 0, 0
    for age in ages:
        taken += rows[age]
        if taken >= wanted:
            bins.append(AgeBin(low, age + 1, taken))
            low, taken = age + 1, 0
    if bins and taken:  # the rest joins the oldest
        bins[-1] = AgeBin(bins[-1].low, ages[-1] + 1, bins[-1].rows + taken)
    return bins


def gradients_of(
    config: RunConfig,
    policy: Policy,
    ages: AgeBin,
    step: int,
    batch: int,
    batches: int,
    objective: Mapping[str, Any],
) -> torch.Tensor:
    """The gradient of the run's objective at a policy on batches of rows of these ages, no row in two of
    them: [batches, SKETCH at most].
    """
    source = Source(
        name="rows",
        where="j.run_id = $run and j.origin = 'online' and j.policy_step between $first and $last",
        parameters={"run": config.run_id, "first": step - ages.high + 1, "last": step - ages.low},
        weight=1.0,
        group=next((one.group for one in config.source if one.group), None),
    )
    changed = config.model_copy(
        update={
            "source": [source],
            "online": None,
            "mixture": config.mixture.model_copy(
                update={"batch_sequences": batch, "batch_tokens_global": None}
            ),
            "training": config.training.model_copy(update={"max_log_ratio": None, "max_loss": None}),
            "objective": config.objective.model_copy(update=objective),
        }
    )
    built = changed.objective.build()
    stream = open_stream(changed, Store(config.store), load_start(config), built.needs)
    stream.advance(stream.latest())
    prepared = preparation(
        config.optimiser.model_copy(update={"lora": None}), None, activation_checkpointing=False
    )
    learner, _ = SINGLE.start(policy, prepared, None)
    trainer = Trainer(learner, built, changed.training, config.optimiser)
    gradients = []
    for number in range(min(batches, len(stream.pool("rows")) // batch)):
        policy.model.zero_grad(set_to_none=True)
        trainer.backward(number, stream.batch(number))
        gradients.append(sketch([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]))
    policy.model.zero_grad(set_to_none=True)
    if len(gradients) < FEWEST_BATCHES:
        raise ConfigError(
            f"{config.run}: of the rows of {ages.low} to {ages.high - 1} steps ago fewer than"
            f" {FEWEST_BATCHES * batch} can be trained on"
        )
    return torch.stack(gradients)


def sketch(parts: Sequence[torch.Tensor], size: int = SKETCH) -> torch.Tensor:
    """The numbers themselves, or a count sketch of `size`, which keeps inner products on average
    (Charikar et al. 2002).
    """
    if sum(part.numel() for part in parts) <= size:
        return torch.cat([part.float().cpu() for part in parts])
    total, generator = torch.zeros(size), torch.Generator().manual_seed(0)
    for part in parts:
        place = torch.randint(size, (part.numel(),), generator=generator)
        sign = torch.randint(2, (part.numel(),), generator=generator) * 2 - 1
        total.index_add_(0, place, part.float().cpu() * sign)
    return total


def agreement_of(gradients: Sequence[torch.Tensor], batch: int) -> Agreement:
    """Inner products of the expected gradients of bins, newest first, from their batches' gradients [n, D];
    errors by the jackknife over batches.
    """
    owner = np.repeat(np.arange(len(gradients)), [len(one) for one in gradients])
    together = torch.cat(list(gradients)).double()
    products = (together @ together.T).numpy()

    def inner(chosen: np.ndarray) -> np.ndarray:
        def mean(a: int, b: int) -> float:
            rows, columns = chosen[owner[chosen] == a], chosen[owner[chosen] == b]
            block = products[np.ix_(rows, columns)]
            if a != b:
                return float(block.mean())
            count = len(rows)
            return float((block.sum() - block.trace()) / (count * (count - 1))) if count > 1 else math.nan

        count = len(gradients)
        return np.array([[mean(a, b) for b in range(count)] for a in range(count)])

    every = np.arange(len(owner))
    whole = inner(every)
    squares = np.array([products[owner == one, owner == one].mean() for one in range(len(gradients))])
    variance, of_signal = np.zeros(len(gradients)), 0.0 if len(gradients[0]) >= 3 else math.inf
    for one in range(len(gradients)):
        own = every[owner == one]
        if len(own) < 3:
            continue
        without = [inner(every[every != left]) for left in own]
        variance += _jackknife(np.array([_similarity(values) for values in without]))
        of_signal += float(_jackknife(np.array([values[:1, 0] for values in without]))[0])
    return Agreement(
        inner=whole,
        noise=batch * float(np.mean(squares - whole.diagonal())),
        similarity=_similarity(whole),
        error=np.sqrt(variance),
        signal_error=math.sqrt(of_signal),
    )


def _jackknife(without: np.ndarray) -> np.ndarray:
    """Variance of an estimate, [K], from its values without one batch each, [n, K]."""
    return (len(without) - 1) / len(without) * np.square(without - without.mean(axis=0)).sum(axis=0)


def _similarity(inner: np.ndarray) -> np.ndarray:
    return inner[0] / inner[0, 0]


def relative_cost(
    inner: np.ndarray, ages: np.ndarray, noise: float, batch: int, cost_ratio: float, uses: int
) -> float:
    """Time to the same progress with rows of ages in these shares ([K], sum 1), each used `uses` times, by
    that with rows of the newest bin used once. Infinite where such rows lead away.
    """
    of_window, toward = float(ages @ inner @ ages), float(inner[0] @ ages)
    if toward <= 0:
        return math.inf
    steps = inner[0, 0] * (of_window + uses * noise / batch) / toward**2
    of_fresh = (inner[0, 0] + noise / batch) / inner[0, 0]
    return (1 + cost_ratio / uses) * steps / ((1 + cost_ratio) * of_fresh)


def choices_of(
    agreement: Agreement, bins: Sequence[AgeBin], batch: int, cost_ratio: float
) -> list[ReplayChoice]:
    """Uses and windows by their cost, cheapest first, without those that lead away. A window ends where a
    bin ends, and holds at least a batch.
    """
    choices = []
    for uses in USES:
        for last in range(len(bins)):
            oldest = bins[last].high
            window = round(batch * oldest / uses)
            if window < batch:
                continue
            ages = np.array([one.high - one.low if k <= last else 0 for k, one in enumerate(bins)], float)
            cost = relative_cost(agreement.inner, ages / ages.sum(), agreement.noise, batch, cost_ratio, uses)
            if math.isfinite(cost):
                choices.append(ReplayChoice(uses, window, oldest, cost))
    return sorted(choices, key=lambda one: (one.cost, -one.window))
