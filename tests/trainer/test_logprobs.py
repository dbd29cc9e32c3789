"""Chunked, padded log-probabilities against the plain way: one sequence at a time, all logits at once."""

import random

import pytest
import torch

from trainer.policies.batching import length_buckets, pack_rows, packed_batch, sum_by_sequence, token_batch
from trainer.policies.logprobs import completion_logprobs, has_fused_head
from trainer.policies.policy import new_policy

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13, 14]]
COMPLETIONS = [[20, 21, 22, 3], [23], [24, 25, 26, 27, 28, 29, 3]]


def tiny():
    return new_policy(["abc def ghi " * 20], vocab_size=300, layers=2, width=32, seed=3).model


def naive(model, prompt, completion):
    ids = torch.tensor([[*prompt, *completion]])
    logprobs = torch.log_softmax(model(input_ids=ids).logits.float(), dim=-1)[0]
    return torch.stack([logprobs[len(prompt) - 1 + i, token] for i, token in enumerate(completion)])


def test_equal_to_one_sequence_at_a_time_whatever_the_chunk():
    model = tiny()
    expected = torch.cat([naive(model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    for chunk in (1, 5, 1000):
        values, sequence, _ = completion_logprobs(
            model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=chunk
        )
        assert sequence.tolist() == [0] * 4 + [1] + [2] * 7
        assert torch.allclose(values, expected, atol=1e-5)


def test_gradient_equal_to_one_sequence_at_a_time():
    model = tiny()
    values, *_ = completion_logprobs(model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=3)
    values.square().sum().backward()
    chunked = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    torch.cat(
        [naive(model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    ).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(chunked[name], parameter.grad, atol=1e-4), name


def test_the_head_never_sees_more_than_a_chunk():
    model, seen = tiny(), []
    model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[0])
    )
    completion_logprobs(model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=5)
    assert seen == [5, 5, 2]  # the twelve completion tokens; prompts and padding never reach it


def test_sums_by_sequence():
    values = torch.tensor([1.0, 2.0, 4.0])
    assert sum_by_sequence(values, torch.tensor([0, 2, 2]), 3).tolist() == [1.0, 0.0, 6.0]


def test_buckets_keep_all_indices_and_the_budget():
    lengths = [3, 50, 7, 7, 8, 200, 1]
    groups = length_buckets(lengths, batch_tokens=60)
    assert sorted(i for group in groups for i in group) == list(range(7))
    assert all(len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 60 for group in groups)


def test_packed_sequences_have_the_log_probabilities_they_have_alone():
    model = tiny()
    expected = torch.cat([naive(model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    for row_tokens, rows in (
        (22, 1),
        (14, 2),
        (1, 3),
    ):  # 7, 3 and 12 tokens; a row is at least as wide as the longest
        batch = packed_batch(PROMPTS, COMPLETIONS, row_tokens)
        assert batch.token_ids.shape[0] == (rows if row_tokens > 1 else 2)
        values, sequence, _ = completion_logprobs(model, batch, head_chunk_tokens=5)
        assert sequence.tolist() == [0] * 4 + [1] + [2] * 7
        assert float((values - expected).abs().max().detach()) < 1e-5


def test_no_packed_sequence_sees_another():
    """Whatever stands beside it in the row, its log-probabilities stay to the last bit; its own tokens
    move them.
    """
    model = tiny()
    values, sequence, _ = completion_logprobs(model, packed_batch(PROMPTS, COMPLETIONS, 22))
    others = [[40, 41, 42], PROMPTS[1], [43, 44, 45, 46, 47]]
    swapped, *_ = completion_logprobs(model, packed_batch(others, [[50] * 4, COMPLETIONS[1], [51] * 7], 22))
    assert torch.equal(values[sequence == 1], swapped[sequence == 1])
    assert not torch.allclose(values[sequence == 0], swapped[sequence == 0], atol=1e-2)
    own, *_ = completion_logprobs(model, packed_batch([PROMPTS[0], [9, 8], PROMPTS[2]], COMPLETIONS, 22))
    assert not torch.allclose(values[sequence == 1], own[sequence == 1], atol=1e-4)


def test_gradient_of_packed_rows_equals_that_of_padded_ones():
    model = tiny()
    gradients = []
    for batch in (token_batch(PROMPTS, COMPLETIONS), packed_batch(PROMPTS, COMPLETIONS, 22)):
        model.zero_grad()
        completion_logprobs(model, batch)[0].square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4), name


def test_an_all_ones_mask_would_mix_packed_rows():
    """The trap that only `position_ids` avoid; if transformers stops failing here, the warning can go."""
    model, batch = tiny(), packed_batch(PROMPTS, COMPLETIONS, 22)
    right = model(input_ids=batch.token_ids, position_ids=batch.position_ids, use_cache=False).logits
    ones = torch.ones_like(batch.token_ids)
    mixed = model(
        input_ids=batch.token_ids, position_ids=batch.position_ids, attention_mask=ones, use_cache=False
    ).logits
    assert float((right - mixed).abs().max().detach()) > 1e-2


@pytest.mark.skipif(not has_fused_head(), reason="this torch has no torch.nn.functional.linear_cross_entropy")
def test_fused_head_equals_the_naive_form_with_its_gradient():
    model = tiny()
    expected = torch.cat([naive(model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    expected.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    for chunk in (1, 5, 1000):
        model.zero_grad()
        values, *_ = completion_logprobs(
            model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=chunk, head="fused"
        )
        assert torch.allclose(values, expected, atol=1e-5)
        values.square().sum().backward()
        for name, parameter in model.named_parameters():
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-4), name


def test_rows_are_packed_first_fit_longest_first():
    """The definition, written down without any shortcut: every row is looked at for every sequence."""
    draws = random.Random(0)
    for _ in range(200):
        lengths = [draws.randint(1, draws.choice([5, 40, 300])) for _ in range(draws.randint(1, 60))]
        row_tokens = draws.randint(1, 300)
        rows: list[list[int]] = []
        for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
            room = [
                row for row in rows if sum(lengths[j] for j in row) + lengths[i] <= max(row_tokens, *lengths)
            ]
            (room[0] if room else rows.append([]) or rows[-1]).append(i)
        assert pack_rows(lengths, row_tokens) == rows
