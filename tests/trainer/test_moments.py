"""Adam's moments of several ranks in one process: halves as two ranks would have saved them. With real
ranks: test_sharded.py.
"""

import pytest
import torch
from torch import nn

from trainer.distributed.moments import load_moments, numbers_of, save_moments, spread_moments

SHAPES = [(64, 128), (3, 5), (7,)]  # the first is large enough for 8 bits, whole and halved


def optimiser_of(kind: str, shapes: list[tuple]) -> torch.optim.Optimizer:
    torch.manual_seed(1)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=1e-3)
    torchao = pytest.importorskip("torchao.optim", reason="the extra `adam8bit` is not installed")
    optimiser = torchao.AdamW8bit(parameters, lr=1e-3)
    optimiser.step = torch.compiler.set_stance("force_eager")(optimiser.step)
    return optimiser


def stepped(kind: str, shapes: list[tuple], gradients: list) -> torch.optim.Optimizer:
    optimiser = optimiser_of(kind, shapes)
    for _ in range(3):
        for parameter, gradient in zip(optimiser.param_groups[0]["params"], gradients, strict=True):
            parameter.grad = gradient.clone()
        optimiser.step()
    return optimiser


def moments(optimiser: torch.optim.Optimizer) -> list[dict]:
    return [
        {name: numbers_of(value).clone() for name, value in optimiser.state[p].items()}
        for p in optimiser.param_groups[0]["params"]
    ]


def largest_difference(one: list[dict], other: list[dict]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for a, b in zip(one, other, strict=True) for name in a)


@pytest.fixture
def gradients() -> list:
    torch.manual_seed(2)
    return [torch.randn(shape) for shape in SHAPES]


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_what_one_rank_saved_it_takes_up_to_the_bit(kind, gradients, tmp_path):
    whole = stepped(kind, SHAPES, gradients)
    save_moments(whole, tmp_path, 0, 1)
    again = optimiser_of(kind, SHAPES)
    load_moments(again, tmp_path, 0, 1)
    assert largest_difference(moments(whole), moments(again)) == 0
    assert [float(state["step"]) for state in moments(again)] == [3, 3, 3]


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_halves_of_two_ranks_are_joined_in_order(kind, gradients, tmp_path):
    for rank in range(2):
        halves = [gradient.chunk(2)[rank] for gradient in gradients]
        save_moments(stepped(kind, [half.shape for half in halves], halves), tmp_path, rank, 2)
    joined = optimiser_of(kind, SHAPES)
    load_moments(joined, tmp_path, 0, 1)
    whole = stepped("adamw", SHAPES, gradients)  # moments do not depend on the weights, only on the gradients
    # Moments in 8 bits are within a few hundredths of the largest of their block of 256.
    assert largest_difference(moments(joined), moments(whole)) < (1e-6 if kind == "adamw" else 0.05)


def test_the_whole_moments_of_one_process_are_quantised_anew(gradients):
    whole, into = stepped("adamw", SHAPES, gradients), optimiser_of("adamw8bit", SHAPES)
    spread_moments(into, moments(whole))
    assert hasattr(into.state[into.param_groups[0]["params"][0]]["exp_avg"], "codes")
    assert 0 < largest_difference(moments(into), moments(whole)) < 0.05
