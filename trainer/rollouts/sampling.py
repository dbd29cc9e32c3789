"""Draws completions from a policy: batches of like length, one prefill a prompt, finished rows dropped on the
way.

transformers' own `generate` keeps finished rows in the batch until the last row ends and draws from the
global random state; programs differ in length several times over, so the loop is written out here on the same
model and cache classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from trainer.policies import Policy

KEEP_SHARE = 0.8  # rows are dropped from the cache once this share or less is still running: each drop copies the cache


@dataclass(frozen=True)
class Sample:
    """One completion. `token_ids` hold the stop token if it was drawn (`finish_reason` is then `stop`, else
    `length`).

    `logprob` is the sum over `token_ids` of the log-probability in nats, known at temperature 1 and top_p 1
    only. It is the sampler's own: scores that are compared with the policy's come from the trainer's forward
    pass.
    """

    prompt_index: int
    sample_index: int
    token_ids: list[int] | None  # None: a server's, whose tokens are not known to be the policy's
    text: str
    finish_reason: str
    logprob: float | None


@dataclass
class _Rows:
    """The rows of a batch that are still in the cache; `row` is each one's place in the batch.

    Shapes: row, position, running [R]; mask [R, prompt + max_new_tokens], 1 from the prompt's first token on.
    """

    row: torch.Tensor
    position: torch.Tensor
    running: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache

    def select(self, index: torch.Tensor) -> None:
        self.row, self.position = self.row[index], self.position[index]
        self.running, self.mask = self.running[index], self.mask[index]
        self.cache.batch_select_indices(index)


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
    """All samples of all prompts, in the order in which batches end (short prompts first), not in the order
    of prompts.

    The same arguments on the same machine give the same samples, whatever the process has drawn before.
    Raises ValueError for an empty prompt or settings that no sampler has (temperature <= 0, top_p outside (0,
    1]).
    """
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature {temperature} must be above 0 and top_p {top_p} in (0, 1]")
    empty = [index for index, prompt in enumerate(prompts) if not prompt]
    if empty:
        raise ValueError(f"prompt {empty[0]} has no tokens")
    policy.model.eval()  # of a model in training that recomputes activations, transformers would keep no cache
    generator = torch.Generator(device=policy.device).manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    wanted = [(prompt, number) for prompt in order for number in range(samples_per_prompt)]
    exact = temperature == 1.0 and top_p == 1.0
    for start in range(0, len(wanted), batch_size):
        batch = wanted[start : start + batch_size]
        drawn = _draw(
            policy, [prompts[index] for index, _ in batch], temperature, top_p, max_new_tokens, generator
        )
        for (prompt_index, sample_index), (ids, logprob) in zip(batch, drawn, strict=True):
            reason = "stop" if ids and ids[-1] in policy.stop_ids else "length"
            yield Sample(
                prompt_index,
                sample_index,
                ids,
                policy.completion_text(ids),
                reason,
                logprob if exact else None,
            )


@torch.inference_mode()
def _draw(
    policy: Policy,
    prompts: list[list[int]],
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[tuple[list[int], float]]:
    """Token ids and log-probability sum of one completion for each prompt of a batch."""
    logits, rows = _prefill(policy, prompts, max_new_tokens)
    stops = torch.tensor(sorted(policy.stop_ids), device=policy.device)
    tokens = torch.full((len(prompts), max_new_tokens), -1, device=policy.device)
    sums = torch.zeros(len(prompts), dtype=torch.float64, device=policy.device)
    for step in range(max_new_tokens):
        token, logprob = draw_tokens(logits, temperature, top_p, generator)
        tokens[rows.row, step] = token.where(rows.running, -1)
        sums[rows.row] += logprob.double().where(rows.running, 0.0)
        rows.running &= ~torch.isin(token, stops)
        still = rows.running.nonzero().squeeze(1)
        if len(still) == 0 or step + 1 == max_new_tokens:
            break
        if len(still) <= KEEP_SHARE * len(rows.row):
            rows.select(still)
            token = token[still]
        logits = _advance(policy, rows, token)
    completions = [[token for token in row if token >= 0] for row in tokens.tolist()]
    return list(zip(completions, sums.tolist(), strict=True))


def draw_tokens(
    logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row from logits [R, V], and its log-probability under softmax(logits) in fp32: both [R].

    Nucleus sampling (Holtzman et al. 2020) keeps the smallest set of likeliest tokens whose mass reaches
    `top_p`.
    """
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    probabilities = (
        logprobs.exp() if temperature == 1.0 else torch.softmax(logits.float() / temperature, dim=-1)
    )
    if top_p < 1.0:
        ordered, index = probabilities.sort(dim=-1, descending=True)
        outside = ordered.cumsum(dim=-1) - ordered >= top_p
        probabilities = probabilities.scatter(-1, index, ordered.masked_fill(outside, 0.0))
    token = torch.multinomial(probabilities, 1, generator=generator)
    return token.squeeze(1), logprobs.gather(-1, token).squeeze(1)


def _prefill(policy: Policy, prompts: list[list[int]], max_new_tokens: int) -> tuple[torch.Tensor, _Rows]:
    """Runs each different prompt once, left-padded, and hands its cache to all its rows. Logits are [R, V]."""
    different = list(dict.fromkeys(map(tuple, prompts)))
    width = max(map(len, different))
    padded = [[policy.pad_id] * (width - len(prompt)) + list(prompt) for prompt in different]
    kept = [[0] * (width - len(prompt)) + [1] * (len(prompt) + max_new_tokens) for prompt in different]
    ids, mask = torch.tensor(padded, device=policy.device), torch.tensor(kept, device=policy.device)
    positions = (mask[:, :width].cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=policy.model.config)
    out = policy.model(
        input_ids=ids,
        attention_mask=mask[:, :width],
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    place = {prompt: number for number, prompt in enumerate(different)}
    index = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=policy.device)
    rows = _Rows(
        torch.arange(len(different)),
        positions[:, -1],
        torch.ones(len(different), dtype=torch.bool),
        mask,
        cache,
    )
    rows.row, rows.running = rows.row.to(policy.device), rows.running.to(policy.device)
    rows.select(index)
    rows.row = torch.arange(len(prompts), device=policy.device)
    return out.logits[index, -1], rows


def _advance(policy: Policy, rows: _Rows, token: torch.Tensor) -> torch.Tensor:
    """Feeds one token a row; logits [R, V] of the next. Rows that have ended ride along until they are
    dropped.
    """
    rows.position = rows.position + 1
    length = rows.cache.get_seq_length() + 1
    out = policy.model(
        input_ids=token[:, None],
        attention_mask=rows.mask[:, :length],
        position_ids=rows.position[:, None],
        past_key_values=rows.cache,
        use_cache=True,
    )
    return out.logits[:, -1]
