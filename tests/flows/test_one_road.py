"""The command line, schedules and the demo train through one function, from one kind of configuration."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.demo import DemoSettings, identity_of
from flows.demo.record import DemoRecord
from flows.demo.training import run_config
from flows.stages.recurring import FLOWS
from flows.stages.train import train_flow, train_run, train_task
from trainer.run import RunBusy, RunConfig, TrainingSettings, load_config, run
from trainer.run.exclusive import exclusive_run

HOLDER = """
import sys, time
from pathlib import Path
from trainer.run.exclusive import exclusive_run
with exclusive_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def demo_config(tmp_path) -> RunConfig:
    settings = DemoSettings(seeds=1, test_problems=2)
    record = DemoRecord(settings, "spo demo", tmp_path)
    return run_config(settings, record, str(tmp_path / "store"), str(tmp_path / "reference"), "c0ffee", 0)


def test_the_demo_builds_the_configuration_that_a_file_would(demo_config):
    again = RunConfig.model_validate(json.loads(demo_config.model_dump_json()))
    assert again == demo_config
    assert again.run_id == f"{again.run.parent.name}/seed-0"
    assert again.evaluation is not None and again.allow_leaks == ("ngrams",)


def test_every_road_calls_the_same_function(demo_config, monkeypatch):
    asked = []
    monkeypatch.setattr("trainer.run.run", lambda config, on_step=None, ranks=None: asked.append(config))
    # These two report to a Prefect server.
    monkeypatch.setattr("flows.stages.train.create_markdown_artifact", lambda *_, **__: None)
    monkeypatch.setattr("flows.stages.train.train_task", train_task.fn)
    train_flow.fn(demo_config.model_dump(mode="json"))
    (demo_config.run.parent / "run.toml").write_text(
        f"run = '{demo_config.run}'\nreference = 'r'\n[[source]]\nname = 'a'\nweight = 1.0\n"
    )
    FLOWS["train"].fn(str(demo_config.run.parent / "run.toml"))
    assert [config.run for config in asked] == [demo_config.run, demo_config.run]
    assert asked[0] == demo_config


def test_a_saved_run_is_a_configuration(demo_config):
    demo_config.run.mkdir(parents=True)
    (demo_config.run / "config.json").write_text(demo_config.model_dump_json())
    assert load_config(demo_config.run) == demo_config
    changed = CliRunner().invoke(app, ["weights", str(demo_config.run), "human, right=1.5"])
    assert changed.exit_code == 0, changed.output
    assert json.loads((demo_config.run / "weights.jsonl").read_text())["weights"] == {"human, right": 1.5}


def test_a_second_process_is_refused_in_a_run_that_is_trained(demo_config):
    command = [sys.executable, "-c", HOLDER, str(demo_config.run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(RunBusy, match=rf"process {holder.pid} trains this run"):
            run(demo_config)
        assert time.monotonic() - started < 5
        holder.kill()
    with exclusive_run(demo_config.run):  # the kernel freed it
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "other").write_text("precious")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError), exclusive_run(tmp_path / "run"):
        pass
    assert (tmp_path / "other").read_text() == "precious"


def test_a_new_setting_with_a_default_renames_no_demo():
    class More(TrainingSettings):
        another: float = 0.5

    class Demo(DemoSettings):
        training: More = More(**DemoSettings().training.model_dump())

    assert identity_of(Demo()) == identity_of(DemoSettings())
    assert identity_of(DemoSettings(test_problems=3)) != identity_of(DemoSettings())
    assert identity_of(DemoSettings(seeds=9)) == identity_of(DemoSettings())


def test_a_finished_run_is_looked_up(demo_config, monkeypatch):
    monkeypatch.setattr("trainer.run.run", lambda *_, **__: pytest.fail("trained again"))
    (demo_config.run / "final").mkdir(parents=True)
    (demo_config.run / "final" / "config.json").write_text("{}")
    (demo_config.run / "config.json").write_text(demo_config.model_dump_json())
    assert Path(train_run(demo_config)) == demo_config.run / "final"
