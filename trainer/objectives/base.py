"""What an objective is: its settings, what it needs of a row, its loss, and what it remembers between steps.

The trainer hands an objective token log-probabilities with the sequence that each belongs to, and what the
store knows of every sequence. It takes back a scalar to minimise and named columns, which it logs whatever
their names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor


@dataclass(frozen=True)
class ValueNetworkSettings:
    """A value network: a copy of the backbone of the policy at the start with a head of zeros, and an AdamW
    of its own.
    """

    rate_factor: float  # its learning rate, in units of the policy's
    clip_norm: float  # largest norm of its gradient


@dataclass(frozen=True)
class Needs:
    """What an objective needs of the rows. Stream, checks before a run, and plan follow from this."""

    reference_logprob: bool = False  # log pi_ref(y|x) of each row, from `spo score`; also the gate at step 0
    reference_rewards: bool = False  # rewards of the reference policy's samples of each problem
    behaviour_logprob: bool = False  # log mu(y|x) of at least some rows
    groups: bool = False  # rows in groups of one problem, each group whole in one micro-batch
    # The same log-probabilities of each token: of mu for every row, of pi_ref as `spo score` stored them.
    behaviour_tokens: bool = False
    reference_tokens: bool = False
    value_network: ValueNetworkSettings | None = None  # trained beside the policy, see `Batch.value`
    statistics: bool = False  # `Objective.statistics` is summed over the global batch before its losses

    @property
    def token_logprobs(self) -> bool:
        """Whether stored log-probabilities of tokens are needed."""
        return self.behaviour_tokens or self.reference_tokens


@dataclass(frozen=True)
class RewardSamples:
    """Rewards of up to K samples that the reference policy drew for the problem of each of N rows."""

    rewards: Float[Tensor, "N K"]
    counted: Bool[Tensor, "N K"]  # False: padding
    lowest: Float[Tensor, " N"]  # the range of the row's reward function
    highest: Float[Tensor, " N"]


@dataclass(frozen=True)
class Batch:
    """N sequences with C completion tokens: a global batch, or one micro-batch of it. Log-probabilities are
    in nats.

    Sums over a micro-batch are divided by the counts of the global batch, so that no cut into micro-batches
    and ranks changes the gradient.
    """

    token_logprob: Float[Tensor, " C"]  # log pi(a_t | x, a_<t), with gradient
    sequence: Int[Tensor, " C"]  # index of the sequence that each token belongs to
    reference_logprob: Float[Tensor, " N"]  # log pi_ref(y|x), summed over the completion; NaN where unknown
    behaviour_logprob: Float[Tensor, " N"]  # the same under the policy that sampled it; NaN where unknown
    reward: Float[Tensor, " N"]
    success: Bool[Tensor, " N"]  # whether the program was accepted
    reference_rewards: RewardSamples  # K is 0 where they are not needed
    batch_sequences: int  # of the global batch
    batch_tokens: int  # completion tokens of the global batch
    group: Int[Tensor, " N"] | None = None  # the same number for rows of one group; None where none is needed
    # mu(verdict) / share(verdict) where sources select by verdict, see trainer/data/selection_weights.py
    selection_weight: Float[Tensor, " N"] | None = None
    # Of each completion token, where the needs ask for them; NaN where unknown.
    behaviour_token_logprob: Float[Tensor, " C"] | None = None
    reference_token_logprob: Float[Tensor, " C"] | None = None
    value: Float[Tensor, " C"] | None = None  # of the state before each token, with gradient
    statistics: Float[Tensor, " S"] | None = None  # of the global batch

    @property
    def policy_logprob(self) -> Float[Tensor, " N"]:
        """log pi(y|x), summed over the completion, with gradient."""
        zeros = self.token_logprob.new_zeros(len(self.reward))
        return zeros.index_add(0, self.sequence, self.token_logprob)

    @property
    def completion_tokens(self) -> Int[Tensor, " N"]:
        """Completion tokens of each sequence."""
        return torch.bincount(self.sequence, minlength=len(self.reward))


@dataclass(frozen=True)
class Loss:
    """The scalar to minimise, and what is worth logging of each sequence.

    A column is NaN for sequences to which it does not apply; its figure is the mean over the others.
    """

    value: Float[Tensor, ""]  # this micro-batch's part of the loss of the global batch
    per_sequence: Float[Tensor, " N"]  # detached; its mean over the global batch is the logged loss
    columns: dict[str, Tensor] = field(default_factory=dict)  # [N] each, detached


class Objective(ABC):
    """An objective of one run. Everything that changes from step to step is in `state`, which checkpoints
    hold.
    """

    needs: Needs = Needs()
    # Figures worth a place in the line that is shown while a run goes on: name -> title.
    headline: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def loss(self, batch: Batch) -> Loss:
        """The loss of a micro-batch. Raises ValueError for rows that the objective cannot learn from."""

    def statistics(self, batch: Batch) -> Float[Tensor, " S"]:
        """Sums over a micro-batch that the losses of the global batch need, such as those of a mean. The
        log-probabilities of the policy are not computed yet, and `token_logprob` is NaN.
        """
        raise NotImplementedError(f"{type(self).__name__} needs statistics and computes none")

    def after_step(self, figures: Mapping[str, Any]) -> None:  # noqa: B027 (most have nothing to do)
        """React to the figures of a step, which are those of the whole batch on every rank."""

    def figures(self) -> dict[str, float]:
        """What a step was computed with, to be logged beside its figures."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on, as JSON."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (most have no state)
        """Go on from what `state` returned."""


class ObjectiveSettings(BaseModel, ABC):
    """Section [objective] of a run: the name of the objective, and its own settings beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str

    @abstractmethod
    def build(self) -> Objective:
        """The objective at the start of a run."""
