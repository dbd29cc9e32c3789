"""Settings of the optimiser as documented, the optimiser that they make, and its learning rate by hand."""

import pytest
import torch
from pydantic import ValidationError

from trainer.objectives import ValueNetworkSettings
from trainer.policies import new_policy
from trainer.run.optim import (
    OptimiserSettings,
    new_optimiser,
    preparation,
    rate_at,
    set_learning_rate,
)


@pytest.fixture(scope="module")
def policy():
    policy = new_policy(["print(1)", "a = input()"], vocab_size=300, layers=1, width=16, seed=0)
    next(policy.model.parameters()).requires_grad_(False)
    return policy


def test_the_documented_defaults():
    assert OptimiserSettings().model_dump() == {
        "kind": "adamw",
        "learning_rate": 3e-4,
        "warmup_steps": 10,
        "schedule": "cosine",
        "final_share": 0.1,
        "clip_norm": 1.0,
        "betas": (0.9, 0.95),
        "epsilon": 1e-8,
        "weight_decay": 0.0,
        "lora": None,
    }


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -0.5},
        {"warmup_steps": -1},
        {"final_share": -0.5},
        {"final_share": 1.5},
        {"clip_norm": 0.0},
        {"clip_norm": -0.5},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"epsilon": 0.0},
        {"weight_decay": -0.1},
        {"schedule": "sine"},
        {"rate": 1.0},
    ],
)
def test_a_setting_out_of_bounds_is_refused(setting):
    with pytest.raises(ValidationError):
        OptimiserSettings(**setting)


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 0.5},
        {"warmup_steps": 0},
        {"final_share": 0.0},
        {"final_share": 1.0},
        {"clip_norm": 0.5},
    ],
)
def test_a_setting_at_its_bound_is_taken(setting):
    (name, value), *_ = setting.items()
    assert getattr(OptimiserSettings(**setting), name) == value


def test_settings_do_not_change_once_they_are_read():
    with pytest.raises(ValidationError):
        OptimiserSettings().learning_rate = 1.0


def test_adamw_has_the_documented_moments_and_trains_what_is_trainable(policy):
    optimiser = new_optimiser(policy)
    assert type(optimiser) is torch.optim.AdamW
    (group,) = optimiser.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.0, (0.9, 0.95), 0.0)
    assert len(group["params"]) == len(list(policy.model.parameters())) - 1


def test_the_settings_of_adam_are_those_of_the_optimiser(policy):
    optimiser = new_optimiser(policy, OptimiserSettings(betas=(0.8, 0.99), epsilon=1e-6, weight_decay=0.1))
    (group,) = optimiser.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.99), 1e-6, 0.1)


def test_a_value_network_is_made_where_one_is_needed(policy):
    settings = OptimiserSettings(betas=(0.5, 0.25), epsilon=1e-3, weight_decay=0.125)
    without = preparation(settings, None, activation_checkpointing=False)
    assert without.new_value_network(policy) is None and without.new_value_learner(None) is None
    needed = ValueNetworkSettings(rate_factor=3.0, clip_norm=0.5)
    prepared = preparation(settings, needed, activation_checkpointing=False)
    network = prepared.new_value_network(policy)
    learner = prepared.new_value_learner(network)
    assert (learner.rate_factor, learner.clip_norm) == (3.0, 0.5) and learner.network is network
    (group,) = learner.optimiser.param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (0.0, (0.5, 0.25), 1e-3)
    assert group["weight_decay"] == 0.125 and len(group["params"]) == len(list(network.parameters()))
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_rate_is_set_in_all_groups_as_number_or_tensor():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimiser = torch.optim.AdamW(groups, lr=torch.tensor(1.0), foreach=False)
    tensors = [group["lr"] for group in optimiser.param_groups]
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]
    assert all(group["lr"] is tensor for group, tensor in zip(optimiser.param_groups, tensors, strict=True))
    optimiser = torch.optim.AdamW(groups, lr=1.0)
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]


def test_the_rise_multiplies_the_schedule():
    # Step 1 of 4, in a rise of 4 steps: 2/4 of the peak. The cosine at a quarter: 0.1 + 0.9 * 0.8536.
    settings = OptimiserSettings(learning_rate=2.0, warmup_steps=4, final_share=0.1, schedule="cosine")
    assert rate_at(1, 4, settings) == pytest.approx(2.0 * 0.5 * 0.8681981)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_run_without_a_rise_begins_at_the_peak(steps):
    settings = OptimiserSettings(learning_rate=2.0, warmup_steps=steps, schedule="constant")
    assert rate_at(0, 10, settings) == 2.0
