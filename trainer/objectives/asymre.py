"""AsymRE: off-policy REINFORCE whose baseline is below the mean reward.

    loss = -(r - V(x)) * log pi(y|x)          V(x) = mean reward of the prompt - delta

Source: Arnal et al., "Asymmetric REINFORCE for off-policy reinforcement learning", arXiv 2506.20520. On rows
of another policy a baseline above their mean reward lets the policy collapse; below it, successes weigh more
than failures and the policy improves. A large delta gives supervised fine-tuning on all rows.

The mean reward of a prompt is that of the reference policy's stored samples, which need no scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainer.objectives.base import Batch, Loss, Needs, Objective, ObjectiveSettings, RewardSamples


class AsymReSettings(ObjectiveSettings):
    """Section [objective] with name = "asymre"."""

    name: Literal["asymre"] = "asymre"
    delta: float = Field(0.1, description="how far the baseline is below the mean reward, in units of reward")

    def build(self) -> AsymRe:
        return AsymRe(self)


class AsymRe(Objective):
    """Needs rewards of the reference's samples; no log-probability but the policy's own."""

    needs = Needs(reference_rewards=True)
    headline: ClassVar[Mapping[str, str]] = {"advantage": "advantage"}

    def __init__(self, settings: AsymReSettings):
        self.settings = settings

    def loss(self, batch: Batch) -> Loss:
        """Column: `advantage`, r - V."""
        baseline = mean_reward(batch.reference_rewards) - self.settings.delta
        advantage = batch.reward - baseline.to(batch.reward.dtype)
        per_sequence = -advantage * batch.policy_logprob
        return Loss(
            value=per_sequence.sum() / batch.batch_sequences,
            per_sequence=per_sequence.detach(),
            columns={"advantage": advantage},
        )


def mean_reward(samples: RewardSamples) -> Float[Tensor, " N"]:
    """Mean reward of the reference's samples of each prompt; NaN where there are none."""
    counted = samples.counted.to(samples.rewards.dtype)
    return (samples.rewards * counted).sum(dim=1) / counted.sum(dim=1)
