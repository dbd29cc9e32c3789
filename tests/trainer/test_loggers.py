"""Figures and samples of a run in TensorBoard, trackio and W&B, read back with their own packages.

trackio and wandb are not in the lock; install them beside the environment to run their tests.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.run import RunConfig, TrainingError, run
from trainer.run.config import of_earlier_version
from trainer.run.loggers import open_loggers, scalars_of


class Killed(Exception):
    pass


def trained(job, folder: Path, name: str) -> list[dict]:
    """The log lines of a run of three steps that was killed after the second, before a checkpoint, and
    resumed; the last step has a validation.
    """
    config = RunConfig.model_validate(
        {
            "run": str(folder / "mine"),
            "store": str(job.store.location),
            "reference": str(job.folder),
            "training": {"steps": 3, "checkpoint_every": 10, "loggers": [name]},
            "mixture": {"batch_sequences": 4},
            "source": [{"name": "all", "weight": 1.0}],
            "validation": {
                "every": 10,
                "problems_where": "split = 'test'",
                "problems": 2,
                "sampling": {"samples_per_problem": 2, "max_new_tokens": 4},
            },
        }
    )

    def kill(figures: dict) -> None:
        if figures["step"] == 1:
            raise Killed

    with pytest.raises(Killed):
        run(config, on_step=kill)
    run(config)
    return [json.loads(line) for line in (folder / "mine" / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_has_figures_and_samples(job, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = trained(job, tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "mine" / "tensorboard"))
    events.Reload()
    actual = {event.step: event.value for event in events.Scalars("sources/all/loss")}
    assert actual == pytest.approx({line["step"]: line["sources"]["all"]["loss"] for line in lines}, rel=1e-6)
    (point,) = events.Scalars("validation/samples")
    assert (point.step, point.value) == (2, 4.0)
    (text,) = events.Tensors("samples/text_summary")
    assert b"starter/" in text.tensor_proto.string_val[0]


def test_trackio_has_figures_and_samples(job, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read once per process, at the import
    pytest.importorskip("trackio", reason="the extra `trackio` is not installed")
    lines = trained(job, tmp_path, "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    logged = SQLiteStorage.get_logs("spo", "mine")
    losses = [row["sources/all/loss"] for row in logged if "sources/all/loss" in row]
    assert losses == pytest.approx([line["sources"]["all"]["loss"] for line in lines])
    assert any("starter/" in json.dumps(row.get("samples"), default=str) for row in logged)


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a W&B file: LevelDB's log format behind seven bytes of W&B's own.

    https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    at, whole = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, last
            yield whole
            whole = b""


def test_wandb_offline_has_figures_and_samples(job, tmp_path):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    from wandb.proto import wandb_internal_pb2

    lines = trained(job, tmp_path, "wandb")
    losses = {}
    for file in sorted((tmp_path / "mine" / "wandb").glob("offline-run-*/*.wandb")):
        for data in leveldb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            actual = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            if "loss" in actual:
                losses[int(json.loads(actual["_step"]))] = json.loads(actual["loss"])
    assert losses == pytest.approx({line["step"]: line["loss"] for line in lines})
    tables = list((tmp_path / "mine" / "wandb").rglob("*.table.json"))
    assert tables and any("starter/" in table.read_text() for table in tables)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(TrainingError, match=r"wandb needs the extra `wandb`.*pip install 'spo\[wandb\]'"):
        open_loggers(["wandb"], tmp_path, "mine", 0)


def test_numbers_get_names_with_slashes():
    figures = {"step": 4, "loss": 0.5, "kl": None, "watermark": {"a": 3}, "sources": {"x": {"rows": 2}}}
    assert scalars_of(figures) == {"loss": 0.5, "sources/x/rows": 2.0}


def test_a_saved_run_of_an_earlier_version_keeps_its_logger():
    assert of_earlier_version({"training": {"tensorboard": True, "steps": 3}}) == {
        "training": {"loggers": ["tensorboard"], "steps": 3}
    }
    assert of_earlier_version({"training": {"tensorboard": False}}) == {"training": {"loggers": []}}
    assert of_earlier_version({"training": {"steps": 3}}) == {"training": {"steps": 3}}
