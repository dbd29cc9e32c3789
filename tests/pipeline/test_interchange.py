"""Formats of other tools that are written and read: what is written is read back as the same trajectories."""

import importlib.util
import json
import random
import shutil
import sqlite3
from contextlib import closing

import polars as pl
import pytest
from tokenizers import ByteLevelBPETokenizer

from pipeline.adapters import SourceError
from pipeline.adapters.recognition import recognise
from pipeline.corpora import INTERCHANGE, CorpusError, Spec, export_as, publish
from pipeline.corpora.capture_export import SCHEMA
from pipeline.ingest import ingest
from pipeline.store.store import Store

# What a reading store fills in itself.
LINEAGE = ["created_at", "batch_id", "source_file", "source_line"]


@pytest.fixture
def store(tmp_path, rows):
    """Rows with and without prompt, completion, tokens, claim; one without a program."""
    store = Store(tmp_path / "store")
    trajectories = [
        rows.trajectory("0" * 31 + "1", program="print(1)\n", language="cpp"),
        rows.trajectory(
            "0" * 31 + "2", origin="online", policy_id="run@3", run_id="run", policy_step=3, sample_index=2,
            temperature=1.0, top_p=1.0, prompt="Do \u00e9.", completion="```\nprint(2)\n```", token_ids=[1,
            2], behaviour_logprob=-1.25, token_logprobs=[-1.0, -0.25], finish_reason="stop",
            claimed_verdict="partial", claimed_basis="x",
        ),
        rows.trajectory("0" * 31 + "3", origin="other_policy", policy_id="m", program="", completion=""),
    ]  # fmt: skip
    names = [row["trajectory_id"] for row in trajectories]
    for table, values in (
        ("problems", [rows.problem("src/a")]),
        ("trajectories", trajectories),
        ("verdicts", [rows.verdict(name, "wrong_answer") for name in names]),
    ):
        store.append(table, rows.frame(table, values), producer="test", sequence=1)
    return store


@pytest.mark.parametrize("form", ["atif", "nemo_gym", "tinker_capture", "rollout_store"])
def test_a_round_trip_loses_lineage_only(store, tmp_path, form):
    if form == "rollout_store":
        pytest.importorskip("lance_context", reason="not in the lock; pip install lance-context==0.6.7")
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    folder = export_as(store, corpus, tmp_path / form, form)
    other = Store(tmp_path / "other")
    other.append("problems", store.read("problems"), producer="copy", sequence=1)
    (batch,) = ingest(other, form, str(folder))
    assert (batch.accepted, batch.quarantined) == (3, 0), batch.reasons
    # The ids of the fixture are made up; those that are read are hashes of the same columns.
    before = store.read("trajectories").drop(*LINEAGE, "trajectory_id").sort("source_key")
    after = other.read("trajectories").drop(*LINEAGE, "trajectory_id").sort("source_key")
    assert after.select(before.columns).equals(before)


def test_every_format_is_tried():
    assert set(INTERCHANGE) == {"atif", "nemo_gym", "tinker_capture", "rollout_store"}


def test_a_format_whose_package_is_missing_says_how_to_get_it(store, tmp_path):
    if importlib.util.find_spec("lance_context") is not None:
        pytest.skip("lance-context is here")
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    with pytest.raises(CorpusError, match="pip install lance-context"):
        export_as(store, corpus, tmp_path / "out", "rollout_store")
    (tmp_path / "r.lance").mkdir()
    with pytest.raises(SourceError, match="pip install lance-context"):
        ingest(store, "rollout_store", str(tmp_path))


def test_a_rollout_of_nemo_gym_has_the_fields_of_the_format(store, tmp_path):
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    text = (export_as(store, corpus, tmp_path / "n", "nemo_gym") / "rollouts.jsonl").read_text()
    first, second, third = (json.loads(line) for line in text.splitlines())
    assert second["responses_create_params"]["input"][0]["content"] == "Do \u00e9."
    message = second["response"]["output"][0]
    assert message["content"][0]["text"] == "```\nprint(2)\n```"
    assert (message["generation_token_ids"], message["generation_log_probs"]) == ([1, 2], [-1.0, -0.25])
    assert (first["reward"], third["extracted_model_code"]) == (-1.0, "")


def test_a_capture_has_tokens_and_reward(store, tmp_path):
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    path = export_as(store, corpus, tmp_path / "c", "tinker_capture") / "capture.sqlite"
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            "SELECT run_id, iteration, sampled_tokens FROM wire_rows ORDER BY cursor"
        ).fetchall()
        rewards = database.execute("SELECT kind, payload FROM annotations").fetchall()
    assert rows == [("human", None, None), ("run", 3, "[1, 2]"), ("m", None, None)]
    assert [(kind, json.loads(payload)["reward"]) for kind, payload in rewards] == [("reward", -1.0)] * 3


def captured(path, rows, annotations=()):
    """A capture store as its daemon makes it: in write-ahead mode, closed without a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    live = path.with_name("live.sqlite")
    with closing(sqlite3.connect(live)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(SCHEMA)
        for number, row in enumerate(rows, start=1):
            names = ", ".join(["cursor", *row])
            marks = ", ".join("?" * (len(row) + 1))
            database.execute(f"INSERT INTO wire_rows ({names}) VALUES ({marks})", (number, *row.values()))
        for number, (run, payload) in enumerate(annotations, start=100):
            values = (number, f"e{number}", run, "score", json.dumps(payload), 1.0)
            database.execute("INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?)", values)
        database.commit()
        # What another process sees while the daemon runs: the newest rows are in the log only.
        for ending in ("", "-wal"):
            shutil.copy(f"{live}{ending}", f"{path}{ending}")
    live.unlink()
    return str(path.parent)


def test_a_running_capture_with_a_tokenizer(store, tmp_path):
    """Tokens become text, an annotation the claim; the write-ahead log is read, and no file changes."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([], vocab_size=300, special_tokens=["<eos>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    answers = ["```python\nprint(2)\n```<eos>", "I give up.<eos>"]
    rows = [
        {
            "run_id": "run-a", "iteration": 4, "traj_idx": number, "policy_version": "step-4",
            "sampling_session_id": "s", "seq_id": 1, "sample_idx": number,
            "prompt_tokens": json.dumps(tokenizer.encode("Print the sum.").ids),
            "sampled_tokens": json.dumps(tokenizer.encode(answer).ids),
            "logprobs": json.dumps([-0.5] * len(tokenizer.encode(answer).ids)),
            "metadata": json.dumps(
                {"scope": {"problem_id": "src/a"}, "sampling_params": {"temperature": 1.0}}
            ),
        }
        for number, answer in enumerate(answers)
    ]  # fmt: skip
    annotations = [
        ("run-a", {"traj_idx": 0, "iteration": 4, "reward": 1.0}),
        ("run-b", {"traj_idx": 1, "reward": 1}),
    ]
    folder = captured(tmp_path / "capture" / "capture.sqlite", rows, annotations)
    before = {path.name: path.read_bytes() for path in (tmp_path / "capture").iterdir()}
    assert "capture.sqlite-wal" in before

    (batch,) = ingest(store, "tinker_capture", folder)
    assert batch.quarantined == 2
    assert "--map tokenizer=" in store.read("quarantine")["reason"][0]
    (batch,) = ingest(
        store, "tinker_capture", folder, mapping={"tokenizer": str(tmp_path / "tokenizer.json")}
    )
    assert (batch.accepted, batch.reasons) == (2, {})
    first, second = (
        store.read("trajectories").filter(pl.col("run_id") == "run-a").sort("sample_index").to_dicts()
    )
    assert (first["program"], first["claimed_verdict"]) == ("print(2)\n", "accepted")
    assert (second["program"], second["claimed_verdict"]) == ("", None)
    assert (first["policy_id"], first["policy_step"], first["problem_id"]) == ("step-4", 4, "src/a")
    assert first["behaviour_logprob"] == pytest.approx(-0.5 * len(first["token_ids"]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "capture").iterdir()} == before


def test_a_file_that_is_no_capture_is_refused(store, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "capture.sqlite").write_bytes(b"no database" * 100)
    (batch,) = ingest(store, "tinker_capture", str(tmp_path / "x"))
    assert batch.quarantined == 1
    with closing(sqlite3.connect(tmp_path / "x" / "other.sqlite")) as database:
        database.execute("CREATE VIEW wire_rows AS SELECT 1 AS cursor")
        database.commit()
    batches = ingest(store, "tinker_capture", str(tmp_path / "x" / "other.sqlite"))
    assert batches[0].quarantined == 1
    assert "no tables wire_rows and annotations" in " ".join(store.read("quarantine")["reason"])


def test_a_capture_with_changed_bytes_is_read_or_refused(store, tmp_path):
    rows = [{"run_id": "r", "metadata": json.dumps({"completion": "```\nprint(1)\n```"})}] * 20
    folder = captured(tmp_path / "capture" / "capture.sqlite", rows)
    path, generator = tmp_path / "capture" / "capture.sqlite", random.Random(1)
    for ending in ("-wal", ""):
        whole = path.with_name(path.name + ending).read_bytes()
        for _ in range(12):
            changed = bytearray(whole)
            for _ in range(generator.choice((1, 20))):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            path.with_name(path.name + ending).write_bytes(
                changed[: generator.choice((None, len(changed) // 2))]
            )
            for batch in ingest(store, "tinker_capture", folder):
                assert batch.read == batch.accepted + batch.present + batch.quarantined
                assert not any("in adapter" in reason for reason in batch.reasons), batch.reasons
        path.with_name(path.name + ending).write_bytes(whole)


def test_rollouts_that_nemo_gym_collected(store, tmp_path):
    """The verified program, reasoning, a call without code, tokens, and a failure of the machinery."""
    asked = {"input": [{"role": "user", "content": "Print the sum.", "type": "message"}], "temperature": 1.0}

    def rollout(name, output, **keys):
        response = {"id": name, "model": "m", "output": output, "object": "response"}
        return {"responses_create_params": asked, "response": response, "task_id": "src/a"} | keys

    def message(text, **keys):
        return {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text}],
        } | keys

    trained = {"prompt_token_ids": [1], "generation_token_ids": [5, 6], "generation_log_probs": [-0.5, -1.0]}
    rows = [
        rollout("a", [message("x = 1", **trained)], reward=1.0, extracted_model_code="print(7)"),
        rollout(
            "b",
            [{"type": "reasoning", "summary": [{"text": "Hm."}]}, message("```python\nprint(8)\n```")],
            reward=0.0,
        ),
        rollout("c", [{"type": "function_call", "name": "search", "arguments": "{}"}], reward=0.0),
        rollout("d", [], reward=None) | {"_ng_failure_class": "timeout"},
    ]  # fmt: skip
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert recognise(str(tmp_path / "g"))[0].adapter == "nemo_gym"
    (batch,) = ingest(store, "nemo_gym", str(tmp_path / "g"))
    assert batch.reasons == {"_ng_failure_class: the rollout failed": 1}
    new = (
        store.read("trajectories")
        .filter(pl.col("source_key").is_in(["a", "b", "c"]))
        .sort("source_key")
        .to_dicts()
    )
    assert [(row["program"], row["claimed_verdict"]) for row in new] == [
        ("print(7)", "accepted"), ("print(8)\n", "rejected"), ("", "rejected"),
    ]  # fmt: skip
    assert (new[0]["token_ids"], new[0]["behaviour_logprob"]) == ([5, 6], -1.5)
    assert new[1]["completion"].startswith("<think>\nHm.")


def test_documents_have_the_fields_of_the_format(store, tmp_path):
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    text = (export_as(store, corpus, tmp_path / "atif", "atif") / "trajectories.jsonl").read_text()
    documents = [json.loads(line) for line in text.splitlines()]
    assert {one["schema_version"] for one in documents} == {"ATIF-v1.8"}
    second = documents[1]
    assert [step["source"] for step in second["steps"]] == ["user", "agent"]
    assert [step["step_id"] for step in second["steps"]] == [1, 2]
    assert second["steps"][1]["metrics"]["completion_token_ids"] == [1, 2]
    assert second["steps"][1]["metrics"]["logprobs"] == [-1.0, -0.25]
    assert documents[0]["steps"][0]["message"] == "Print the sum."


def test_a_folder_that_is_not_empty_is_not_written(store, tmp_path):
    corpus = publish(store, Spec("all", "SELECT trajectory_id FROM trajectories"))
    (tmp_path / "atif").mkdir()
    (tmp_path / "atif" / "x").write_text("")
    with pytest.raises(CorpusError, match="not an empty folder"):
        export_as(store, corpus, tmp_path / "atif", "atif")


def test_a_document_of_another_program(store, tmp_path):
    document = {
        "schema_version": "ATIF-v1.8",
        "trajectory_id": "t",
        "agent": {"name": "a", "version": "1"},
        "steps": [
            {"step_id": 1, "source": "user", "message": "Print."},
            {
                "step_id": 2,
                "source": "agent",
                "message": "",
                "reasoning_content": "Hm.",
                "tool_calls": [
                    {"tool_call_id": "c", "function_name": "submit", "arguments": {"code": "print(3)"}}
                ],
            },
        ],
        "extra": {"task_id": "src/a", "reward": 1.0},
    }
    (tmp_path / "t.json").write_text(json.dumps(document, indent=1))
    ingest(store, "atif", str(tmp_path / "t.json"))
    row = store.read("trajectories").filter(pl.col("source_key") == "t").to_dicts()[0]
    assert (row["program"], row["claimed_verdict"], row["policy_id"]) == ("print(3)", "accepted", "a")
