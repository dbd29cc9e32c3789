"""The acceptance test with a tiny transformer: variable lengths, an end token, a length limit; stored, stale
and random data.

Completions over {a, b} end with the end token or are cut at 5 tokens: 63 of them, whose probabilities add up
to 1 under any model, so that V*, pi* and KL(pi || pi*) are exact. Training goes through the trainer's own
step.
"""

import itertools
import math
from collections import defaultdict
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.data import Row
from trainer.distributed import SingleLearner
from trainer.objectives import Batch, RewardSamples
from trainer.objectives.soft_value import estimate_soft_value
from trainer.objectives.spo import SpoSettings, spo_loss
from trainer.policies.batching import sum_by_sequence, token_batch
from trainer.policies.logprobs import completion_logprobs
from trainer.policies.policy import Policy
from trainer.run.optim import OptimiserSettings, new_optimiser
from trainer.run.settings import TrainingSettings
from trainer.run.step import Trainer

END, LIMIT, BETA = 0, 5, 0.25
ENDED = [[*body, END] for length in range(LIMIT) for body in itertools.product((1, 2), repeat=length)]
CUT = [list(body) for body in itertools.product((1, 2), repeat=LIMIT)]
COMPLETIONS = ENDED + CUT
PROMPT = [END]
STALE_FOR = 40  # steps


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny() -> Policy:
    config = LlamaConfig(
        vocab_size=3,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = LlamaForCausalLM(config)
        with torch.no_grad():  # an untrained head is almost uniform; this reference has opinions
            model.lm_head.weight.mul_(10)
    return Policy(model, None, "plain")


def logprobs(policy: Policy) -> torch.Tensor:
    """log pi of all 63 completions: [63] fp64."""
    with torch.no_grad():
        forward = completion_logprobs(policy.model, token_batch([PROMPT] * len(COMPLETIONS), COMPLETIONS))
    return sum_by_sequence(forward.logprob.double(), forward.sequence, len(COMPLETIONS))


def rewards(reference: torch.Tensor) -> torch.Tensor:
    """0 for some completions that ended, about 15 % of the reference's mass; -1 for the others and for all
    that were cut.
    """
    actual, mass = torch.full((len(COMPLETIONS),), -1.0, dtype=torch.float64), 0.0
    for i in torch.randperm(len(ENDED), generator=torch.Generator().manual_seed(2)).tolist():
        if mass + float(reference[i].exp()) < 0.16:
            actual[i], mass = 0.0, mass + float(reference[i].exp())
    assert 0.1 < mass < 0.16 and int((actual == 0).sum()) >= 4
    return actual


# A failure that lies too low is raised again with weight exp(-1 / beta) = 1/55 only: the cross-entropy takes
# more steps.
@pytest.mark.parametrize(("shape", "steps", "third"), [("squared", 600, 16), ("cross_entropy", 1200, 32)])
def test_a_transformer_reaches_the_optimal_policy_from_stored_stale_and_random_data(shape, steps, third):
    policy = tiny()
    reference = logprobs(policy)
    reward = rewards(reference)
    assert float(torch.logsumexp(reference, 0)) == pytest.approx(0, abs=1e-6)
    value = float(BETA * torch.logsumexp(reference + reward / BETA, 0))
    optimum = reference + (reward - value) / BETA
    generator = torch.Generator().manual_seed(0)

    def draw(probabilities: torch.Tensor, count: int) -> list[int]:
        return torch.multinomial(probabilities, count, replacement=True, generator=generator).tolist()

    def row(source: str, i: int) -> Row:
        return Row(
            trajectory_id=str(i),
            problem_id="p",
            source=source,
            prompt_ids=PROMPT,
            completion_ids=COMPLETIONS[i],
            reference_logprob=float(reference[i]),
            behaviour_logprob=float("nan"),
            reward=float(reward[i]),
            reference_rewards=np.array([value]),  # whose plain soft value is V* itself
        )

    stored, uniform = draw(reference.exp(), 400), torch.ones(len(COMPLETIONS))
    trainer = Trainer(
        SingleLearner(policy, new_optimiser(policy)),
        SpoSettings(beta=BETA, shape=shape, smoothing=0.0).build(),
        TrainingSettings(steps=steps),
        OptimiserSettings(learning_rate=6e-3, final_share=0.0, clip_norm=50.0),
    )
    for step in range(steps):
        if step % STALE_FOR == 0:
            stale = logprobs(policy).exp()
        replayed = torch.randint(len(stored), (third,), generator=generator).tolist()
        rows = [row("stored", stored[i]) for i in replayed]
        rows += [row("stale", i) for i in draw(stale, third)] + [
            row("random", i) for i in draw(uniform, third)
        ]
        trainer.step(step, rows)
    final = logprobs(policy)
    before = float((reference.exp() * (reference - optimum)).sum())
    after = float((final.exp() * (final - optimum)).sum())
    print(f"{shape}: KL(pi || pi*) from {before:.3f} to {after:.5f}")
    assert before > 1 and after < 1e-2


def one_batch(tokens, sequence, reference, reward) -> Batch:
    """A global batch whose rows know nothing but their reference log-probability and reward."""
    unknown, count = torch.full_like(reward, float("nan")), len(reward)
    none = torch.zeros(count, 0)
    return Batch(
        token_logprob=tokens,
        sequence=sequence,
        reference_logprob=reference,
        behaviour_logprob=unknown,
        reward=reward,
        success=reward >= 0,
        reference_rewards=RewardSamples(none, none.bool(), -torch.ones(count), torch.zeros(count)),
        batch_sequences=count,
        batch_tokens=len(tokens),
    )


def by_hand(table, tokens, reference, value, reward, beta, shape, cap):
    """Loss and its gradient in the logits table [L, V] in NumPy, no autograd: chain rule written out."""
    softmax = np.exp(table) / np.exp(table).sum(1, keepdims=True)
    logprob = sum(np.log(softmax[t, a]) for t, a in enumerate(tokens))
    q = (value + beta * (logprob - reference)) / beta
    if shape == "squared":
        loss, slope = (q - reward / beta) ** 2, 2 * (q - reward / beta)
    else:
        p, edge = np.exp(reward / beta), np.log(cap / (1 + cap))
        failure = -np.log1p(-np.exp(min(q, edge))) + cap * max(q - edge, 0)
        loss = -p * min(q, 0) + (1 - p) * failure
        slope = -p * (q < 0) + (1 - p) * (np.exp(q) / (1 - np.exp(q)) if q < edge else cap)
    chosen = np.zeros_like(table)
    chosen[range(len(tokens)), tokens] = 1.0
    return loss, slope * (chosen - softmax)  # d log pi / d logits = one-hot - softmax, and dq / d log pi = 1


@pytest.mark.parametrize("shape", ["squared", "cross_entropy"])
@pytest.mark.parametrize("reward", [0.0, -0.4, -1.0])
@pytest.mark.parametrize("shift", [-9.0, -0.5, 2.0])
def test_loss_and_gradient_equal_an_independent_implementation(shape, reward, shift):
    """NumPy with the derivative worked out by hand, for successes, partial rewards and failures, below and
    above Q_T = 0.
    """
    rng = np.random.default_rng(7)
    table, tokens, beta, value, cap = rng.normal(size=(6, 4)), [3, 0, 2, 2, 1, 0], 0.3, -0.35, 1.0
    reference = (
        float(np.log(np.exp(table) / np.exp(table).sum(1, keepdims=True))[range(6), tokens].sum()) - shift
    )
    expected, gradient = by_hand(table, tokens, reference, value, reward, beta, shape, cap)
    logits = torch.tensor(table, requires_grad=True)
    logprob = torch.log_softmax(logits, 1)[torch.arange(6), tokens].sum()

    def one(number: float) -> torch.Tensor:
        return torch.tensor([number], dtype=torch.float64)

    batch = one_batch(logprob[None], torch.zeros(1, dtype=torch.int64), one(reference), one(reward))
    loss = spo_loss(batch, one(value), beta, SpoSettings(shape=shape, failure_weight_cap=cap))
    loss.value.backward()
    assert float(loss.value.detach()) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-10, atol=1e-14)


def test_squared_loss_equals_that_of_trl_a_star_po():
    """A*-PO (arXiv 2505.20686) with one temperature and the plain mean for V* is SPO's squared loss times
    beta^2.
    """
    a2po = pytest.importorskip(
        "trl.experimental.a2po.a2po_trainer", reason="TRL, the peer of this comparison, is not installed"
    )
    policy, chosen = tiny(), [3, 8, 20, 40, 62]
    stored = torch.tensor([-4.0, -3.0, -7.0, -6.0, -5.0])
    reward, k = torch.tensor([0.0, -1.0, -1.0, 0.0, -1.0]), torch.tensor([[0.0, -1.0, -1.0, 0.0]])
    samples = RewardSamples(
        k.expand(5, 4), torch.ones(5, 4, dtype=torch.bool), -torch.ones(5), torch.zeros(5)
    )
    value = estimate_soft_value(samples, BETA, smoothing=0.0)
    batch = token_batch([PROMPT] * 5, [COMPLETIONS[i] for i in chosen])
    forward = completion_logprobs(policy.model, batch)
    rows = one_batch(forward.logprob, forward.sequence, stored, reward)
    ours = spo_loss(rows, value, BETA, SpoSettings(shape="squared")).value * BETA**2
    ours.backward()
    gradient = [p.grad.clone() for p in policy.model.parameters()]
    policy.model.zero_grad()
    trainer = SimpleNamespace(
        model=policy.model,
        args=SimpleNamespace(beta2=BETA),
        model_kwarg_keys=set(),
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    trainer._get_sequence_logps = MethodType(a2po.A2POTrainer._get_sequence_logps, trainer)
    inputs = {
        "input_ids": batch.token_ids,
        "attention_mask": (torch.arange(batch.token_ids.shape[1]) < batch.lengths[:, None]).long(),
        "logits_to_keep": batch.token_ids.shape[1] - 1,
        "ref_logps": stored,
        "rewards": reward,
        "v_star": BETA * (torch.logsumexp(k[0] / BETA, dim=0) - math.log(4)).expand(5),
    }
    theirs = a2po.A2POTrainer.compute_loss(trainer, policy.model, inputs)
    theirs.backward()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    for mine, parameter in zip(gradient, policy.model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-5)
