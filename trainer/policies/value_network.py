"""A value network: the expected return of the state before each token of a completion."""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from trainer.policies.batching import TokenBatch
from trainer.policies.policy import Policy


class ValueNetwork(nn.Module):
    """A backbone of its own, and a head that gives one number per position."""

    def __init__(self, backbone: nn.Module, width: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: TokenBatch) -> Float[Tensor, " C"]:
        """V of the state before each completion token, in sequence order, fp32."""
        positions = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
        hidden = self.backbone(input_ids=batch.token_ids, use_cache=False, **positions).last_hidden_state
        _, row, column = batch.predicting()
        return self.head(hidden[row, column].to(self.head.weight.dtype)).squeeze(1).float()


def new_value_network(policy: Policy) -> ValueNetwork:
    """A value network whose backbone is a copy of the policy's, all of it trained, on the same device; its
    values are 0. The policy must have no adapters yet.
    """
    model: Any = policy.model
    backbone = copy.deepcopy(model.base_model)
    backbone.requires_grad_(True)
    width = model.get_output_embeddings().weight.shape[1]
    dtype = next(backbone.parameters()).dtype
    return ValueNetwork(backbone, width).to(device=policy.device, dtype=dtype)
