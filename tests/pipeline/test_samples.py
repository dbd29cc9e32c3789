"""The adapter of samples in any columns, the adapters beside it, and the recognition of a source."""

import csv
import hashlib
import json

import polars as pl
import pytest

from pipeline.adapters import SourceError
from pipeline.adapters.recognition import left_to, recognise
from pipeline.ingest import ingest
from pipeline.store import connect, query
from pipeline.store.store import Store

STATEMENT = "Read one integer n from standard input and print twice its value, nothing else."
PROBLEM = {
    "problem_id": "own/double",
    "statement": STATEMENT,
    "tests": [{"input": "3", "expected_output": "6"}],
}
PROGRAM = "n = int(input())\nprint(n * 2)\n"
ANSWER = f"Sure.\n```python\n{PROGRAM}```"
CHAT = [{"role": "user", "content": STATEMENT}, {"role": "assistant", "content": ANSWER}]
ROWS = {
    "prompt, response, reward": ({"prompt": STATEMENT, "response": ANSWER, "reward": 1.0}, "accepted"),
    "completion and score": ({"prompt": STATEMENT, "completion": ANSWER, "score": 0}, "rejected"),
    "SYNTHETIC-1": (
        {"problem_id": "own/double", "prompt": "x", "llm_response": ANSWER, "score": 0.5},
        "partial",
    ),
    "OpenCodeReasoning": (
        {"id": "own/double", "input": STATEMENT, "output": f"<think>x</think>{ANSWER}"},
        None,
    ),
    "NeMo-Skills": (
        {"problem_id": "own/double", "question": "q", "generation": ANSWER, "passed": True},
        "accepted",
    ),
    "lm-evaluation-harness": (
        {"doc": {"task_id": "own/double", "prompt": STATEMENT}, "resps": [[ANSWER]], "pass@1": 1.0},
        "accepted",
    ),
    "vLLM": ({"prompt": STATEMENT, "outputs": [{"text": ANSWER, "finish_reason": "stop"}]}, None),
    "chat": ({"messages": CHAT}, None),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": STATEMENT}, {"from": "gpt", "value": ANSWER}]},
        None,
    ),
    "a verdict's name": ({"problem_id": "own/double", "response": ANSWER, "verdict": "WA"}, "wrong_answer"),
}


@pytest.fixture
def store(tmp_path):
    (tmp_path / "problems.jsonl").write_text(json.dumps(PROBLEM))
    store = Store(tmp_path / "store")
    ingest(store, "plain", str(tmp_path / "problems.jsonl"))
    return store


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", ROWS)
def test_common_columns_are_guessed(store, tmp_path, name):
    row, claimed = ROWS[name]
    (batch,) = ingest(store, "samples", write(tmp_path / "mine" / "s.jsonl", row))
    assert (batch.accepted, batch.quarantined) == (1, 0), batch.reasons
    (actual,) = store.read("trajectories").to_dicts()
    assert (actual["problem_id"], actual["program"], actual["policy_id"]) == ("own/double", PROGRAM, "mine")
    assert actual["claimed_verdict"] == claimed


def test_guesses_and_unused_rewards_are_reported(store, tmp_path):
    row = {"prompt": STATEMENT, "response": ANSWER, "score": 1, "format_reward": 0.5}
    (batch,) = ingest(store, "samples", write(tmp_path / "s.jsonl", row, row))
    assert batch.notes == {
        "guessed: completion = response": 2,
        "guessed: reward = score": 2,
        "not used: format_reward, named like a reward": 2,
    }


def test_a_mapping_names_keys_also_nested_ones(store, tmp_path):
    row = {"task": {"name": "own/double"}, "raw": {"text": [ANSWER]}, "ok": "true", "response": "not this"}
    mapping = {"completion": "raw.text.0", "problem_id": "task.name", "reward": "ok"}
    ingest(store, "samples", write(tmp_path / "s.jsonl", row), mapping=mapping)
    (actual,) = store.read("trajectories").to_dicts()
    assert (actual["program"], actual["claimed_verdict"]) == (PROGRAM, "accepted")


def test_a_mapping_in_toml(store, tmp_path):
    (tmp_path / "map.toml").write_text('completion = "x"\nproblem_id = "y"\n')
    source = write(tmp_path / "s.jsonl", {"x": ANSWER, "y": "own/double"})
    (batch,) = ingest(store, "samples", source, mapping={str(tmp_path / "map.toml"): ""})
    assert (batch.accepted, batch.notes) == (1, {})


def test_an_unknown_fact_is_refused_with_those_there_are(store, tmp_path):
    source = write(tmp_path / "s.jsonl", {"response": ANSWER})
    with pytest.raises(SourceError, match=r"--map answer: no such fact; there are: completion, messages"):
        ingest(store, "samples", source, mapping={"answer": "response"})
    with pytest.raises(SourceError, match="--map is for the adapter samples, not for verl"):
        ingest(store, "verl", source, mapping={"completion": "response"})


def test_several_samples_of_a_row(store, tmp_path):
    row = {
        "problem_id": "own/double",
        "responses": [ANSWER, "", "```python\nprint(1)\n```"],
        "passed": [True, False, False],
    }
    ingest(store, "samples", write(tmp_path / "s.jsonl", row))
    rows = store.read("trajectories").sort("sample_index")
    assert rows["sample_index"].to_list() == [0, 1, 2]
    assert rows["claimed_verdict"].to_list() == ["accepted", "rejected", "rejected"]
    assert rows["program"].to_list() == [PROGRAM, "", "print(1)\n"]


def test_csv_tsv_and_parquet(store, tmp_path):
    rows = [{"problem_id": "own/double", "response": ANSWER, "reward": "1.0"}]
    for name, dialect in (("s.csv", "excel"), ("s.tsv", "excel-tab")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], dialect=dialect)
            writer.writeheader()
            writer.writerows(rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "t.parquet")
    for name in ("s.csv", "s.tsv", "t.parquet"):
        (batch,) = ingest(store, "samples", str(tmp_path / name))
        assert (batch.accepted, batch.quarantined) == (1, 0), batch.reasons
    assert store.read("trajectories")["program"].to_list() == [PROGRAM] * 3


def test_several_texts_in_one_output_are_not_reduced_to_the_last(store, tmp_path):
    row = {"problem_id": "own/double", "output": {"text": [ANSWER, "Other."]}}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    (batch,) = ingest(store, "samples", str(tmp_path / "s.jsonl"))
    assert (batch.accepted, batch.quarantined) == (0, 1)
    assert "--map completion=KEY.text" in store.read("quarantine")["reason"][0]
    (batch,) = ingest(store, "samples", str(tmp_path / "s.jsonl"), mapping={"completion": "output.text"})
    assert batch.accepted == 2


def test_the_solution_of_a_data_set_is_not_the_program_of_an_answer(store, tmp_path):
    row = {"problem_id": "own/double", "response": ANSWER, "solution": "print(0)"}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    ingest(store, "samples", str(tmp_path / "s.jsonl"))
    assert store.read("trajectories")["program"].to_list() == [PROGRAM]


def test_a_reward_that_is_one_named_number_is_a_claim(store, tmp_path):
    row = {"problem_id": "own/double", "response": ANSWER, "scores": {"pass@1": 1.0}}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    ingest(store, "samples", str(tmp_path / "s.jsonl"))
    assert store.read("trajectories")["claimed_verdict"].to_list() == ["accepted"]


def test_a_row_of_csv_with_too_many_fields_is_refused(store, tmp_path):
    (tmp_path / "s.csv").write_text("problem_id,response\nown/double,x,y\n")
    (batch,) = ingest(store, "samples", str(tmp_path / "s.csv"))
    assert batch.reasons == {"more fields than the header": 1}


CALL = {"function": {"name": "f", "arguments": "{}"}}
SILENT = {
    "null": {"content": None},
    "empty": {"content": " \n"},
    "cut while reasoning": {"content": None, "reasoning_content": ANSWER},
    "a tool call without code": {"content": "", "tool_calls": [CALL]},
}


@pytest.mark.parametrize("name", SILENT)
def test_an_answer_without_a_program_is_a_trajectory(store, tmp_path, name):
    message = {"role": "assistant"} | SILENT[name]
    ingest(store, "samples", write(tmp_path / "s.jsonl", {"messages": [CHAT[0], message]}))
    assert store.read("trajectories")["program"].to_list() == [""]


def test_a_tool_call_with_code_is_a_program(store, tmp_path):
    call = {"function": {"name": "submit", "arguments": json.dumps({"code": PROGRAM})}}
    row = {"messages": [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}
    ingest(store, "samples", write(tmp_path / "s.jsonl", row))
    rows = store.read("trajectories")
    assert rows.select("program", "extraction").row(0) == (PROGRAM, "call")


def test_the_length_of_the_reasoning_is_recorded(store, tmp_path):
    message = {"role": "assistant", "content": ANSWER, "reasoning_content": "abc"}
    ingest(store, "samples", write(tmp_path / "s.jsonl", {"messages": [CHAT[0], message]}))
    (actual,) = store.read("trajectories").to_dicts()
    assert actual["completion"] == f"<think>\nabc\n</think>\n\n{ANSWER}"
    assert actual["reasoning_length"] == len("<think>\nabc\n</think>")


def test_logs_of_inspect_ai(store, tmp_path):
    sample = {
        "id": "own/double", "epoch": 2, "input": STATEMENT, "scores": {"verify": {"value": "C"}},
        "output": {"choices": [{"message": CHAT[1], "stop_reason": "stop"}]},
    }  # fmt: skip
    log = {
        "version": 2,
        "eval": {"model": "openai/m", "task_id": "t"},
        "samples": [sample, sample | {"epoch": 1}],
    }
    (tmp_path / "log.json").write_text(json.dumps(log, indent=2))
    ingest(store, "inspect_ai", str(tmp_path / "log.json"))
    rows = store.read("trajectories").sort("sample_index")
    assert rows["source_key"].to_list() == ["t#own/double#1", "t#own/double#2"]
    assert set(rows["claimed_verdict"]) == {"accepted"} and set(rows["policy_id"]) == {"openai/m"}


def truth(**keys):
    return {
        "data_source": "taco", "prompt": [{"role": "user", "content": STATEMENT}], "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": json.dumps(keys)}, "extra_info": {"split": "train"},
    }  # fmt: skip


def test_training_sets_of_verl_are_problems_with_tests(store, tmp_path):
    rows = [
        truth(inputs=["3\n"], outputs=["6\n"]),
        truth(inputs=[[3]], outputs=[6], fn_name="double") | {"prompt": "Write double(n)."},
        truth(inputs=["1"], outputs=["1"]) | {"ability": "math"},
    ]
    (batch,) = ingest(store, "rl_problems", write(tmp_path / "train.jsonl", *rows))
    assert batch.reasons == {"ability: not a problem of programming": 1}
    with connect(store) as connection:
        actual = query(
            connection,
            "select p.input_mode, t.mode, t.input, t.expected_output, p.split from problems p"
            " join tests t using (problem_id) where p.source = 'taco' order by p.input_mode desc",
        )
    assert actual.select("input_mode", "mode", "split").rows() == [
        ("stdin", "stdin", "train"),
        ("function", "call", "train"),
    ]
    assert actual.row(0)[2:4] == ("3\n", "6\n")


RECOGNISED = {
    "verl": {"input": STATEMENT, "output": ANSWER, "score": 1.0, "step": 3, "gts": None},
    "openrlhf": {"input": STATEMENT, "output": ANSWER},
    "samples": {"prompt": STATEMENT, "response": ANSWER},
    "prime_rl": {"prompt": CHAT[:1], "completion": CHAT[1:], "reward": 1.0, "example_id": 0},
    "anthropic_batch": {
        "custom_id": "own/double",
        "result": {
            "type": "succeeded",
            "message": {"model": "m", "content": [{"type": "text", "text": ANSWER}]},
        },
    },
    "rl_problems": truth(inputs=["3\n"], outputs=["6\n"]),
    "plain": PROBLEM,
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_the_adapter_of_a_source_is_recognised(tmp_path, name):
    assert recognise(write(tmp_path / "source" / "3.jsonl", RECOGNISED[name]))[0].adapter == name


def test_files_that_another_adapter_reads_are_named(tmp_path):
    """A folder of problems and of results: the adapter that is not taken is named with its files."""
    write(tmp_path / "source" / "problems" / "p.jsonl", PROBLEM)
    graded = {"question_id": "double", "output_list": [ANSWER], "code_list": ["print(1)"]}
    graded |= {"graded_list": [True]}
    results = tmp_path / "source" / "output" / "m" / "Scenario.codegeneration_1_0.2_eval_all.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps([graded]))
    recognitions = recognise(str(tmp_path / "source"))
    assert (recognitions[0].adapter, left_to(recognitions)) == ("plain", {"livecodebench_results": 1})


def test_a_source_is_hashed_once_for_all_adapters(tmp_path, monkeypatch):
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *file: hashed.append(file) or digest(*file))
    recognise(write(tmp_path / "source" / "3.jsonl", PROBLEM))
    assert len(hashed) == 1


def test_a_source_that_no_adapter_recognises(tmp_path):
    with pytest.raises(SourceError, match=r"no adapter recognises .*spo ingest samples"):
        recognise(write(tmp_path / "x.jsonl", {"a": 1}))
    with pytest.raises(SourceError, match="needs an adapter: spo ingest ADAPTER owner/name"):
        recognise("owner/name")
