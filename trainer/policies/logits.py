"""What a model's forward pass does to the logits after its head, and checks that log pi is the model's own.

The trainer applies the head by itself, chunk by chunk. Granite and Cohere scale the logits that it gives,
Gemma 2 caps them: that belongs to log pi. A gate between scorer and trainer cannot find a difference, because
both would be wrong alike, so each model is compared with its own `forward` when it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# Settings of transformers that multiply the logits, and those that divide them.
MULTIPLIERS = ("logit_scale", "lm_head_multiplier")
DIVISORS = ("logits_scaling",)
MULTIPLIED_BY_DIVISOR = ("hyperclovax",)  # families where the name of a divisor is that of a factor
SOFT_CAP = "final_logit_softcapping"
TOLERANCE_NATS = {torch.float32: 1e-4, torch.float64: 1e-4}
ROUGH_TOLERANCE_NATS = 0.1  # dtypes of 16 bits
CHECKED_TOKENS = 12


@dataclass(frozen=True)
class LogitTransform:
    """logits * scale, then cap * tanh(logits / cap)."""

    multiplier: float = 1.0
    divisor: float = 1.0
    soft_cap: float | None = None

    @property
    def is_identity(self) -> bool:
        return self == LogitTransform()

    def __call__(self, logits: Float[Tensor, "C V"]) -> Float[Tensor, "C V"]:
        if self.divisor != 1.0:
            logits = logits / self.divisor
        if self.multiplier != 1.0:
            logits = logits * self.multiplier
        if self.soft_cap is not None:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        return logits


def logit_transform(model: Any) -> LogitTransform:
    """What the configuration of a transformers causal LM says of its logits."""
    config = model.config.get_text_config()
    factors = {name: float(getattr(config, name, None) or 1.0) for name in (*MULTIPLIERS, *DIVISORS)}
    multiplier = divisor = 1.0
    for name, value in factors.items():
        if name in MULTIPLIERS or config.model_type.startswith(MULTIPLIED_BY_DIVISOR):
            multiplier *= value
        else:
            divisor *= value
    return LogitTransform(multiplier, divisor, getattr(config, SOFT_CAP, None))


@torch.no_grad()
def logprob_gap(model: Any) -> float:
    """Largest |log pi of backbone, head and `logit_transform` - log pi of the model's own `forward`| over the
    whole vocabulary at a few tokens, in nats.
    """
    size = model.get_input_embeddings().num_embeddings
    tokens = torch.arange(1, CHECKED_TOKENS + 1, device=model.device) * 7919 % size
    own = model(input_ids=tokens[None], use_cache=False).logits[0]
    hidden = model.base_model(input_ids=tokens[None], use_cache=False).last_hidden_state[0]
    here = logit_transform(model)(model.get_output_embeddings()(hidden))
    return float((own.float().log_softmax(1) - here.float().log_softmax(1)).abs().max())


def logprob_fault(model: Any) -> str:
    """Why log pi of the trainer would not be the model's own; empty if it is."""
    kind = model.config.model_type
    if model.get_output_embeddings() is None:
        return f"the model ({kind}) has no linear head, which log-probabilities are computed with"
    try:
        gap = logprob_gap(model)
    except (AttributeError, TypeError, IndexError) as error:
        return f"log-probabilities of this model ({kind}) cannot be computed: {error}"
    tolerance = TOLERANCE_NATS.get(model.dtype, ROUGH_TOLERANCE_NATS)
    if not gap <= tolerance:
        return (
            f"the model ({kind}) changes its logits after the head in a way that is not known here: log pi"
            f" differs from its own forward pass by {gap:.3g} nat a token; add its setting to"
            " trainer/policies/logits.py"
        )
    return ""
