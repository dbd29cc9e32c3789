"""Names of runs and policies: from the nearest telling folder, and never the same for two folders."""

import json

import pytest

from pipeline.adapters import SourceError
from pipeline.adapters.path_names import telling_name
from pipeline.ingest import ingest
from pipeline.store.store import Store

STATEMENT = "Read one integer n from standard input and print twice its value."
PROBLEM = {
    "problem_id": "own/double",
    "statement": STATEMENT,
    "tests": [{"input": "1", "expected_output": "2"}],
}
ANSWER = "```python\nprint(int(input()) * 2)\n```"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/a/rollouts/step_3/traces.jsonl", "a"),
        ("my-run/12.jsonl", "my-run"),
        ("x/output/model-x/Scenario.json", "model-x"),
        ("grpo/completions/completions_1.parquet", "grpo"),
        ("exp/global_step_100/val/1.jsonl", "exp"),
        ("outputs/rollouts/1.jsonl", "outputs"),
    ],
)
def test_the_nearest_telling_folder(path, name):
    assert telling_name(path)[0] == name


@pytest.fixture
def store(tmp_path):
    (tmp_path / "problems.jsonl").write_text(json.dumps(PROBLEM))
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    return store


def dump(folder, step, scores):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"input": STATEMENT, "output": ANSWER, "score": score, "step": step} for score in scores]
    (folder / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_two_runs_whose_dumps_have_the_same_folder_name_stay_apart(store, tmp_path):
    for run, scores in (("first", [1.0, 0.0]), ("second", [0.0, 0.0])):
        dump(tmp_path / run / "rollouts", 1, scores)
        ingest(store, "verl", str(tmp_path / run / "rollouts"))
    rows = store.read("trajectories")
    assert sorted(rows["run_id"]) == ["first", "first", "second", "second"]


def test_a_second_folder_of_the_same_name_is_reported_before_anything_is_accepted(store, tmp_path):
    for place, score in (("a", 1.0), ("b", 0.0)):
        dump(tmp_path / place / "run" / "rollouts", 1, [score])
    ingest(store, "verl", str(tmp_path / "a" / "run"))
    with pytest.raises(
        SourceError, match=r"the name 'run' of .*/b/run is in the store for .*/a/run; .*--set run_id"
    ):
        ingest(store, "verl", str(tmp_path / "b" / "run"))
    assert store.read("trajectories").height == 1
    names = {"run_id": "run-b", "policy_id": "run-b"}
    ingest(store, "verl", str(tmp_path / "b" / "run"), columns=names)
    assert sorted(store.read("trajectories")["run_id"]) == ["run", "run-b"]


def test_a_run_that_goes_on_keeps_its_name(store, tmp_path):
    for step in (1, 2):
        dump(tmp_path / "a" / "run" / "rollouts", step, [1.0])
        ingest(store, "verl", str(tmp_path / "a" / "run"))
    assert store.read("trajectories")["policy_step"].sort().to_list() == [1, 2]
    assert set(store.read("trajectories")["run_id"]) == {"run"}
