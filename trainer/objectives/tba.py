"""TBA and AGRO: the spread of r - beta * log-ratio within a group, which is zero at the optimum.

    V(x) = mean of r - beta * log(pi / pi_ref) over the group, detached
    loss = (V + beta * log-ratio - r)^2

Sources: Bartoldson et al., "Trajectory Balance with Asynchrony", arXiv 2503.18929 (the default); Tang et al.,
"RL-finetuning LLMs from on- and off-policy data with a single algorithm" (AGRO), arXiv 2503.19612, which
takes the unbiased variance: the same loss times K / (K - 1). The gradient is that of the variance, since the
mean of the residuals is zero. No value of the prompt has to be estimated from reference samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings
from trainer.objectives.groups import groups_of


class TbaSettings(ObjectiveSettings):
    """Section [objective] with name = "tba"."""

    name: Literal["tba"] = "tba"
    beta: float = Field(0.012, gt=0, description="temperature of the KL regularisation, in units of reward")
    unbiased: bool = Field(False, description="divide by K - 1 in place of K, as AGRO does")

    def build(self) -> Tba:
        return Tba(self)


class Tba(Objective):
    """Needs groups and reference scores; rows may be of any policy."""

    needs = Needs(reference_logprob=True, groups=True)
    headline: ClassVar[Mapping[str, str]] = {"value": "value"}

    def __init__(self, settings: TbaSettings):
        self.settings = settings

    def loss(self, batch: Batch) -> Loss:
        """Columns: `residual` (V + beta * log-ratio - r), `value` (V)."""
        log_ratio = batch.policy_logprob - batch.reference_logprob
        target = batch.reward - self.settings.beta * log_ratio
        groups = groups_of(batch)
        value = groups.mean(target.detach())
        residual = value - target
        per_sequence = residual.square()
        if self.settings.unbiased:
            per_sequence = per_sequence * groups.size / (groups.size - 1)
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={"residual": residual.detach(), "value": value},
        )
