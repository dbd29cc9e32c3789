"""Adapters of samples that other programs wrote, on files built here in the exact schema of the version each
adapter names; problems are real statements of the contest bundle or the starter set's.
"""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.adapters import ReadTrajectory, Refused, SourceError, SourceFile, find
from pipeline.ingest.admission import UNKNOWN_STATEMENT
from pipeline.ingest.ingestion import ingest
from pipeline.ingest.statement_index import StatementIndex
from pipeline.ingest.validation import validate
from pipeline.store.store import Store

STARTER = Path(__file__).parents[2] / "data" / "starter" / "problems.jsonl.gz"
ANSWER = "<think>Add.</think>\n```python\nprint(sum(map(int, input().split())))\n```"
PROGRAM = "print(sum(map(int, input().split())))\n"


@pytest.fixture(scope="module")
def problems():
    with gzip.open(STARTER, "rt") as rows:
        return [json.loads(next(rows)) for _ in range(4)]


def asked(problem):
    """A prompt as a chat template leaves it: the statement with other spaces and marks around its words."""
    statement = problem["statement"].replace(". ", ".  ")
    return (
        f"<|im_start|>user\nSolve **this**:\n\n{statement}\n\nUse Python.<|im_end|>\n<|im_start|>assistant\n"
    )


def read(adapter, source, limit=None):
    """(trajectories, refused); what was translated keeps the contract, but for a problem that admission
    has to find.
    """
    actual = find(adapter)
    items = [item for file in actual.files(str(source), limit) for item in actual.read(file)]
    for item in items:
        if isinstance(item, ReadTrajectory) and item.row["problem_id"] is None:
            assert item.prompt_text
            item.row["problem_id"] = "found/later"
    faults, _ = validate(items)
    assert all(isinstance(items[number], Refused) for number in faults), faults
    return [item for item in items if isinstance(item, ReadTrajectory)], [
        item for item in items if isinstance(item, Refused)
    ]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def columns(item, *names):
    return [item.row[name] for name in names]


def test_trl_completions_as_pandas_writes_them(tmp_path, problems):
    prompts = [asked(problem) for problem in problems[:2]]
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
    table = {
        "step": [5] * 2,
        "prompt": conversations,
        "completion": [[{"role": "assistant", "content": ANSWER}]] * 2,
        "tests_passed": [1.0, float("nan")],
        "solution": ["a", "b"],
        "advantage": [0.5, -0.5],
    }
    folder = tmp_path / "grpo-run" / "completions"
    folder.mkdir(parents=True)
    pd.DataFrame(table).to_parquet(folder / "completions_00005.parquet")
    # Texts instead of messages, and a second number, which is not named like a reward.
    two = {**table, "prompt": prompts, "completion": [ANSWER] * 2, "style": [0.1, 0.2], "step": [6] * 2}
    pd.DataFrame(two).to_parquet(folder / "completions_00006.parquet")
    trajectories, refused = read("trl", tmp_path / "grpo-run")
    assert not refused and len(trajectories) == 4
    names = ("origin", "policy_id", "run_id", "policy_step", "claimed_verdict", "program", "extraction")
    assert columns(trajectories[0], *names) == [
        "earlier_run",
        "grpo-run",
        "grpo-run",
        5,
        "accepted",
        PROGRAM,
        "fence",
    ]
    assert [one.row["claimed_verdict"] for one in trajectories] == ["accepted", None, "accepted", None]
    assert (
        json.loads(trajectories[0].row["prompt"]) == conversations[0]
        and trajectories[2].row["prompt"] == prompts[0]
    )
    assert trajectories[0].prompt_text == prompts[0]


def verl_row(prompt, **keys):
    return {"input": prompt, "output": ANSWER, "gts": "", "score": 1.0, "step": 12} | keys


def test_verl_dumps(tmp_path, problems):
    prompt = asked(problems[0])
    rows = [
        verl_row(prompt, acc=True),
        verl_row(prompt, score=0.25),
        verl_row(prompt, score=-1.0, problem_id="starter/x"),
        verl_row(prompt, score="good"),
        verl_row(prompt, step="12"),
        {"input": prompt},
    ]
    trajectories, refused = read(
        "verl", lines(tmp_path / "run-a" / "rollouts" / "12.jsonl", rows).parent.parent
    )
    # A score that cannot be read claims nothing; the sample counts all the same.
    claims = ["accepted", "partial", "rejected", None, "accepted"]
    assert [one.row["claimed_verdict"] for one in trajectories] == claims
    assert columns(trajectories[2], "problem_id", "run_id", "policy_step", "source_key") == [
        "starter/x",
        "run-a",
        12,
        "12#3",
    ]
    assert trajectories[0].row["claimed_basis"] == "verl reward function: acc = True, score = 1.0"
    assert [one.reason for one in refused] == [
        "key is missing",
    ]


def trace(prompt, answer=ANSWER, **keys):
    node = {
        "parent": 1,
        "sampled": True,
        "token_ids": [9, 1, 2, 3],
        "mask": [False, True, True, True],
        "logprobs": [-1.0, -0.5, -0.25],
    }
    return {
        "version": 1,
        "id": "f00",
        "task": {"type": "Code", "data": {"idx": 3, "id": "starter/x", "prompt": prompt}, "key": "k"},
        "agent": {"config": {}},
        "nodes": [
            {"parent": None, "message": {"role": "system", "content": "Be brief."}, "sampled": False},
            {"parent": 0, "message": {"role": "user", "content": prompt}, "sampled": False},
            {**node, "message": {"role": "assistant", "content": answer}},
        ],
        "calls": [
            {
                "node": 2,
                "model": "qwen",
                "sampling": {"temperature": 1.0, "top_p": 0.9},
                "finish_reason": "length",
            }
        ],
        "rewards": {"tests": {"score": 1.0, "weight": 1.0}, "style": None},
        "info": {},
        "errors": [],
        "ok": True,
    } | keys


def test_prime_rl_traces_and_the_older_rows(tmp_path, problems):
    prompt = asked(problems[0])
    failed = trace(
        prompt, nodes=trace(prompt)["nodes"][:2], errors=[{"type": "ProviderError", "message": "m"}]
    )
    cold = trace(
        prompt, calls=[{"node": 2, "sampling": {"temperature": 0.6}, "finish_reason": "stop"}], rewards={}
    )
    older = {
        "example_id": 3,
        "task": "code",
        "prompt": [{"role": "user", "content": prompt}],
        "reward": 0.0,
        "is_truncated": True,
        "completion": [
            {"role": "assistant", "content": "first"},
            {"role": "tool", "content": "r"},
            {"role": "assistant", "content": ANSWER},
        ],
        "info": {"problem_id": "starter/y"},
        "metrics": {},
    }
    unanswered = older | {"completion": [{"role": "tool", "content": "r"}]}
    path = tmp_path / "mine" / "rollouts" / "step_17" / "train_rollouts.jsonl"
    trajectories, refused = read(
        "prime_rl", lines(path, [trace(prompt), cold, failed, older, unanswered]).parents[2]
    )
    first, second, third, silent = trajectories
    assert columns(
        first,
        "problem_id",
        "policy_step",
        "run_id",
        "temperature",
        "top_p",
        "finish_reason",
        "claimed_verdict",
    ) == [
        "starter/x",
        17,
        "mine",
        1.0,
        0.9,
        "length",
        "accepted",
    ]
    assert columns(first, "token_ids", "behaviour_logprob") == [[1, 2, 3], -1.75]
    assert [message["role"] for message in json.loads(first.row["prompt"])] == ["system", "user"]
    # Logged log-probabilities are those of the temperature sampled at; only at 1 are they the column's.
    assert columns(second, "token_ids", "behaviour_logprob", "claimed_verdict") == [[1, 2, 3], None, None]
    assert columns(third, "problem_id", "completion", "finish_reason", "claimed_verdict") == [
        "starter/y",
        ANSWER,
        "length",
        "rejected",
    ]
    assert columns(silent, "completion", "program", "extraction") == ["", "", "none"]
    assert [one.reason for one in refused] == ["the model gave no answer: ProviderError"]


def test_openrlhf_outputs(tmp_path, problems):
    rows = [
        {"input": asked(problems[0]), "output": ANSWER},
        {"input": asked(problems[0]), "output": ANSWER, "reward": 3.5},
    ]
    trajectories, refused = read(
        "openrlhf", lines(tmp_path / "sampled" / "out.jsonl", [*rows, {"input": 3, "output": "x"}])
    )
    assert columns(trajectories[0], "policy_id", "program") == ["sampled", PROGRAM] and len(refused) == 1
    assert columns(trajectories[1], "claimed_basis")[0] == "OpenRLHF reward model: 3.5"
    assert trajectories[1].row.get("claimed_verdict") is None


def test_trinity_experiences(tmp_path, problems):
    single = {
        "eid": {"batch": 4, "task": 2, "run": 1, "step": 0, "suffix": "abc123"},
        "type": "single_turn",
        "prompt_length": 5,
        "response_length": 7,
        "info": {"model_version": 3},
        "metrics": {},
        "prompt_text": asked(problems[0]),
        "response_text": ANSWER,
        "reward": 1.0,
        "truncate_status": "response_truncated",
    }
    turns = [{"role": "user", "content": asked(problems[1])}, {"role": "assistant", "content": ANSWER}]
    multi = {
        key: value
        for key, value in single.items()
        if key not in ("prompt_text", "response_text", "truncate_status")
    }
    multi |= {"type": "multi_turn", "messages": turns, "reward": 0.0}
    rows = [single, multi, single | {"type": "dpo"}]
    trajectories, refused = read("trinity", lines(tmp_path / "exp" / "explorer_output.json", rows))
    assert columns(
        trajectories[0], "source_key", "sample_index", "policy_step", "finish_reason", "claimed_verdict"
    ) == [
        "4/2/1/0/abc123",
        1,
        3,
        "length",
        "accepted",
    ]
    assert (
        json.loads(trajectories[1].row["prompt"]) == turns[:1] and trajectories[1].row["completion"] == ANSWER
    )
    assert [one.field for one in refused] == ["type"]


def request(custom_id, prompt, **body):
    body = {
        "model": "qwen",
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 1.0,
        "n": 2,
        "top_p": 0.95,
    } | body
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def response(custom_id, *choices, status=200, error=None):
    body = {"id": "c", "object": "chat.completion", "model": "qwen", "choices": list(choices), "usage": {}}
    answer = {
        "status_code": status,
        "request_id": "r",
        "body": body if status == 200 else {"error": {"message": "too long"}},
    }
    return {"id": f"vllm-{custom_id}", "custom_id": custom_id, "response": answer, "error": error}


def choice(index, text=ANSWER, **keys):
    message = {"role": "assistant", "content": text}
    return {"index": index, "message": message, "finish_reason": "stop", "logprobs": None} | keys


def test_batch_outputs_with_their_requests(tmp_path, problems):
    prompt = asked(problems[0])
    reported = request("starter/x#5", prompt, metadata={"problem_id": "starter/y"})
    lines(
        tmp_path / "in.jsonl",
        [
            request("r-1", prompt),
            reported,
            request("starter/x#4", prompt, temperature=0.5),
            request("r-4", prompt),
        ],
    )
    tokens = {
        "token_ids": [5, 6],
        "logprobs": {"content": [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0}]},
    }
    completed = {"index": 0, "text": ANSWER, "finish_reason": "length"}
    rows = [
        response("starter/x#4", choice(0, **tokens)),
        response("r-1", choice(0, **tokens), choice(1)),
        response("starter/x#5", choice(0)),
        response("r-4", status=400),
        response("r-9", completed),
        {"id": "b", "custom_id": "r", "response": None, "error": {"code": "e"}},
    ]
    lines(tmp_path / "out.jsonl", rows)
    trajectories, refused = read("openai_batch", tmp_path)
    names = ("problem_id", "source_key", "sample_index", "temperature", "behaviour_logprob", "finish_reason")
    assert [[one.row.get(name) for name in names] for one in trajectories] == [
        ["starter/x", "starter/x#4#0", 0, 0.5, None, "stop"],
        ["found/later", "r-1#0", 0, 1.0, -3.0, "stop"],
        ["found/later", "r-1#1", 1, 1.0, None, "stop"],
        ["starter/y", "starter/x#5#0", 0, 1.0, None, "stop"],
    ]
    assert {(one.row["policy_id"], one.row["origin"], one.prompt_text) for one in trajectories} == {
        ("qwen", "other_policy", prompt)
    }
    assert [(one.line, one.reason.partition(":")[0]) for one in refused] == [
        (4, "the request failed"),
        (5, "not the documented shape"),
        (6, "the request failed"),
    ]
    again = find("openai_batch").reread(trajectories[0].raw(), 1, SourceFile("", "b/out.jsonl", "", 0))
    assert [one.row for one in again] == [trajectories[0].row]
    with pytest.raises(SourceError, match="its files have only requests"):
        find("openai_batch").files(str(tmp_path / "in.jsonl"), None)


def test_a_bounded_sample_of_rollouts_takes_whole_prompts(tmp_path):
    rows = [verl_row(f"prompt {n % 20} of some words", step=n % 3) for n in range(300)]
    trajectories, _ = read("verl", lines(tmp_path / "1.jsonl", rows), limit=3)
    assert len({one.prompt_text for one in trajectories}) == 3 and len(trajectories) == 3 * 15


def test_statements_are_found_in_prompts():
    index = StatementIndex(
        [
            ("b/1", "Print the sum of two numbers."),
            ("a/1", "Print the *sum* of two numbers"),
            ("c/1", "Print it"),
            ("d/1", "Print the sum of two numbers. Then print their product as well."),
            ("e/1", "def f(a, b):\n    ..."),
        ]
    )
    assert index.find("Task: print the SUM of two\nnumbers. Answer!") == "a/1"
    assert index.find("Print the sum of two numbers.  Then print their product, as well; good luck") == "d/1"
    assert (
        index.find("print the sum of two words") is None
        and index.find("Print it") is None
        and index.find("") is None
    )
    assert index.find("Complete:\ndef f(a, b):\n    ...") == "e/1"


def test_rollouts_find_their_problems_in_the_store(tmp_path, problems):
    store = Store(tmp_path / "store")
    (read_problems,) = ingest(store, "plain", str(lines(tmp_path / "problems.jsonl", problems)))
    assert read_problems.accepted == 4
    rows = [verl_row(asked(problem), score=float(n)) for n, problem in enumerate(problems)] + [
        verl_row("What is the time, please, sir?")
    ]
    said = {"policy_id": "qwen3-8b", "temperature": "0.7"}
    (batch,) = ingest(store, "verl", str(lines(tmp_path / "run" / "1.jsonl", rows).parent), columns=said)
    assert (batch.read, batch.accepted, batch.quarantined) == (5, 4, 1)
    assert batch.reasons == {f"problem_id: {UNKNOWN_STATEMENT}": 1}
    held = store.read("trajectories").sort("source_line")
    assert held["problem_id"].to_list() == [problem["problem_id"] for problem in problems]
    assert (
        set(held["policy_id"]) == {"qwen3-8b"}
        and set(held["temperature"]) == {0.7}
        and set(held["run_id"]) == {"run"}
    )
    # Said otherwise it is another batch.
    (other,) = ingest(store, "verl", str(tmp_path / "run"))
    assert not other.was_finished and other.accepted == 4
    for wrong in ({"program": "x"}, {"temperature": "warm"}):
        with pytest.raises(SourceError, match=r"temperature|cannot be said"):
            ingest(store, "verl", str(tmp_path / "run"), columns=wrong)


def test_annotations_of_a_run_of_prime_rl_are_merged_into_its_traces(tmp_path, problems):
    """A run folder as its file monitor writes it: a sealed and a live chunk, indices, metrics, annotations of
    two producers, of which the newest update counts."""
    traces = tmp_path / "runs" / "mine" / "monitors" / "file" / "traces"
    prompt = asked(problems[0])
    episodes = [
        {
            "id": f"e{n}",
            "run": {"work": {"step": 4}},
            "traces": [trace(prompt, id=f"t{n}", info={"kind": "train"})],
        }
        for n in range(3)
    ]
    (traces / "stream").mkdir(parents=True)
    sealed = "".join(json.dumps(one) + "\n" for one in episodes[:2]).encode()
    (traces / "stream" / "00000.jsonl.zst").write_bytes(pa.compress(sealed, codec="zstd", asbytes=True))
    lines(traces / "stream" / "00001.jsonl", episodes[2:])
    lines(traces / "stream.index.jsonl", [{"line": 1, "chunk": 0, "offset": 0}])
    lines(traces.parent / "metrics.jsonl", [{"step": 1, "time": 0.0, "loss": 0.5}])

    def update(name, **info):
        branches = [{"index": 0, "advantages": [None, 0.5]}]
        return {"version": 1, "trace_id": name, "info": info, "branches": branches}

    ship = {"step": 5, "time": 1.0}
    (traces / "annotations" / "orch").mkdir(parents=True)
    first = [update("t0", effective=True, ship=ship, problem_id="starter/a"), update("t2", effective=False)]
    lines(traces / "annotations" / "orch" / "00000.jsonl", first)
    lines(traces / "annotations" / "orch" / "00001.jsonl", [update("t0", problem_id="starter/b")])
    lines(traces / "annotations" / "orch.index.jsonl", [{"trace_id": "t0", "chunk": 0, "offset": 0}])
    lines(traces / "annotations" / "train.jsonl", [update("t1")])

    files = find("prime_rl").files(str(tmp_path / "runs" / "mine"), None)
    assert [file.name.rpartition("/")[2] for file in files] == ["00000.jsonl.zst", "00001.jsonl"]
    assert files[0].skipped == {"files of indices": 2, "files of metrics": 1, "files of annotations": 3}
    items = [item for file in files for item in find("prime_rl").read(file)]
    assert {item.row["run_id"] for item in items} == {"mine"}
    assert [item.row["policy_step"] for item in items] == [4, 4, 4]
    assert sum(files[0].notes.values()) == 4
    # A refused row keeps what was merged into it.
    merged = [json.loads(item.raw())["info"] for item in items]
    assert merged == [
        {"kind": "train", "effective": True, "ship": ship, "problem_id": "starter/b"},
        {"kind": "train"},
        {"kind": "train", "effective": False},
    ]


def test_the_step_of_an_episode_is_the_version_of_its_policy(tmp_path, problems):
    works = [
        {"step": 9, "policy": {"start": 7, "end": 7}},
        {"step": 9, "policy": {"start": 7, "end": 8}},
        {"step": 9, "policy": None},
    ]
    prompt = asked(problems[0])
    rows = [
        {"id": f"e{n}", "run": {"work": work}, "traces": [trace(prompt, id=f"t{n}")]}
        for n, work in enumerate(works)
    ]
    (file,) = find("prime_rl").files(str(lines(tmp_path / "mine" / "traces.jsonl", rows)), None)
    assert [item.row["policy_step"] for item in find("prime_rl").read(file)] == [7, 7, 9]
    assert sum(file.notes.values()) == 1
