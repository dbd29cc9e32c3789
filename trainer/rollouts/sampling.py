"""Samples completions from a policy: one prefill per prompt, and a row that ends gives its place to the next.

`generate` of transformers computes the prompt of every sample, keeps finished rows in the batch until the
last row ends, and draws from the global random state. Programs differ in length by several times, so that
this loop is our own, on the same model. Figures: `./run bench models`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from trainer.policies import Policy
from trainer.rollouts.continuous import can_decode, decode
from trainer.rollouts.padded import draw_padded


@dataclass(frozen=True)
class Sample:
    """One completion. `token_ids` hold the stop token if it was drawn (`finish_reason` is then `stop`, else
    `length`).

    `logprob` is the sum over `token_ids` of the log-probability in nats, known at temperature 1 and top_p 1
    only, as `token_logprobs` are. They are the sampler's own: scores that are compared with the policy's come
    from the trainer's forward pass.
    """

    prompt_index: int
    sample_index: int
    token_ids: list[int] | None  # None: a server's, whose tokens are not known to be the policy's
    text: str
    finish_reason: str
    logprob: float | None
    token_logprobs: list[float] | None = None  # the same of each of `token_ids`, fp32


def sample(
    policy: Policy,
    prompts: list[list[int]],
    samples_per_prompt: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 128,
    seed: int = 0,
    batch_size: int = 256,
) -> Iterator[Sample]:
    """All samples of all prompts, in the order in which they end, not in the order of prompts. `batch_size`
    is the number of rows that are decoded together.

    The same arguments on the same machine give the same samples, whatever the process has sampled before.
    Raises ValueError for an empty prompt or invalid settings (temperature <= 0, top_p outside (0,
    1]).
    """
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature {temperature} must be above 0 and top_p {top_p} in (0, 1]")
    empty = [index for index, prompt in enumerate(prompts) if not prompt]
    if empty:
        raise ValueError(f"prompt {empty[0]} has no tokens")
    # transformers keeps no cache for a model in training mode that recomputes activations.
    policy.model.eval()
    generator = torch.Generator(device=policy.device).manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    wanted = [(prompt, number) for prompt in order for number in range(samples_per_prompt)]
    exact = temperature == 1.0 and top_p == 1.0
    samples = _completions(
        policy,
        [prompts[index] for index, _ in wanted],
        temperature,
        top_p,
        max_new_tokens,
        generator,
        batch_size,
    )
    for number, ids, logprobs in samples:
        prompt_index, sample_index = wanted[number]
        reason = "stop" if ids and ids[-1] in policy.stop_ids else "length"
        yield Sample(
            prompt_index,
            sample_index,
            ids,
            policy.completion_text(ids),
            reason,
            sum(logprobs) if exact else None,
            logprobs if exact else None,
        )


@torch.inference_mode()
def _completions(
    policy: Policy,
    prompts: Sequence[list[int]],
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    generator: torch.Generator,
    batch_size: int,
) -> Iterator[tuple[int, list[int], list[float]]]:
    """Number, token ids and their log-probabilities of a completion for each prompt, as they end."""
    if prompts and can_decode(policy.model):
        for row in decode(
            policy.model,
            prompts,
            stop_ids=policy.stop_ids,
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            generator=generator,
            slots=batch_size,
        ):
            yield row.number, row.token_ids, row.logprobs
        return
    for start in range(0, len(prompts), batch_size):
        part = list(prompts[start : start + batch_size])
        samples = draw_padded(policy, part, temperature, top_p, max_new_tokens, generator)
        for offset, (ids, logprobs) in enumerate(samples):
            yield start + offset, ids, logprobs
