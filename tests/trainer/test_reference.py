"""References: what a fingerprint is made of, several side by side, and errors that say which part changed."""

import json
import re
import shutil

import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app
from flows.stages.score import score_task
from trainer.data import Mixture, ScoredTokens, Source, Stream
from trainer.policies import reference
from trainer.policies.policy import load_policy
from trainer.policies.publishing import publish_policy
from trainer.policies.reference import (
    ReferenceChanged,
    reference_fingerprint,
    reference_parts,
    score,
    scored_references,
)
from trainer.run import train

TEMPLATE = "{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}"
SAMPLES = Source(name="samples", where="j.policy_id = 'reference'", weight=1.0)
CONFIG = """
run = "{folder}/runs/mine"
store = "{store}"
reference = "{reference}"
reference_policy = "reference"
[training]
steps = 2
[mixture]
batch_sequences = 4
[[source]]
name = "samples"
where = "j.policy_id = 'reference'"
weight = 1.0
"""


def other_weights(policy):
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(1.01)


def other_tokenizer(policy):
    policy.tokenizer.add_tokens(["zzzz"])


def other_template(policy):
    policy.tokenizer.chat_template = TEMPLATE


def change(folder, how):
    """Put another policy into the folder of one."""
    policy = load_policy(folder)
    how(policy)
    policy.save(folder)
    return load_policy(folder)


def spo(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def config(job, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(folder=tmp_path, store=job.store.location, reference=job.folder))
    return path


@pytest.mark.parametrize(
    ("how", "part", "names"),
    [
        (other_weights, "weights", "weights"),
        (other_tokenizer, "tokenizer", "tokenizer"),
        (other_template, "template", "chat template"),
    ],
)
def test_a_changed_reference_is_an_error_of_score_and_train_that_says_what_changed(
    job, config, how, part, names
):
    score(job.store, job.policy(), folder=job.folder)
    before = reference_parts(job.policy())
    policy = change(job.folder, how)
    now = reference_parts(policy)
    assert [name for name in now if now[name] != before[name]] == [part]
    said = re.escape(f"{names} ({before[part]} -> {now[part]}); put ")
    rows = job.store.version("reference_scores")
    with pytest.raises(ReferenceChanged, match=f"the reference changed since it was scored: {said}"):
        score_task.fn(0, 1, job.store.location, str(job.folder), 2048, "fp32", False)
    assert job.store.version("reference_scores") == rows
    refused = spo("train", config)
    assert isinstance(refused.exception, ReferenceChanged) and "\n" not in str(refused.exception)
    assert re.search(
        f"no trajectory is scored under this reference; .* has another {said}", str(refused.exception)
    )


def test_another_version_of_the_scoring_code_is_named(job, monkeypatch):
    score(job.store, job.policy(), folder=job.folder)
    monkeypatch.setattr(reference, "SCORING_CODE", "padded-2")
    with pytest.raises(ReferenceChanged, match=r"scored: scoring code \(padded-1 -> padded-2\); put it back"):
        score(job.store, job.policy(), folder=job.folder)


def test_another_precision_is_named_by_training_and_is_a_reference_of_its_own_to_score(job, config):
    score(job.store, job.policy(), folder=job.folder)
    config.write_text(
        config.read_text().replace("[training]", '[training]\nprecision = "bf16"\ngate_nats = 0.5')
    )
    message = str(spo("train", config, "--dry-run").exception)
    assert "has another precision (fp32 -> bf16); put that back, or score it with `spo score" in message
    assert "--precision bf16`" in message
    score(job.store, job.policy(), precision="bf16", folder=job.folder)
    assert {row["precision"] for row in scored_references(job.store)} == {"fp32", "bf16"}
    assert spo("train", config, "--dry-run").exit_code == 0


def test_a_reference_that_nobody_scored_is_an_error_with_the_command(job, config, tmp_path):
    other = change(job.folder, other_weights)
    publish_policy(job.store, other, job.folder, policy_id="other")
    assert "no trajectory is scored under this reference; score it with `spo score" in str(
        spo("train", config).exception
    )


def test_several_references_lie_side_by_side_and_each_passes_its_own_gate(job, tmp_path):
    first = job.policy()
    score(job.store, first, folder=job.folder)
    second = change(job.folder, other_weights)
    added = score(job.store, second, folder=job.folder, changed=True)
    names = [reference_fingerprint(policy) for policy in (first, second)]
    scores = job.store.read("reference_scores", ["reference", "trajectory_id", "logprob_sum"])
    one, other = (scores.filter(scores["reference"] == name).sort("trajectory_id") for name in names)
    assert added.scored == other.height == one.height > 100
    assert one["trajectory_id"].equals(other["trajectory_id"]) and not one["logprob_sum"].equals(
        other["logprob_sum"]
    )
    assert [row["reference"] for row in scored_references(job.store)] == names[::-1]
    for policy, name in ((first, names[0]), (second, names[1])):
        stream = Stream(
            job.store,
            Mixture(source=[SAMPLES]),
            ScoredTokens(job.store, name),
            reference_policy="reference",
            seed=0,
        )
        training = job.training(tmp_path / name, [], stream=stream, training={"steps": 1})
        training.policy = policy
        train(training)
        stored = dict(
            zip(one["trajectory_id"], (one if name == names[0] else other)["logprob_sum"], strict=True)
        )
        assert all(row.reference_logprob == stored[row.trajectory_id] for row in stream.batch(0))


def test_a_run_does_not_go_on_from_another_reference_even_if_that_one_is_scored(job, config, tmp_path):
    score(job.store, job.policy(), folder=job.folder)
    assert spo("train", config).exit_code == 0
    run = tmp_path / "runs" / "mine"
    assert json.loads((run / "reference.json").read_text()) == reference_parts(job.policy())
    shutil.rmtree(run / "final")
    score(job.store, change(job.folder, other_weights), folder=job.folder, changed=True)
    message = str(spo("train", config).exception)
    assert re.search(
        r"the reference changed since the run .*mine was begun: weights \(\w{16} -> \w{16}\); put it back",
        message,
    )
