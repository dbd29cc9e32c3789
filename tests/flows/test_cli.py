"""The command line as a person meets it: help, one-line errors, exit codes, SQL output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.ingest import ingest
from pipeline.store import Store


STARTER = Path(__file__).parents[2] / "data" / "starter"


def spo(*arguments, folder):
    # Prefect's settings of this process, or of a test before this one, are not the command's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["SPO_DATA_DIR"] = str(folder)
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    ingest(Store(folder / "store"), "plain", str(STARTER), limit=3)
    return folder


def test_help_names_the_rooms(place):
    shown = spo("--help", folder=place)
    assert shown.returncode == 0
    for command in ("demo", "ingest", "deduplicate", "label", "score", "sql", "report", "up", "doctor"):
        assert command in shown.stdout


def test_sql_in_every_format(place):
    statement = "select origin, count(*) as n from trajectories group by all"
    count = Store(place / "store").read("trajectories").height
    assert spo("sql", statement, "--output", "csv", folder=place).stdout == f"origin,n\nhuman,{count}\n"
    assert json.loads(spo("sql", statement, "--output", "json", folder=place).stdout) == {"origin": "human", "n": count}
    assert "human" in spo("sql", statement, folder=place).stdout
    target = place / "out.parquet"
    assert spo("sql", statement, "--output", str(target), folder=place).returncode == 0 and target.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sql", "select nothing from nowhere"), "nowhere"),
        (("sql", "drop table trajectories"), "reading only"),
        (("sql", "@no_such_question"), "no question @no_such_question; there are:"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(place, arguments, said):
    ended = spo(*arguments, folder=place)
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 1 and len(lines) == 1 and said in lines[0] and "Traceback" not in ended.stderr
    assert (place / "spo-error.log").exists()


def test_doctor_finds_the_sandbox_of_this_machine(place):
    found = spo("doctor", "--json", folder=place)
    report = json.loads(found.stdout)
    assert found.returncode == 0 and report["sandbox"] is True
    assert {name for name, _ in report["lines"]} >= {"python", "torch", "sandbox", "python3"}


def test_a_missing_folder_is_named(place):
    ended = spo("demo", "--data", str(place / "nowhere"), folder=place)
    assert ended.returncode == 2 and "nowhere" in ended.stderr
