"""`spo push`: a trained policy in a folder that transformers reads, with a card of its facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from flows.cli import app
from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store
from sandbox import Pool
from trainer.policies import new_policy, publish_policy
from trainer.run import RunConfig, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A store, and the folder of a run of two SFT steps."""
    folder = tmp_path_factory.mktemp("push")
    store = Store(folder / "store")
    ingest(store, "plain", str(ROOT / "data" / "starter"), limit=6)
    policy = new_policy(["Print n.", "print(n)"], vocab_size=300, layers=1, width=32)
    policy.save(folder / "reference")
    (folder / "reference" / "prompt.jinja").write_text("Solve: {{ statement }}")
    publish_policy(store, policy, folder / "reference", policy_id="start")
    config = {
        "run": str(folder / "mine"),
        "store": str(folder / "store"),
        "reference": str(folder / "reference"),
        "allow_leaks": ["itself", "same", "ngrams"],
        "objective": {"name": "sft"},
        "training": {"steps": 2},
        "mixture": {"batch_sequences": 2},
        "source": [{"name": "people", "where": "j.origin = 'human'", "weight": 1.0}],
    }
    with Pool() as pool:
        label(store, pool)
    run(RunConfig.model_validate(config))
    return folder / "store", folder / "mine"


def test_a_folder_has_weights_prompt_and_card(trained, tmp_path):
    store, _ = trained
    target = tmp_path / "pushed"
    done = CliRunner().invoke(
        app, ["push", "mine", str(target), "--store", str(store), "--licence", "mit", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["pushed"] == str(target)
    assert AutoModelForCausalLM.from_pretrained(target).config.model_type == "llama"
    assert (target / "prompt.jinja").read_text() == "Solve: {{ statement }}"
    _, header, text = (target / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "mit"
    for fact in ("after step 2 of the run `mine`", "Objective `sft`", "j.origin = 'human'", "Apache-2.0",
                 "It has not been evaluated", "prompts: its own template, in prompt.jinja"):  # fmt: skip
        assert fact in text, fact


def test_what_is_there_is_not_overwritten_and_the_hub_needs_a_token(trained, tmp_path, monkeypatch):
    store, _ = trained
    (tmp_path / "there").mkdir()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    there = str(tmp_path / "there")
    for words, message in (([there], "exists; name a new folder"), (["a/b", "--hub"], "set HF_TOKEN")):
        done = CliRunner().invoke(app, ["push", "mine", *words, "--store", str(store)])
        assert done.exit_code == 2 and message in " ".join(done.output.replace("│", " ").split())
