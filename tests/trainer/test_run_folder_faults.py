"""Faults in the folder of a run: damaged checkpoints, foreign files, garbage in logs, a full disk.

A run goes on from the newest whole checkpoint and ends with the weights of a run that met no fault, or stops
with one clear line.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
from contextlib import contextmanager
from threading import Thread

import polars as pl
import pytest
import torch

from pipeline.labelling.labeller import label
from pipeline.store import StoreError
from sandbox import Pool
from trainer.data import Source
from trainer.distributed import newest_whole
from trainer.policies.policy import PolicyUnreadable, load_policy
from trainer.policies.publishing import Publisher
from trainer.policies.reference import score
from trainer.run import DiskFull, RunBusy, change_weights, train
from trainer.run.exclusive import exclusive_run

SOURCES = [
    Source(name="human", where="j.origin = 'human'", weight=0.5),
    Source(name="samples", where="j.policy_id = 'reference'", weight=0.5),
]


class Killed(Exception):
    """Stands for a process that ends between two steps."""


def run(job, folder, **parts):
    return train(job.training(folder, SOURCES, **parts))


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def undisturbed(made_job, tmp_path_factory):
    """The weights and the log of a run of six steps that met no fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return weights(run(made_job, folder)), log(folder)


@pytest.fixture(scope="module")
def killed_run(made_job, tmp_path_factory):
    """A run that was killed in step 5: checkpoints of steps 2 and 4, and log lines of steps 0 to 5."""
    folder = tmp_path_factory.mktemp("killed") / "run"

    def kill(figures):
        if figures["step"] == 5:
            raise Killed

    with pytest.raises(Killed):
        run(made_job, folder, on_step=kill)
    assert names(folder) == [".lock", "checkpoint-2", "checkpoint-4", "metrics.jsonl", "rows.jsonl"]
    return folder


@pytest.fixture
def cut(killed_run, tmp_path):
    """A copy of the killed run that a test may damage."""
    return shutil.copytree(killed_run, tmp_path / "run")


@pytest.fixture
def warned(caplog):
    """The lines that the trainer wrote to the log of the process."""
    caplog.set_level(logging.WARNING, logger="trainer")

    def lines():
        return [record.getMessage() for record in caplog.records if record.name.startswith("trainer")]

    return lines


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def zero(path):
    """Zeros in place of the content, as after a power cut: the size is right."""
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "half a trainer.pt": ("trainer.pt", halve),
    "an empty trainer.pt": ("trainer.pt", lambda path: os.truncate(path, 0)),
    "no trainer.pt": ("trainer.pt", os.remove),
    "zeroed weights": ("model.safetensors", zero),
    "a flipped bit in the weights": ("model.safetensors", flip_a_bit),
    "no tokenizer": ("tokenizer.json", os.remove),
    "a pickle": ("trainer.pt", lambda path: torch.save({"x": Touch(str(path) + ".ran")}, path)),
    "no manifest": ("manifest.json", os.remove),
    "half a manifest": ("manifest.json", halve),
}


class Touch:
    """A pickle that makes a file when it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("fault", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_newest(cut, fault, warned):
    name, damage = DAMAGE[fault]
    damage(cut / "checkpoint-4" / name)
    assert newest_whole(cut) == cut / "checkpoint-2"
    (line,) = warned()
    assert line.startswith(f"{cut}/checkpoint-4: damaged checkpoint: {name} ")
    assert line.endswith("; the run goes on from the one before") and "\n" not in line


@pytest.mark.parametrize("fault", ["half a trainer.pt", "zeroed weights", "a pickle"])
def test_a_run_with_a_damaged_checkpoint_ends_with_the_same_weights(made_job, cut, fault, undisturbed):
    name, damage = DAMAGE[fault]
    damage(cut / "checkpoint-4" / name)
    assert equal(weights(run(made_job, cut)), undisturbed[0])
    assert [line["rows_digest"] for line in log(cut)] == [line["rows_digest"] for line in undisturbed[1]]
    assert not list(cut.rglob("*.ran"))


def test_without_a_whole_checkpoint_the_run_repeats_all_steps(made_job, cut, undisturbed, warned):
    zero(cut / "checkpoint-4" / "trainer.pt")
    shutil.rmtree(cut / "checkpoint-2")
    (cut / "checkpoint-2").mkdir()
    first = []
    assert equal(
        weights(run(made_job, cut, on_step=lambda figures: first.append(figures["step"]))), undisturbed[0]
    )
    assert first == [0, 1, 2, 3, 4, 5]
    assert [line.split(":")[0] for line in warned() if "damaged" in line] == [
        f"{cut}/checkpoint-4",
        f"{cut}/checkpoint-2",
    ]
    # The damaged one was written again; the empty folder was not the run's to delete.
    assert names(cut)[:5] == [".lock", "aside-checkpoint-2", "checkpoint-2", "checkpoint-4", "final"]
    assert names(cut / "aside-checkpoint-2") == []


def test_foreign_names_beside_checkpoints_are_named_and_stay(made_job, cut, undisturbed, warned, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(cut / "checkpoint-4", cut / "checkpoint-00005-copy")
    (cut / "checkpoint-old").mkdir()
    (cut / "policy-best").mkdir()
    (cut / "checkpoint-6").write_text("a file named like a step")
    (cut / "checkpoint-9").symlink_to(tmp_path / "elsewhere")
    (cut / ".DS_Store").write_bytes(b"\x00")
    before = names(cut)
    assert equal(weights(run(made_job, cut)), undisturbed[0])
    (line,) = [line for line in warned() if "not of this run" in line]
    assert line == (
        f"{cut}: not of this run, passed over: '.DS_Store', 'checkpoint-00005-copy', 'checkpoint-6',"
        " 'checkpoint-9', 'checkpoint-old', 'policy-best'"
    )
    assert set(before) <= set(names(cut))


def test_a_copy_under_a_later_step_is_not_a_checkpoint(made_job, cut, undisturbed, warned):
    shutil.copytree(cut / "checkpoint-2", cut / "checkpoint-5")
    assert equal(weights(run(made_job, cut)), undisturbed[0])
    assert any(
        "checkpoint-5: damaged checkpoint: its manifest.json names checkpoint-2" in w for w in warned()
    )
    assert (cut / "checkpoint-5").is_dir()


def test_foreign_folders_are_not_counted_among_those_that_are_kept(made_job, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoint-old").mkdir()
    (folder / "checkpoint-3").write_text("")
    run(made_job, folder, training={"steps": 9})
    retained = [".lock", "checkpoint-1", "checkpoint-3", "checkpoint-6", "checkpoint-8", "checkpoint-old"]
    assert names(folder)[: len(retained)] == retained


def test_what_a_killed_process_left_half_written_goes(made_job, cut):
    (cut / ".checkpoint-6.partial").mkdir()
    (cut / ".policy-2.gone").mkdir()
    (cut / ".mine.partial").mkdir()
    run(made_job, cut)
    assert [name for name in names(cut) if name.startswith(".")] == [".lock", ".mine.partial"]


def test_a_damaged_final_policy_is_written_again(made_job, cut, undisturbed, warned):
    run(made_job, cut)
    zero(cut / "final" / "model.safetensors")
    assert equal(weights(run(made_job, cut)), undisturbed[0])
    assert warned() == [
        f"{cut}/final: damaged final policy: model.safetensors has other content than was written;"
        " the run writes it again"
    ]
    assert equal(weights(load_policy(cut / "final")), undisturbed[0])


NOT_A_CHANGE = {
    b"garbage": "Invalid JSON",
    b'{"weights": {"human": 0.': "Invalid JSON",
    b'{"weights": {"human": NaN}}': "finite number",
    b'{"weights": {"human": -1}}': "greater than or equal to 0",
    b'{"weights": {"human": "1"}}': "valid number",
    b'{"weights": {"human": true}}': "valid number",
    b'{"weights": [1]}': "should be an object",
    b'{"weights": {"nobody": 1}}': "'nobody' is not a source of this run; there are: human, samples",
    b'{"weights": {"human": 1}, "wieght": 2}': "wieght: Extra inputs are not permitted",
    b"[]": "should be an object",
    b"": "Invalid JSON",
    b"\xff\xfe\x00": "Invalid JSON",
}


def test_garbage_among_changes_of_weights_is_named_once_and_not_counted(made_job, tmp_path, warned):
    folder = tmp_path / "run"
    folder.mkdir()
    change_weights(folder, {"human": 0.0})
    with open(folder / "weights.jsonl", "ab") as file:
        file.writelines(line + b"\n" for line in NOT_A_CHANGE)
        file.write(b'{"weights": {"sam')  # a writer that was killed
    run(made_job, folder, training={"steps": 3})
    assert [set(line["sources"]) for line in log(folder)] == [{"samples"}] * 3
    reported = [line.split(": ", 1) for line in warned()]
    assert [where for where, _ in reported] == [
        f"{folder}/weights.jsonl, line {number}" for number in range(2, len(NOT_A_CHANGE) + 3)
    ]
    for (_, reason), part in zip(reported, [*NOT_A_CHANGE.values(), "cut short"], strict=True):
        assert part in reason


def test_a_change_after_one_that_was_cut_short_is_a_line_of_its_own(made_job, tmp_path):
    (tmp_path / "weights.jsonl").write_bytes(b'{"weights": {"sam')
    change_weights(tmp_path, {"human": 0.0})
    run(made_job, tmp_path, training={"steps": 1})
    assert log(tmp_path)[0]["weights"] == {"human": 0.0, "samples": 0.5}


NOT_A_STEP = {
    '{"step": 1, "loss": 0.': "Expecting ',' delimiter",
    "[1, 2]": "not an object",
    '{"step": 3}': "watermark is missing",
    '{"step": true, "watermark": {}, "overrides": {}}': "step is True",
    '{"step": 99, "watermark": {}, "overrides": {}}': "step is 99, not a number from 0 to 5",
    '{"step": 4, "watermark": {"problems": "1"}, "overrides": {}}': "watermark has something else",
    '{"step": 4, "watermark": {}, "overrides": {"human": NaN}}': "overrides has something else",
    '{"step": 4, "watermark": {}, "overrides": {"nobody": 1}}': "'nobody', which is not a source",
    "\x00\x00\x00": "Expecting value",
}


def test_garbage_in_the_log_is_named_and_put_beside_it(made_job, cut, undisturbed, warned):
    path = cut / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *NOT_A_STEP, *lines[2:], '{"step": 5, "los']))
    assert equal(weights(run(made_job, cut)), undisturbed[0])
    assert [line["step"] for line in log(cut)] == [0, 1, 2, 3, 4, 5]
    reported = [line.split(": ", 1) for line in warned()]
    garbage = range(3, len(NOT_A_STEP) + 3)
    assert [where for where, _ in reported] == [
        f"{path}, line {number}" for number in (*garbage, len(lines) + len(NOT_A_STEP) + 1)
    ]
    for (_, reason), part in zip(reported, [*NOT_A_STEP.values(), "cut short"], strict=True):
        assert part in reason
    assert (cut / "rejected.jsonl").read_text().splitlines() == [*NOT_A_STEP, '{"step": 5, "los']


def test_a_step_whose_line_is_lost_is_repeated_as_the_step_before(made_job, cut, undisturbed, warned):
    """The weights of step 4 come from the log, not from the file of changes, which is newer."""
    path = cut / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = lines[4][:20]
    path.write_text("\n".join(lines) + "\n")
    change_weights(cut, {"human": 0.0})
    assert equal(weights(run(made_job, cut)), undisturbed[0])
    assert [line["step"] for line in log(cut)] == [0, 1, 2, 3, 4, 5]
    assert any(line.startswith("step 4 has no line in metrics.jsonl; it is repeated") for line in warned())


@contextmanager
def full_disk(limit_bytes):
    """No file of this process may grow beyond a limit: the kernel refuses the write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_disk_after(step, limit_bytes):
    """`on_step` of a run whose disk is full from the end of a step on."""
    with full_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[0]):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

        def fill(figures):
            if figures["step"] == step:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))

        yield fill


@pytest.mark.parametrize("limit_bytes", [1_000, 250_000], ids=["weights", "moments"])
def test_a_disk_that_is_full_at_a_checkpoint(made_job, tmp_path, limit_bytes, undisturbed):
    folder = tmp_path / "run"
    with full_disk_after(3, limit_bytes) as fill, pytest.raises(DiskFull) as caught:
        run(made_job, folder, on_step=fill)
    assert str(caught.value).startswith(f"{folder}: the checkpoint of step 4: cannot be written: ")
    assert "make room, then the same command goes on" in str(caught.value)
    assert "\n" not in str(caught.value)
    # Nothing half written takes room.
    assert names(folder) == [".lock", "checkpoint-2", "metrics.jsonl", "rows.jsonl"]
    assert equal(weights(run(made_job, folder)), undisturbed[0])


def test_a_disk_that_is_full_at_a_line_of_the_log(made_job, tmp_path, undisturbed):
    folder = tmp_path / "run"
    with full_disk_after(2, 5_000) as fill, pytest.raises(DiskFull) as caught:
        run(made_job, folder, on_step=fill, training={"checkpoint_every": 5})
    assert str(caught.value).startswith(
        f"{folder}/metrics.jsonl: cannot be written: File too large; make room"
    )
    assert equal(weights(run(made_job, folder, training={"checkpoint_every": 5})), undisturbed[0])


def test_a_disk_that_is_full_at_the_final_policy(made_job, cut, undisturbed):
    with full_disk_after(5, 20_000) as fill, pytest.raises(DiskFull, match="/final: cannot be written: "):
        run(made_job, cut, on_step=fill)
    assert "final" not in names(cut)
    assert equal(weights(run(made_job, cut)), undisturbed[0])


class FullWhenRecorded(Publisher):
    """The weights are written; the row of the policy is not."""

    def publish(self, step, folder):
        with full_disk(300):
            super().publish(step, folder)


@pytest.mark.parametrize("recorded", [False, True], ids=["weights", "row"])
def test_a_disk_that_is_full_at_a_publication(job, tmp_path, recorded):
    folder = tmp_path / "run"

    def start(publisher, **parts):
        part = job.training(folder, SOURCES, training={"steps": 3, "checkpoint_every": 1}, **parts)
        part.publisher = publisher(job.store, "run", "reference", 3)
        part.settings = part.settings.model_copy(update={"publish_every": 2})
        return train(part)

    def published():
        rows = job.store.read("policies").filter(pl.col("run_id") == "run")
        return rows["policy_id"].to_list()

    with full_disk_after(9 if recorded else 1, 20_000) as fill, pytest.raises(DiskFull) as caught:
        start(FullWhenRecorded if recorded else Publisher, on_step=fill)
    assert str(caught.value).startswith(f"{folder}: the policy of step 2: cannot be written: ")
    assert "\n" not in str(caught.value)
    assert published() == []
    assert ("policy-2" in names(folder)) == recorded
    start(Publisher)
    assert published() == ["run@2"]
    details = job.store.read("policies").filter(pl.col("policy_id") == "run@2")["details"].item()
    assert json.loads(details)["fingerprint"] == load_policy(folder / "policy-2").fingerprint()


def test_a_foreign_policy_folder_is_neither_published_nor_pruned(job, tmp_path, warned):
    folder = tmp_path / "run"
    shutil.copytree(job.folder, folder / "policy-2")
    shutil.copytree(job.folder, folder / "policy-7")
    part = job.training(folder, SOURCES, training={"steps": 5, "publish_every": 1})
    part.publisher = Publisher(job.store, "run", "reference", 1)
    final = weights(train(part))
    assert not equal(weights(load_policy(folder / "policy-4")), weights(job.policy()))
    assert [name for name in names(folder) if "policy" in name] == [
        "aside-policy-2",
        "policy-4",
        "policy-7",
    ]
    for name in ("aside-policy-2", "policy-7"):
        assert equal(weights(load_policy(folder / name)), weights(job.policy()))
    assert not equal(final, weights(job.policy()))
    assert f"{folder}/policy-2: not a folder of this run; renamed to aside-policy-2" in warned()


def test_a_disk_that_is_full_while_verdicts_are_written(job):
    rows = job.store.read("trajectories").filter(pl.col("origin") == "human").head(2)
    rows = rows.with_columns(
        trajectory_id=pl.col("trajectory_id").str.reverse(), program=pl.col("program") + "\n# again\n"
    )
    job.store.append("trajectories", rows, producer="again", sequence=0)
    before = job.store.read("verdicts").height
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def fill(done, total):
        if done == total:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))

    with Pool() as pool:
        with full_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[0]), pytest.raises(StoreError) as caught:
            label(job.store, pool, on_progress=fill)
        assert str(caught.value).startswith("verdicts: cannot write to ")
        assert "\n" not in str(caught.value)
        assert job.store.read("verdicts").height == before
        assert label(job.store, pool).rows == 2
    assert job.store.read("verdicts").height == before + 2


def test_two_trainings_in_one_folder(made_job, tmp_path):
    (tmp_path / "run").mkdir()
    busy = []

    def second(figures):
        def attempt():
            with pytest.raises(RunBusy) as caught:
                run(made_job, tmp_path / "run")
            busy.append(str(caught.value))

        thread = Thread(target=attempt)
        thread.start()
        thread.join()

    run(made_job, tmp_path / "run", training={"steps": 1}, on_step=second)
    assert busy == [
        f"{tmp_path / 'run'}: process {os.getpid()} trains this run; wait until it ends, or stop it first"
    ]
    with exclusive_run(tmp_path / "run"):
        pass


def test_a_policy_folder_runs_no_code_of_its_own(made_job, tmp_path):
    folder = shutil.copytree(made_job.folder, tmp_path / "own-code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Own"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    pickled = shutil.copytree(made_job.folder, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({"x": Touch(tmp_path / "ran")}, pickled / "pytorch_model.bin")
    for place in (folder, pickled):
        with pytest.raises(PolicyUnreadable, match=f"^{place}: not a policy that can be loaded: ") as caught:
            load_policy(place)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("token_ids", [[1, 10**6], [3, -5], []], ids=["beyond", "negative", "none"])
def test_a_trajectory_with_impossible_tokens_is_named_and_not_scored(job, token_ids, warned):
    row = job.store.read("trajectories").filter(pl.col("policy_id") == "reference").head(1)
    verdict = job.store.read("verdicts").join(row.select("trajectory_id"), on="trajectory_id").head(1)
    for table, one in (("trajectories", row), ("verdicts", verdict)):
        job.store.append(table, renamed(one, "odd", token_ids), producer="odd", sequence=0)
    job.store.append("trajectories", renamed(row, "even", [5, 6]), producer="even", sequence=0)
    job.store.append("verdicts", renamed(verdict, "even", []), producer="even", sequence=0)
    summary = score(job.store, job.policy())
    assert (summary.scored, summary.unusable, summary.too_long) == (1, 1, 0)
    (line,) = warned()
    assert line.startswith("not scored: trajectory odd: token_ids has no token, or one outside 0 to ")
    assert job.store.read("reference_scores").filter(pl.col("trajectory_id") == "odd").is_empty()


def renamed(row, name, token_ids):
    """A row under another trajectory_id, with other tokens, and their log-probabilities, where it has any."""
    others = {
        "trajectory_id": pl.lit(name),
        "source_key": pl.lit(name),
        "token_ids": pl.Series([token_ids], dtype=pl.List(pl.Int32)),
        "token_logprobs": pl.Series([[-1.0] * len(token_ids)], dtype=pl.List(pl.Float32)),
    }
    return row.with_columns(**{column: value for column, value in others.items() if column in row.columns})
