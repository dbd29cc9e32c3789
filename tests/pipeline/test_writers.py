"""Files that other tools wrote with their own code (`tests/writers/make.py`): each sample is in once, with
its program and its claim, also the answer without a program.
"""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.adapters.recognition import recognise
from pipeline.ingest import ingest
from pipeline.store.store import Store

FILES = Path(__file__).parents[1] / "writers" / "files"
RIGHT, WRONG = "print(int(input()) * 2)\n", "print(int(input()) * 3)\n"
STATEMENT = "Read one integer n from standard input and print twice its value, nothing else."
STUB = 'def double(n):\n    """Twice n."""\n'
PROBLEMS = [
    {"problem_id": "own/double", "statement": STATEMENT, "tests": [{"input": "3", "expected_output": "6"}]},
    {
        "problem_id": "humaneval/0",
        "statement": STUB,
        "starter_code": STUB,
        "entry_point": "double",
        "input_mode": "function",
        "checker": {"kind": "function"},
        "tests": [{"mode": "check", "input": "def check(candidate):\n    assert candidate(2) == 4\n"}],
    },
]
# The same problems under the names that LiveCodeBench and EvalPlus give them.
PROBLEMS += [PROBLEMS[0] | {"problem_id": "lcb/double"}, PROBLEMS[1] | {"problem_id": "humanevalplus/0"}]
DOUBLE, TRIPLE = "def double(n):\n    return 2 * n", "def double(n):\n    return 3 * n"
PROGRAMS = {
    "inspect_ai": [RIGHT, WRONG, ""],
    "atif": [RIGHT, WRONG, ""],
    "openai_batch": [RIGHT, WRONG, ""],
    "anthropic_batch": [RIGHT, WRONG, ""],
    "prime_rl": [RIGHT, WRONG, ""],
    "evalplus/human_eval": [STUB + "    return 2 * n\n", STUB + "    return 3 * n\n", ""],
    "evalplus/evalplus": [DOUBLE, TRIPLE, "I cannot solve this."],
    "evalplus/2023": 2 * [DOUBLE + "\n", TRIPLE + "\n", ""],
    "verl": 2 * [RIGHT, WRONG, ""],
    "trl": [RIGHT, WRONG, ""],
    "livecodebench_results": [RIGHT.rstrip(), WRONG.rstrip(), ""],
    "bigcode": [STUB + "    return 2 * n\n", STUB + "    return 3 * n\n", ""],
    "tinker_capture": [RIGHT, WRONG, ""],
    "nemo_gym": [RIGHT, WRONG, ""],
}
MAPPINGS = {"tinker_capture": {"tokenizer": str(FILES / "tinker_capture" / "tokenizer.json")}}
CLAIMS = {
    "inspect_ai": ["accepted", "rejected", "rejected"],
    "atif": ["accepted", "rejected", "rejected"],
    "openai_batch": [None, None, None],
    "anthropic_batch": [None, None, None],
    "prime_rl": ["accepted", "rejected", "rejected"],
    "evalplus/human_eval": ["accepted", "rejected", "rejected"],
    "evalplus/evalplus": ["accepted", "rejected", "rejected"],
    # The folder, whose order of statuses is unknown, then the file.
    "evalplus/2023": [None, None, None, "accepted", "rejected", "rejected"],
    "verl": 2 * ["accepted", "rejected", "rejected"],
    "trl": ["accepted", "rejected", "rejected"],
    "livecodebench_results": ["accepted", "wrong_answer", "runtime_error"],
    "bigcode": [None, None, None],
    "tinker_capture": ["accepted", "rejected", "rejected"],
    "nemo_gym": ["accepted", "rejected", "rejected"],
}


@pytest.fixture
def store(tmp_path):
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    return store


def test_every_file_is_tried():
    writers = {path.parent for path in FILES.rglob("*") if path.is_file() and path.parent != FILES}
    assert all(any(FILES / name in (place, *place.parents) for name in PROGRAMS) for place in writers)


@pytest.mark.parametrize("writer", PROGRAMS)
def test_the_samples_of_a_real_writer(store, writer):
    batches = ingest(store, writer.partition("/")[0], str(FILES / writer), mapping=MAPPINGS.get(writer))
    assert sum(batch.quarantined for batch in batches) == 0, [batch.reasons for batch in batches]
    rows = store.read("trajectories").sort("policy_id", "source_file", "source_line", "source_key")
    assert rows["program"].to_list() == PROGRAMS[writer]
    assert rows["claimed_verdict"].to_list() == CLAIMS[writer]
    assert rows["problem_id"].n_unique() == 1


@pytest.mark.parametrize("writer", PROGRAMS)
def test_the_adapter_of_a_real_file_is_recognised(writer):
    assert recognise(str(FILES / writer))[0].adapter == writer.partition("/")[0]


def test_a_folder_of_2023_with_equal_statuses_has_claims(store, tmp_path):
    """Whatever the order of equal statuses is, each program has that one."""
    folder = tmp_path / "model_temp_0.8"
    shutil.copytree(FILES / "evalplus" / "2023" / "humaneval" / "folder_temp_0.8", folder)
    failed = [["failed", []]] * 3
    results = {"eval": {"HumanEval/0": {"nfiles": 3, "base": failed, "plus": failed}}}
    (folder / "eval_results.json").write_text(json.dumps(results))
    ingest(store, "evalplus", str(tmp_path))
    assert store.read("trajectories")["claimed_verdict"].to_list() == ["rejected"] * 3


def test_generations_of_bigcode_with_settings(store, tmp_path):
    """`limit_start` moves the problems; the policy is the model of the settings."""
    (tmp_path / "problems.jsonl").write_text(json.dumps(PROBLEMS[1] | {"problem_id": "mbpp/13"}) + "\n")
    ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    (tmp_path / "generations_mbpp.json").write_text(json.dumps([[DOUBLE], [None]]))
    config = {"model": "bigcode/starcoder", "temperature": 0.2, "limit_start": 2, "tasks": "mbpp"}
    (tmp_path / "evaluation_results.json").write_text(json.dumps({"mbpp": {}, "config": config}))
    (batch,) = ingest(store, "bigcode", str(tmp_path))
    row = store.read("trajectories").row(0, named=True)
    assert (row["problem_id"], row["policy_id"], row["temperature"]) == ("mbpp/13", "bigcode/starcoder", 0.2)
    assert (batch.accepted, batch.quarantined) == (1, 1)  # mbpp/14 is not in the store


def test_generations_of_a_task_without_ids_are_refused_with_it(store, tmp_path):
    (tmp_path / "generations_ds1000-all.json").write_text(json.dumps([[DOUBLE]]))
    (batch,) = ingest(store, "bigcode", str(tmp_path))
    assert batch.accepted == 0
    assert "no task whose order is known" in store.read("quarantine")["reason"][0]
    ids = {"problems": "humaneval/0"}
    (batch,) = ingest(store, "bigcode", str(tmp_path), mapping=ids)
    assert (batch.accepted, store.read("trajectories")["problem_id"].to_list()) == (1, ["humaneval/0"])
