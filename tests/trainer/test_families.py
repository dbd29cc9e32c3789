"""log pi of the trainer is the model's own, for tiny random models of many families."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.policies import (
    LoraSettings,
    Policy,
    completion_logprobs,
    packed_batch,
    prepare,
    token_batch,
    token_entropy,
)
from trainer.policies.batching import sum_by_sequence
from trainer.policies.logits import logprob_fault, logprob_gap
from trainer.rollouts.continuous import can_decode, decode
from trainer.run.checks import TrainingError, check_packing
from trainer.run.settings import TrainingSettings

LLAMA = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
GPT = {"vocab_size": 300, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 0,
       "eos_token_id": 1}  # fmt: skip
NEOX = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA | {"head_dim": 16},
    "gemma": LLAMA | {"head_dim": 16},
    "gemma2": LLAMA | {"head_dim": 16, "final_logit_softcapping": 30.0, "sliding_window": 32},
    "gemma3_text": LLAMA | {"head_dim": 16, "sliding_window": 32},
    "granite": LLAMA | {"logits_scaling": 8.0},
    "cohere": LLAMA | {"logit_scale": 0.0625},
    "phi": LLAMA,
    "starcoder2": LLAMA,
    "mistral": LLAMA | {"sliding_window": 16},
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neox": NEOX,
}
PROMPTS, COMPLETIONS = [5, 9, 14], [30, 12, 21]  # tokens


def model_of(family: str) -> Any:
    """A random model of a family, with logits of several nats."""
    config = FAMILIES.get(family) or {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(4.0)
    return model


def sequences() -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(1)
    draw = [torch.randint(3, 300, (n,), generator=generator).tolist() for n in (*PROMPTS, *COMPLETIONS)]
    return draw[:3], draw[3:]


@pytest.mark.parametrize("family", FAMILIES)
def test_log_pi_is_that_of_the_models_own_forward(family: str) -> None:
    model, (prompts, completions) = model_of(family), sequences()
    own = []
    with torch.no_grad():
        for prompt, completion in zip(prompts, completions, strict=True):
            logprobs = model(input_ids=torch.tensor([prompt + completion])).logits[0].float().log_softmax(-1)
            own.append(sum(float(logprobs[len(prompt) - 1 + i, t]) for i, t in enumerate(completion)))
        for batch in (token_batch(prompts, completions), packed_batch(prompts, completions, 128)):
            computed = completion_logprobs(model, batch, entropy_tokens=1000)
            sums = sum_by_sequence(computed.logprob, computed.sequence, 3)
            assert sums.tolist() == pytest.approx(own, abs=2e-3)  # of some 175 nats
    assert logprob_gap(model) < 1e-4
    policy = Policy(model, None, "plain")
    sums_of_entropy = token_entropy(policy, prompts, completions)
    assert [total / count for total, count in sums_of_entropy] == pytest.approx(
        computed.entropy.tolist(), abs=1e-4
    )
    check_packing(TrainingSettings(layout="packed"), policy)


def test_the_scale_of_granite_is_a_part_of_log_pi() -> None:
    """By hand: a granite whose scale is taken away has other log-probabilities."""
    model, (prompts, completions) = model_of("granite"), sequences()
    batch = token_batch(prompts, completions)
    scaled = completion_logprobs(model, batch).logprob
    model.config.logits_scaling = 1.0
    assert float((scaled - completion_logprobs(model, batch).logprob).abs().max()) > 0.1


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused() -> None:
    model = model_of("llama")
    assert logprob_fault(model) == ""
    forward = model.forward

    def doubled(*args: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(logits=2 * forward(*args, **kwargs).logits)

    model.forward = doubled
    assert "llama" in logprob_fault(model) and "differs from its own forward pass" in logprob_fault(model)


def test_a_model_with_a_recurrent_state_is_refused_for_packing_alone() -> None:
    policy = Policy(model_of("mamba"), None, "plain")
    assert logprob_fault(policy.model) == ""
    check_packing(TrainingSettings(layout="padded"), policy)
    with pytest.raises(TrainingError, match="layout = 'packed': this model \\(mamba\\) does not keep packed"):
        check_packing(TrainingSettings(layout="packed"), policy)


def test_adapters_on_a_gpt2_whose_layers_are_convolutions() -> None:
    pytest.importorskip("peft")
    policy = Policy(model_of("gpt2"), None, "plain")
    ids = torch.arange(1, 20)[None]
    before = policy.model(ids).logits
    prepare(policy, lora=LoraSettings(rank=2), activation_checkpointing=False)
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 4 and torch.equal(policy.model(ids).logits, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_sampled_log_probabilities_are_the_trainers_own(family: str) -> None:
    """Rows that end at different lengths, more of them than places, several per prompt."""
    model, (prompts, _) = model_of(family), sequences()
    assert can_decode(model), "this family would be sampled in padded batches"
    requests = [prompt for prompt in prompts for _ in range(4)]
    with torch.inference_mode():
        rows = list(
            decode(
                model, requests, stop_ids=frozenset(range(0, 300, 12)), temperature=1.0, top_p=1.0,
                max_new_tokens=40, generator=torch.Generator().manual_seed(0), slots=5,
            )
        )  # fmt: skip
    assert sorted(row.number for row in rows) == list(range(12))
    assert len({len(row.token_ids) for row in rows}) > 4
    batch = token_batch([requests[row.number] for row in rows], [row.token_ids for row in rows])
    with torch.no_grad():
        computed = completion_logprobs(model, batch)
    sampled = [logprob for row in rows for logprob in row.logprobs]
    assert sampled == pytest.approx(computed.logprob.tolist(), abs=1e-4)


@pytest.mark.parametrize("family", ["mamba", "bloom"])
def test_a_model_without_keys_by_position_is_not_decoded_by_places(family: str) -> None:
    assert not can_decode(model_of(family))
