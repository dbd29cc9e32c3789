"""Chunked, padded log-probabilities against the plain way: one sequence at a time, all logits at once."""

import torch

from trainer.logprobs import completion_logprobs, length_buckets, sequence_logprob, token_batch
from trainer.policy import new_policy

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
        values, sequence = completion_logprobs(model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=chunk)
        assert sequence.tolist() == [0] * 4 + [1] + [2] * 7
        assert torch.allclose(values, expected, atol=1e-5)


def test_gradient_equal_to_one_sequence_at_a_time():
    model = tiny()
    values, _ = completion_logprobs(model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=3)
    values.square().sum().backward()
    chunked = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    torch.cat([naive(model, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(chunked[name], parameter.grad, atol=1e-4), name


def test_the_head_never_sees_more_than_a_chunk():
    model, seen = tiny(), []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(output.shape[0]))
    completion_logprobs(model, token_batch(PROMPTS, COMPLETIONS), head_chunk_tokens=5)
    assert seen == [5, 5, 2]  # the twelve completion tokens; prompts and padding never reach it


def test_sums_by_sequence():
    values = torch.tensor([1.0, 2.0, 4.0])
    assert sequence_logprob(values, torch.tensor([0, 2, 2]), 3).tolist() == [1.0, 0.0, 6.0]


def test_buckets_keep_all_indices_and_the_budget():
    lengths = [3, 50, 7, 7, 8, 200, 1]
    groups = length_buckets(lengths, batch_tokens=60)
    assert sorted(i for group in groups for i in group) == list(range(7))
    assert all(len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 60 for group in groups)
