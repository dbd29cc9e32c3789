"""The warm start: what it learns from, what it reports, and that the number of steps fixes the result."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from trainer.policies.policy import Policy, new_policy
from trainer.policies.warmstart import IGNORED, WarmStartProgress, endless_batches, rate_at, warm_start
from trainer.rollouts.sampling import sample

PAIRS = [
    ("Print the sum.", "print(sum(a))\n"),
    ("Print the largest of the even numbers.", "b = [x for x in a if x % 2 == 0]\nprint(max(b))\n"),
    ("Print n.", "print(n)\n"),
]


def fresh() -> Policy:
    texts = [text for pair in PAIRS for text in pair]
    # No idioms: sequences of different lengths.
    return new_policy(
        texts, vocab_size=300, idiom_share=2.0, layers=2, width=48, heads=2, max_positions=128, seed=3
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only lose by threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_learns_the_pairs_and_reports_what_it_did() -> None:
    policy, seen = fresh(), []
    report = warm_start(
        policy, PAIRS, steps=60, batch_tokens=256, learning_rate=1e-2, on_progress=seen.append
    )
    assert [progress.step for progress in seen] == list(range(1, 61))
    assert isinstance(seen[0], WarmStartProgress) and seen[-1].tokens == report.tokens
    # An untrained model is near ln(vocabulary) nats a token; three memorised pairs near 0.
    assert abs(seen[0].loss - math.log(len(policy.tokenizer))) < 0.7 and report.loss < 0.1
    assert report.loss == pytest.approx(sum(progress.loss for progress in seen[-6:]) / 6)
    prompts = [policy.prompt_ids(statement) for statement, _ in PAIRS]
    samples = {made.prompt_index: made.text for made in sample(policy, prompts, 1, temperature=0.01)}
    assert samples == {index: program for index, (_, program) in enumerate(PAIRS)}


def test_the_same_seed_and_steps_give_the_same_weights() -> None:
    prints = []
    for seed in (1, 1, 2):
        policy = fresh()
        warm_start(policy, PAIRS, steps=4, batch_tokens=64, seed=seed)
        prints.append(policy.fingerprint()["weights"])
    assert prints[0] == prints[1] != prints[2]


def test_batches_hold_every_pair_once_a_pass_within_the_bound_and_learn_from_completions_only() -> None:
    sequences = [
        ([1] * prompt, [2] * completion) for prompt, completion in [(3, 2), (5, 4), (1, 1), (2, 7), (4, 4)]
    ]
    made = endless_batches(sequences, pad_id=0, batch_tokens=18, seed=0)
    lengths: list[tuple[int, int]] = []
    while len(lengths) < 2 * len(sequences):
        batch = next(made)
        assert batch.ids.numel() <= 18
        for ids, labels in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
            lengths.append((ids.count(1), ids.count(2)))
            assert labels == [token if token == 2 else IGNORED for token in ids]
            assert ids == sorted(ids, key=lambda token: (token == 0, token))  # prompt, completion, padding
    expected = sorted((len(prompt), len(completion)) for prompt, completion in sequences)
    assert sorted(lengths[: len(sequences)]) == sorted(lengths[len(sequences) :]) == expected


def test_padding_does_not_change_the_loss() -> None:
    policy = fresh()
    sequences = [
        (policy.prompt_ids(statement), policy.completion_ids(program)) for statement, program in PAIRS
    ]
    total, count = 0.0, 0
    for prompt, completion in sequences:  # one at a time, no padding, by torch's own log-softmax
        logprobs = torch.log_softmax(
            policy.model(torch.tensor([prompt + completion])).logits[0].double(), dim=-1
        )
        positions = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
        total -= sum(
            logprobs[place, token].item() for place, token in zip(positions, completion, strict=True)
        )
        count += len(completion)
    seen: list[WarmStartProgress] = []
    warm_start(policy, PAIRS, steps=1, batch_tokens=1000, on_progress=seen.append)
    assert seen[0].loss == pytest.approx(total / count, abs=1e-5)


def test_the_rate_rises_and_then_falls_along_a_cosine() -> None:
    rates = [rate_at(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == 1.0 and rates[100] == pytest.approx(0.05)
    assert rate_at(5 + 95 / 2, 100) == pytest.approx((1 + 0.05) / 2)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        warm_start(fresh(), [])
    with pytest.raises(ValueError, match=r"pair 1 has \d+ tokens, the model has 128 positions"):
        warm_start(fresh(), [PAIRS[0], ("Print it.", "q" * 200)])
