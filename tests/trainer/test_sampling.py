"""Sampling against `generate` of transformers, a plain forward pass, and known distributions."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from trainer.policies.adapters import prepare
from trainer.policies.policy import Policy, new_policy
from trainer.policies.problems import Problem
from trainer.policies.warmstart import warm_start
from trainer.rollouts.continuous import can_decode
from trainer.rollouts.generation import LocalSampler, SamplingSettings
from trainer.rollouts.sampling import Sample, sample
from trainer.rollouts.token_draw import draw_tokens

STATEMENTS = [
    "Print n.",
    "Print the sum of the numbers.",
    "Print the largest of the even numbers from 1 to n.",
]
PROGRAMS = [
    "print(n)\n",
    "s = 0\nfor x in a:\n    s += x\nprint(s)\n",
    "b = [x for x in a if x % 2 == 0]\nprint(max(b))\n",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only lose by threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Half trained: completions of many lengths, most of which end."""
    texts = [*STATEMENTS, *PROGRAMS]
    # No idioms: prompts and completions of many tokens, and of different lengths.
    made = new_policy(
        texts, vocab_size=300, idiom_share=2.0, layers=2, width=48, heads=2, max_positions=256, seed=1
    )
    pairs = [(statement, program) for statement in STATEMENTS for program in PROGRAMS]
    warm_start(made, pairs, steps=40, batch_tokens=512, learning_rate=5e-3)
    return made


@pytest.fixture(scope="module")
def prompts(policy: Policy) -> list[list[int]]:
    made = [policy.prompt_ids(statement) for statement in STATEMENTS]
    assert len({len(prompt) for prompt in made}) == 3, "prompts of one length would not test the padding"
    return made


def draw_by_place(
    policy: Policy, prompts: list[list[int]], **settings: float
) -> dict[tuple[int, int], Sample]:
    options = {"samples_per_prompt": 16, "max_new_tokens": 60, "seed": 3, **settings}
    return {(made.prompt_index, made.sample_index): made for made in sample(policy, prompts, **options)}


def test_nearly_greedy_sampling_is_what_generate_gives(policy: Policy, prompts: list[list[int]]) -> None:
    made = draw_by_place(policy, prompts, samples_per_prompt=2, temperature=1e-4)
    for index, prompt in enumerate(prompts):
        out = policy.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=60,
            do_sample=False,
        )
        assert made[index, 0].token_ids == made[index, 1].token_ids == out[0, len(prompt) :].tolist()


def test_the_log_probability_is_that_of_one_plain_forward_pass(
    policy: Policy, prompts: list[list[int]]
) -> None:
    made = draw_by_place(policy, prompts, batch_size=20)
    lengths = {len(one.token_ids) for one in made.values()}
    assert len(lengths) > 5, "rows of one batch must end at different steps for this test to mean anything"
    for (index, _), one in made.items():
        ids = torch.tensor([prompts[index] + one.token_ids])
        logprobs = torch.log_softmax(policy.model(ids).logits[0, :-1].double(), dim=-1)
        own = logprobs.gather(1, ids[0, 1:, None]).squeeze(1)[len(prompts[index]) - 1 :]
        assert one.logprob == pytest.approx(own.sum().item(), abs=1e-3)
        assert one.token_logprobs == pytest.approx(own.tolist(), abs=1e-4)


def test_a_model_in_training_that_recomputes_activations_is_sampled_like_others(
    policy: Policy, prompts: list[list[int]]
) -> None:
    made = draw_by_place(policy, prompts)
    training = replace(policy, model=copy.deepcopy(policy.model))
    prepare(training, lora=None, activation_checkpointing=True)
    training.model.train()
    assert draw_by_place(training, prompts) == made


def test_every_prompt_gets_all_its_samples(policy: Policy, prompts: list[list[int]]) -> None:
    asked = [prompts[2], prompts[0], prompts[1], prompts[0]]  # unsorted by length, one twice
    made = draw_by_place(policy, asked, samples_per_prompt=5, batch_size=7)
    assert set(made) == {(prompt, number) for prompt in range(4) for number in range(5)}
    assert len({tuple(made[1, number].token_ids) for number in range(5)}) > 1


def test_how_a_sample_ends(policy: Policy, prompts: list[list[int]]) -> None:
    long, short = draw_by_place(policy, prompts), draw_by_place(policy, prompts, max_new_tokens=2)
    assert "stop" in {one.finish_reason for one in long.values()}
    assert "length" in {one.finish_reason for one in short.values()}
    for one in [*long.values(), *short.values()]:
        ended = one.token_ids[-1] == policy.end_id
        assert one.finish_reason == ("stop" if ended else "length")
        assert policy.end_id not in one.token_ids[:-1]
        assert one.text == policy.completion_text(one.token_ids)
        assert ended or len(one.token_ids) in (2, 60)


def test_a_seed_is_a_result_and_the_caller_s_random_state_is_left_alone(
    policy: Policy, prompts: list[list[int]]
) -> None:
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    one = draw_by_place(policy, prompts)
    assert torch.equal(torch.rand(2), expected)
    torch.manual_seed(10)
    assert draw_by_place(policy, prompts) == one
    assert draw_by_place(policy, prompts, seed=4) != one


def test_the_log_probability_is_unknown_at_other_settings(policy: Policy, prompts: list[list[int]]) -> None:
    for settings in ({"temperature": 0.7}, {"top_p": 0.9}):
        for one in draw_by_place(policy, prompts, **settings).values():
            assert one.logprob is None and one.token_logprobs is None


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.3, 0.2]),
        (0.5, 1.0, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]),  # squares, normalised
        (1.0, 0.7, [0.625, 0.375, 0.0]),  # 0.5 is below 0.7, so 0.3 joins and 0.2 does not
        (1.0, 0.4, [1.0, 0.0, 0.0]),
    ],
)
def test_tokens_are_drawn_from_the_distribution_asked_for(
    temperature: float, top_p: float, expected: list[float]
) -> None:
    rows = 40_000
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(rows, 3) + 1.7  # a constant does not matter
    token, logprob = draw_tokens(logits, temperature, top_p, torch.Generator().manual_seed(0))
    counts = Counter(token.tolist())
    for place, share in zip((1, 2, 0), expected, strict=True):
        deviation = (share * (1 - share) / rows) ** 0.5
        assert abs(counts[place] / rows - share) <= 4 * deviation
    torch.testing.assert_close(logprob, logits[0].log_softmax(0)[token])


def test_settings_that_no_sampler_has_are_refused(policy: Policy, prompts: list[list[int]]) -> None:
    for settings in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match="must be above 0 and top_p"):
            draw_by_place(policy, prompts, **settings)
    with pytest.raises(ValueError, match="prompt 1 has no tokens"):
        draw_by_place(policy, [prompts[0], []])


def test_sampling_in_bf16_has_its_own_log_probabilities(policy: Policy) -> None:
    """Near those of fp32, and those of a forward pass of the weights in bf16."""
    asked = [Problem(statement) for statement in STATEMENTS]
    settings = SamplingSettings(samples_per_problem=4, max_new_tokens=60, precision="bf16")
    made = list(LocalSampler(policy).draw(asked, settings, seed=3))
    rounded = copy.deepcopy(policy.model).to(torch.bfloat16)
    assert policy.model.dtype == torch.float32
    for one in made:
        prompt = policy.prompt_ids(STATEMENTS[one.prompt_index])
        ids = torch.tensor([prompt + one.token_ids])
        sums = []
        for model in (rounded, policy.model):
            logprobs = model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            sums.append(logprobs.gather(1, ids[0, len(prompt) :, None]).sum().item())
        assert one.logprob == pytest.approx(sums[0], abs=0.05 * len(one.token_ids))
        assert one.logprob == pytest.approx(sums[1], abs=0.2 * len(one.token_ids))


def test_settings_of_fp32_are_named_as_before() -> None:
    """The names of rollouts and evaluations are digests of these."""
    assert "precision" not in SamplingSettings().model_dump_json()
    assert '"precision":"bf16"' in SamplingSettings(precision="bf16").model_dump_json()


def test_a_place_is_given_on_and_a_prompt_is_computed_once(policy: Policy, prompts: list[list[int]]) -> None:
    """Counted in the forward passes of the model: rows and tokens of each."""
    calls: list[tuple[int, int]] = []

    def count(module: object, args: object, kwargs: dict) -> None:
        calls.append(tuple(kwargs["input_ids"].shape))

    counted = replace(policy, model=copy.deepcopy(policy.model))
    can_decode(counted.model)
    hook = counted.model.model.register_forward_pre_hook(count, with_kwargs=True)
    made = draw_by_place(counted, prompts, batch_size=8)
    hook.remove()
    steps = [rows for rows, tokens in calls if tokens == 1]
    drawn_tokens = sum(len(one.token_ids) for one in made.values())
    assert sum(rows for rows, tokens in calls if tokens > 1) == 3
    assert sum(steps) == drawn_tokens - len(made)  # the first token of each comes with its prompt
    assert max(steps) == 8 and sum(steps) > 0.8 * 8 * len(steps)  # few places are empty on average
