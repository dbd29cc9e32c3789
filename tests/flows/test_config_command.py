"""`spo config`: every key that a run or a schedule takes is listed, with what it means."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.serving.keys import schedule_keys
from trainer.objectives import OBJECTIVES
from trainer.run import run_keys


def shown(*words):
    result = CliRunner().invoke(app, ["config", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])["keys"]


def test_every_key_says_what_it_means():
    for key in [*run_keys(), *schedule_keys()]:
        assert key.meaning and key.type and "value" not in key.type.split(), key


def test_keys_by_hand():
    keys = {(row["section"], row["key"]): row for row in shown()}
    rate = keys["optimiser", "learning_rate"]
    assert (rate["type"], rate["default"]) == ("number > 0", "0.0003")
    assert keys["", "reference"]["default"] == "required" and keys["", "reference"]["type"] == "path"
    assert keys["training", "layout"]["type"] == '"padded" or "packed"'
    assert keys["source", "weight"]["type"].startswith("number or list of list of")
    assert keys["mixture", "batch_sequences"]["meaning"] == "rows per batch"
    assert keys['objective, name = "ppo"', "kl"]["default"] == "0.01"
    assert {row["section"] for row in shown()} >= {
        f'objective, name = "{name}"'
        for name in OBJECTIVES
        if name != "sft"  # which has no settings
    }


def test_keys_are_searched_and_chosen():
    assert {row["key"] for row in shown("learning_rate")} >= {"learning_rate"}
    assert {row["section"] for row in shown("--objective", "sft")} & {
        f'objective, name = "{n}"' for n in OBJECTIVES
    } == set()
    cron = next(row for row in shown("--schedule") if (row["section"], row["key"]) == ("label", "cron"))
    assert (cron["type"], cron["default"]) == ("text or null", "null")


@pytest.mark.parametrize(
    "words, message",
    [(["nothing-like-this"], "no key has"), (["--objective", "spoo"], "there are: astar_po")],
)
def test_what_is_not_there_is_one_line(words, message):
    result = CliRunner().invoke(app, ["config", *words])
    assert result.exit_code == 2 and message in result.output
