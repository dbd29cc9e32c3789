"""Entropy of a policy's next token along its own completions: how undecided it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.policies.batching import Tokens, length_buckets, sum_by_sequence, token_batch
from trainer.policies.logits import logit_transform
from trainer.policies.logprobs import HEAD_CHUNK_TOKENS
from trainer.policies.policy import Policy


@torch.inference_mode()
def token_entropy(
    policy: Policy, prompts: Sequence[Tokens], completions: Sequence[Tokens], batch_tokens: int = 16384
) -> list[tuple[float, int]]:
    """For each sequence the entropies at its completion tokens, summed, in nats, and their number: mean = sum
    / number.

    The distribution is the full softmax at temperature 1, whatever the temperature of the samples.
    """
    entropies = [(0.0, 0)] * len(prompts)
    policy.model.eval()
    head, transform = policy.model.get_output_embeddings(), logit_transform(policy.model)
    for group in length_buckets(
        [len(p) + len(c) for p, c in zip(prompts, completions, strict=True)], batch_tokens
    ):
        batch = token_batch([prompts[i] for i in group], [completions[i] for i in group]).to(policy.device)
        hidden = policy.model.base_model(input_ids=batch.token_ids, use_cache=False).last_hidden_state
        sequence, row, column = batch.predicting()
        states = hidden[row, column]
        values = torch.cat(
            [entropy_from_logits(transform(head(chunk))) for chunk in states.split(HEAD_CHUNK_TOKENS)]
        )
        sums = sum_by_sequence(values, sequence, len(group)).tolist()
        counts = torch.bincount(sequence, minlength=len(group)).tolist()
        for index, total, count in zip(group, sums, counts, strict=True):
            entropies[index] = (total, count)
    return entropies


def entropy_from_logits(logits: Tensor) -> Tensor:
    """-sum p log p of softmax(logits), in nats: [C] fp32 from [C, V]."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)
