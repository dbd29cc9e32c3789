"""Several processes on one model, with gloo on the CPU: the same rows, bit-equal resumption, and going on
with fewer or more.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.store.store import Store
from trainer.policies.adapters import adapter_state
from trainer.policies.policy import Policy, load_policy
from trainer.policies.reference import score
from trainer.run.config import load_config
from trainer.run.execution import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]  # several launches, each of many seconds on a busy machine
SCRIPT = Path(__file__).with_name("sharded_run.py")
CONFIG = """
run = "{folder}/{name}"
store = "{store}"
reference = "{reference}"
reference_policy = "reference"
allow_leaks = ["ngrams", "same", "itself"]
[objective]
{objective}
[training]
steps = 4
checkpoint_every = 2
batch_tokens = 400
{training}
[optimiser]
warmup_steps = 1
{optimiser}
[mixture]
batch_sequences = 8
[[source]]
name = "human"
where = "{first}"
weight = 0.5
[[source]]
name = "samples"
where = "j.policy_id = 'reference'"
weight = 0.5
{more}
"""
ONLINE = """
[[source]]
name = "fresh"
where = "j.run_id = '{name}'"
weight = [[0, 0.0], [1, 1.0]]
[online]
from_step = 1
every = 2
problems = 3
sampling = {{samples_per_problem = 2, max_new_tokens = 12, batch_size = 8}}
"""
LORA = {"objective": "", "optimiser": "learning_rate = 1e-2\nlora = {rank = 4, alpha = 8}"}
EIGHT_BITS = {"objective": "", "optimiser": 'kind = "adamw8bit"\nlearning_rate = 1e-3'}
needs = {
    "lora": pytest.mark.skipif(not find_spec("peft"), reason="the extra `lora` is not installed"),
    "eight": pytest.mark.skipif(not find_spec("torchao"), reason="the extra `adam8bit` is not installed"),
}


class Runs:
    """Runs on a copy of a job, each in its own folder: by several ranks at once, or by this process."""

    def __init__(self, job, folder: Path):
        self.folder, self.reference = folder, job.folder
        self.store = Store(shutil.copytree(job.store.location, folder / "store"))

    def config(
        self,
        name: str,
        *,
        objective: str = "target_kl = 1.0",
        training: str = "",
        optimiser: str = "learning_rate = 1e-3",
        more: str = "",
        reference: Path | None = None,
        first: str = "j.origin = 'human'",
    ) -> Path:
        text = CONFIG.format(
            folder=self.folder,
            name=name,
            store=self.store.location,
            reference=reference or self.reference,
            objective=objective if "name" in objective else f'name = "spo"\n{objective}',
            training=training,
            optimiser=optimiser,
            more=more.format(name=name),
            first=first,
        )
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return path

    def launch(self, ranks: int, *runs: tuple[Path, int | None]) -> None:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={ranks}",
            str(SCRIPT),
        ]
        command.append(json.dumps([[str(path), stop_after] for path, stop_after in runs]))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr

    def train_alone(self, path: Path) -> None:
        run(load_config(path))

    def log(self, name: str, *columns: str) -> list:
        lines = [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]
        return [tuple(line[column] for column in columns) for line in lines] if columns else lines

    def weights(self, name: str) -> dict:
        return load_policy(self.folder / name / "final").model.state_dict()


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_any_number_of_ranks_draws_the_same_rows_and_takes_the_same_step(made_job, tmp_path):
    runs = Runs(made_job, tmp_path)
    runs.train_alone(runs.config("1"))
    for ranks in (2, 4):
        runs.launch(ranks, (runs.config(str(ranks)), None))
    digests = {name: runs.log(name, "rows_digest") for name in ("1", "2", "4")}
    assert digests["1"] == digests["2"] == digests["4"] and len(set(digests["1"])) == 4
    for name in ("2", "4"):
        for one, other in zip(runs.log("1"), runs.log(name), strict=True):
            assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
            assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
        assert largest_difference(runs.weights("1"), runs.weights(name)) < 1e-5


def test_two_ranks_resume_to_the_bit_and_another_number_goes_on_within_rounding(made_job, tmp_path):
    runs = Runs(made_job, tmp_path)
    whole, cut = runs.config("whole"), runs.config("cut")
    runs.launch(2, (whole, None), (cut, 2), (cut, None))
    assert equal(runs.weights("whole"), runs.weights("cut"))
    columns = ("step", "rows_digest", "loss", "beta")
    assert runs.log("whole", *columns) == runs.log("cut", *columns)
    changing_ranks(runs, "whole", {})


def changing_ranks(
    runs: Runs, whole: str, settings: dict[str, str], reference: Path | None = None, within: float = 1e-5
) -> None:
    """From 2 ranks to 1, and from 1 to 2, at step 2 of 4: the same rows, and the weights of the run that
    did not change.
    """
    fewer, more = (
        runs.config(f"{whole}-{name}", **settings, reference=reference) for name in ("fewer", "more")
    )
    runs.launch(2, (fewer, 2))
    assert not (runs.folder / fewer.stem / "final").exists()
    runs.train_alone(fewer)
    with pytest.raises(InterruptedError):
        run(load_config(more), on_step=stop_after_2)
    runs.launch(2, (more, None))
    for name in (fewer.stem, more.stem):
        assert runs.log(name, "rows_digest") == runs.log(whole, "rows_digest")
        assert largest_difference(runs.weights(whole), runs.weights(name)) < within


def stop_after_2(figures: dict) -> None:
    if figures["step"] == 2:
        raise InterruptedError


@needs["eight"]
def test_weights_in_bfloat16_resume_to_the_bit_on_two_ranks(made_job, tmp_path):
    score(made_job.store, made_job.policy(), precision="bf16-weights")
    runs = Runs(made_job, tmp_path)
    settings = {"training": 'precision = "bf16-weights"\ngate_nats = 0.5'}
    whole, cut = runs.config("whole", **settings), runs.config("cut", **settings)
    runs.launch(2, (whole, None), (cut, 2), (cut, None))
    assert equal(runs.weights("whole"), runs.weights("cut"))
    assert 0 < largest_difference(runs.weights("whole"), load_policy(runs.reference).model.state_dict()) < 0.1


@needs["lora"]
def test_adapters_train_alone_on_two_ranks_and_are_published_merged(made_job, tmp_path):
    runs = Runs(made_job, tmp_path)
    settings = LORA | {"training": "publish_every = 2"}
    whole, cut = runs.config("whole", **settings), runs.config("cut", **settings)
    runs.launch(2, (whole, None), (cut, 2), (cut, None))
    assert equal(runs.weights("whole"), runs.weights("cut"))
    start, moved = load_policy(runs.reference).model.state_dict(), runs.weights("whole")
    changed = {name for name in start if not torch.equal(start[name], moved[name])}
    assert changed and all(name.endswith("proj.weight") for name in changed)
    delta = moved["model.layers.0.mlp.up_proj.weight"] - start["model.layers.0.mlp.up_proj.weight"]
    assert int(torch.linalg.matrix_rank(delta, atol=1e-5)) <= 4
    published = load_policy(runs.folder / "whole" / "policy-2").model
    assert (
        not adapter_state(published)
        and not equal(published.state_dict(), moved)
        and not equal(published.state_dict(), start)
    )
    policies = runs.store.read("policies", ["policy_id"])["policy_id"].to_list()
    assert [sum(name == one for one in policies) for name in ("whole@2", "whole", "cut@2", "cut")] == [
        1,
        1,
        1,
        1,
    ]
    retained = sum(file.stat().st_size for file in (runs.folder / "whole" / "checkpoint-2").glob("*.distcp"))
    assert retained < 3 * 4 * sum(
        p.numel() for p in load_policy(runs.reference).model.parameters()
    )  # no frozen weights, nor moments
    runs.train_alone(runs.config("alone", **settings))
    assert largest_difference(runs.weights("alone"), moved) < 1e-4
    changing_ranks(runs, "whole", LORA, within=1e-4)


@pytest.fixture
def wide_reference(made_job, tmp_path) -> Path:
    """A policy with parameters large enough that a half of them is kept in 8 bits."""
    policy = made_job.policy()
    config = LlamaConfig(
        **{**policy.model.config.to_dict(), "hidden_size": 128, "intermediate_size": 512, "head_dim": 32}
    )
    torch.manual_seed(0)
    Policy(LlamaForCausalLM(config).eval(), policy.tokenizer, "plain").save(tmp_path / "wide")
    return tmp_path / "wide"


@needs["eight"]
def test_moments_in_8_bits_are_saved_and_joined_again(made_job, wide_reference, tmp_path):
    runs = Runs(made_job, tmp_path)
    score(runs.store, load_policy(wide_reference))
    whole, cut = (runs.config(name, **EIGHT_BITS, reference=wide_reference) for name in ("whole", "cut"))
    runs.launch(2, (whole, None), (cut, 2), (cut, None))
    assert equal(runs.weights("whole"), runs.weights("cut"))
    saved = torch.load(tmp_path / "whole" / "checkpoint-2" / "moments-1.pt", weights_only=True)["moments"]
    in_8_bits = [state["exp_avg"].codes.dtype for state in saved if hasattr(state["exp_avg"], "codes")]
    assert len(in_8_bits) >= 4 and set(in_8_bits) == {torch.uint8}
    runs.train_alone(runs.config("alone", **EIGHT_BITS, reference=wide_reference))
    # Blocks of other cuts round differently: by less than half of the 4 steps of 1e-3 that a weight may have
    # moved.
    assert 0 < largest_difference(runs.weights("alone"), runs.weights("whole")) < 2e-3
    changing_ranks(runs, "whole", EIGHT_BITS, wide_reference, within=2e-3)


def test_two_ranks_sample_fresh_rows_once_and_a_resumed_run_learns_from_the_same(made_job, tmp_path):
    runs = Runs(made_job, tmp_path)
    fresh = runs.config("fresh", more=ONLINE)
    runs.launch(2, (fresh, -3), (fresh, None))
    rows = runs.store.read("trajectories").filter(pl.col("run_id") == "fresh")
    assert (
        rows.height == rows["source_key"].n_unique() == 2 * 3 * 2
    )  # rounds at steps 1 and 3, three problems, two samples
    assert sorted(rows["policy_step"].unique()) == [1, 3] and rows["problem_id"].n_unique() == 6
    for name in ("verdicts", "reference_scores"):
        actual = runs.store.read(name, ["trajectory_id"]).join(
            rows.select("trajectory_id"), on="trajectory_id"
        )
        assert actual.height == rows.height
    assert all("fresh" in sources for (sources,) in runs.log("fresh", "sources")[1:])
    assert runs.log("fresh", "step") == [(0,), (1,), (2,), (3,)]


def test_likelihood_on_two_ranks_takes_the_steps_of_one(made_job, tmp_path):
    runs, likelihood = Runs(made_job, tmp_path), {"objective": 'name = "sft"'}
    runs.train_alone(runs.config("1", **likelihood))
    runs.launch(2, (runs.config("2", **likelihood), None))
    assert runs.log("1", "rows_digest") == runs.log("2", "rows_digest")
    assert largest_difference(runs.weights("1"), runs.weights("2")) < 1e-5


def test_a_value_network_is_spread_saved_and_joined_again(mixed_job, tmp_path):
    runs = Runs(mixed_job, tmp_path)
    settings = {"objective": 'name = "ppo"', "first": "j.batch_id = 'right'"}
    whole, cut = runs.config("whole", **settings), runs.config("cut", **settings)
    runs.launch(2, (whole, None), (cut, 2), (cut, None))
    assert equal(runs.weights("whole"), runs.weights("cut"))
    columns = ("step", "rows_digest", "loss", "value_gradient_norm")
    assert runs.log("whole", *columns) == runs.log("cut", *columns)
    assert all(norm > 0 for (norm,) in runs.log("whole", "value_gradient_norm"))
    runs.train_alone(runs.config("alone", **settings))
    for one, other in zip(runs.log("alone"), runs.log("whole"), strict=True):
        for name in ("loss", "gradient_norm", "value_gradient_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-3)
    changing_ranks(runs, "whole", settings, within=1e-4)
