"""From rows of one's own to a run: `spo warmstart` makes a reference, `spo init` the files to begin with."""

import json
import os
import tomllib

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.serving.schedule import load_schedule
from pipeline.corpora import read_spec
from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store
from sandbox import Pool
from trainer.objectives.sft import SftSettings
from trainer.policies import load_policy, score
from trainer.run import load_config, plan

DOUBLE = {
    "problem_id": "mine/double",
    "statement": "Read a whole number and print its double.",
    "split": "train",
    "tests": [{"input": "2\n", "expected_output": "4\n"}],
}
PROGRAMS = {
    "ann": "print(2 * int(input()))",
    "bob": "print(int(input()) ** 3)",
    "cem": f"print(4)  # {list(range(200))}",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    rows = [
        {"problem_id": "mine/double", "source_key": name, "origin": "human", "policy_id": "human"}
        | {"language": "python3", "program": program}
        for name, program in PROGRAMS.items()
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (DOUBLE, *rows)))
    store = Store(folder / "store")
    ingest(store, "plain", str(folder / "rows.jsonl"))
    with Pool(1) as pool:
        label(store, pool)
    return folder


@pytest.fixture
def spo(place):
    before = os.getcwd()
    os.chdir(place)
    yield lambda *words: CliRunner().invoke(app, [*words, "--store", "store"])
    os.chdir(before)


def last_line(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


SHORT = ("--steps", "2", "--layers", "1", "--width", "16")


def test_before_a_reference_exists_the_next_command_is_to_make_one(spo, place):
    result = spo("init", "early")
    assert result.exit_code == 0, result.output
    assert "spo warmstart models/first" in result.output
    assert "does not exist yet: spo warmstart models/first" in (place / "early" / "run.toml").read_text()
    assert load_config(place / "early" / "run.toml").reference.name == "first"


def test_a_reference_from_programs_of_ones_own_trains(spo, place):
    options = ("--share", "1", "--max-tokens", "100", "--json")
    line = last_line(spo("warmstart", "models/first", *SHORT, *options))
    assert (line["policy"], line["steps"]) == ("first", 2)
    assert line["programs"] == 1  # bob's is wrong, cem's has too many tokens
    assert spo("warmstart", "models/first", *SHORT).exit_code == 2
    elsewhere = spo("warmstart", "others/first", *SHORT)
    assert elsewhere.exit_code == 2 and "policy first is published already" in " ".join(
        elsewhere.output.split()
    )
    assert not (place / "others").exists()
    details = json.loads(Store(place / "store").read("policies").row(0, named=True)["details"])
    assert details["warm_start"]["rows"]["where"] == "j.origin = 'human'"

    files = last_line(spo("init", "--json"))["files"]
    assert files == ["run.toml", "schedule.toml", "corpora/humans.sql"]
    config = load_config(place / "run.toml")
    assert (config.store, str(config.reference)) == ("store", "models/first")
    assert tomllib.loads((place / "run.toml").read_text())["source"][0]["name"] == "human"
    score(Store(place / "store"), load_policy(place / "models" / "first"))
    likelihood = config.model_copy(update={"objective": SftSettings()})  # SPO would need samples for Q0, too
    (planned,) = plan(likelihood, timed=False).sources
    assert (planned.source, planned.rows, planned.too_long) == ("human", 2, 1)
    assert [entry.name for entry in load_schedule(place / "schedule.toml").entries()] == [
        "deduplicate",
        "label",
        "humans",
        "maintain",
        "chain",
    ]
    assert read_spec(place / "corpora" / "humans.sql").reward == "binary"
    again = spo("init")
    assert again.exit_code == 2 and "already there" in again.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--where", "j.origin = 'search'"), "no correct Python program is selected"),
        (("--max-tokens", "3", "--share", "1"), "are longer than 3 tokens"),
        (("--where", "true) or (true"), "where: Parser Error"),
        (("--width", "18"), "not a multiple of 4"),
    ],
)
def test_a_warm_start_that_cannot_be_says_why_and_leaves_nothing(spo, place, words, message):
    result = spo("warmstart", "models/none", *SHORT, *words)
    assert result.exit_code != 0
    text = " ".join(result.output.replace("│", "").split()) + str(result.exception)
    assert message in text
    assert not (place / "models" / "none").exists()
