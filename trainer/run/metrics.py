"""The figures of a step: means of every column over the batch and per source, the mix of rows, the KL to
the reference.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data import Row

KL_WEIGHT_CAP = 10.0


@dataclass(frozen=True)
class StepRows:
    """The rows of one step and what was computed for each.

    `columns` are `loss`, `log_ratio` (log pi - log pi_ref), `token_entropy` (nats), `age_steps` (steps since
    the policy of this run that sampled the row), and those of the objective: [N] each, on the CPU, in the
    order of `rows`. NaN means that a row has no such value.
    """

    rows: list[Row]
    columns: dict[str, Tensor]
    places: list[int]  # of each row in its batch, which micro-batches reorder


def step_figures(step: StepRows) -> dict:
    """What to log of a step: its figures over the whole batch, and under `sources` for every source of the
    mixture.
    """
    names = [row.source for row in step.rows]
    of_source = {
        name: _figures(step, torch.tensor([n == name for n in names])) for name in sorted(set(names))
    }
    return _figures(step, torch.ones(len(names), dtype=torch.bool)) | {"sources": of_source}


def kl_estimate(
    log_ratio: Tensor,
    reference_logprob: Tensor,
    behaviour_logprob: Tensor,
    selection_weight: Tensor | None = None,
) -> tuple[float | None, float]:
    """Self-normalised, truncated importance sampling of E_pi[log pi - log pi_ref] from samples of any known
    mu.

    `selection_weight` is mu(verdict) / share(verdict) of each row, NaN where that is not known: rows drawn by
    verdict are no sample of mu. Returns the estimate (None where no row can be used) and the effective sample
    size of the weights.
    """
    selection = torch.ones_like(log_ratio) if selection_weight is None else selection_weight
    known = torch.isfinite(behaviour_logprob) & torch.isfinite(log_ratio) & torch.isfinite(selection)
    if not bool(known.any()):
        return None, 0.0
    ratio = (reference_logprob + log_ratio - behaviour_logprob)[known].double()
    weight = ratio.clamp(max=20.0).exp().clamp(max=KL_WEIGHT_CAP) * selection[known].double()
    if float(weight.sum()) == 0.0:
        return None, 0.0
    kl = (weight * log_ratio[known].double()).sum() / weight.sum()
    return float(kl), float(weight.sum().square() / weight.square().sum())


def _figures(step: StepRows, chosen: Tensor) -> dict:
    """The figures of the chosen rows: [N] bool."""
    rows = [step.rows[i] for i in chosen.nonzero().flatten().tolist()]
    log_ratio = step.columns["log_ratio"][chosen]
    kl, samples = kl_estimate(
        log_ratio,
        torch.tensor([row.reference_logprob for row in rows]),
        torch.tensor([row.behaviour_logprob for row in rows]),
        torch.tensor([row.selection_weight for row in rows]),
    )
    return {
        **{name: _mean(values[chosen]) for name, values in step.columns.items()},
        "max_log_ratio": _largest(log_ratio.abs()),
        "kl": kl,
        "kl_samples": samples,
        **_mix(rows),
    }


def _mix(rows: list[Row]) -> dict:
    """Rows, share of successes, verdicts, problems, and distinct completions (problem and tokens) of
    successes.
    """
    correct = [row for row in rows if row.success]
    return {
        "rows": len(rows),
        "success_share": float(torch.tensor([row.success for row in rows]).float().mean()),
        "verdicts": dict(sorted(Counter(row.verdict for row in rows if row.verdict).items())),
        "problems": len({row.problem_id for row in rows}),
        "distinct_correct": len({(row.problem_id, tuple(row.completion_ids)) for row in correct}),
    }


def _mean(values: Tensor) -> float | None:
    """The mean of the values that are not NaN; None without any."""
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None


def _largest(values: Tensor) -> float | None:
    known = values[~values.isnan()]
    return float(known.max()) if len(known) else None
