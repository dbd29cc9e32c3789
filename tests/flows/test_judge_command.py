"""`spo judge` as a person sees it, and who may start `spo serve-judge`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from rich.markup import escape

from flows.commands.judge import different_words
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store

STARTER = Path(__file__).parents[2] / "data" / "starter"


def spo(*arguments, folder, **variables):
    return subprocess.run(
        [sys.executable, "-m", "flows", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"SPO_DATA_DIR": str(folder), "COLUMNS": "120"} | variables,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with one problem, an accepted program for it, and one that prints its first number."""
    folder = tmp_path_factory.mktemp("judge")
    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=1)
    rows = store.read("trajectories").to_dicts()
    right = next(row for row in rows if row["claimed_verdict"] == "accepted" and row["language"] == "python3")
    (folder / "right.py").write_text(right["program"])
    (folder / "wrong.py").write_text(
        "import sys\nprint(sys.stdin.read().split()[0] + '[b]')\nsys.stderr.write('complaint')"
    )
    (folder / "broken.cpp").write_text("int main() { return x; }")
    (folder / "crash.py").write_text("print([1][2])")
    return folder, right["problem_id"]


def test_a_right_program(place):
    folder, problem = place
    shown = spo("judge", folder / "right.py", "--problem", problem, folder=folder)
    tests = Store(folder / "store").read("tests").height
    assert shown.returncode == 0 and f"accepted {tests} of {tests} tests of {problem}" in shown.stdout, shown
    assert shown.stdout.count("accepted") == tests + 1


def test_a_wrong_program(place):
    folder, problem = place
    shown = spo(
        "judge",
        folder / "wrong.py",
        "--problem",
        problem.rpartition("/")[2],
        folder=folder,
    )
    assert shown.returncode == 1 and "wrong answer" in shown.stdout and "complaint" in shown.stdout
    test = Store(folder / "store").read("tests").sort("position").to_dicts()[0]
    line = next(line for line in shown.stdout.splitlines() if line.split()[:1] == ["1"])
    assert line.split()[1:] == [test["expected_output"].split()[0], test["input"].split()[0] + "[b]"]


def test_programs_that_break(place):
    folder, problem = place
    assert "'x' was not declared" in spo(
        "judge", folder / "broken.cpp", "--problem", problem, folder=folder
    ).stdout.replace("‘", "'").replace("’", "'")
    crashed = spo("judge", folder / "crash.py", "--problem", problem, folder=folder).stdout
    assert "IndexError: list index out of range" in crashed and "/guest/" not in crashed
    actual = json.loads(
        spo("judge", folder / "crash.py", "--problem", problem, "--json", folder=folder).stdout
    )
    assert (actual["verdict"], actual["problem_id"]) == ("runtime_error", problem)


def test_a_trajectory_of_the_store(place):
    folder, problem = place
    rows = Store(folder / "store").read("trajectories").to_dicts()
    right = next(row for row in rows if row["claimed_verdict"] == "accepted" and row["language"] == "python3")
    shown = spo("judge", right["trajectory_id"][:12], folder=folder)
    assert shown.returncode == 0 and f"tests of {problem}" in shown.stdout, shown
    unknown = spo("judge", "ffff" * 8, folder=folder)
    assert unknown.returncode == 2 and "no trajectory" in unknown.stderr.replace("\n", " ")


def test_tests_after_a_failure_run_on_demand(place):
    folder, problem = place
    actual = [
        json.loads(
            spo("judge", folder / "crash.py", "--problem", problem, "--json", *more, folder=folder).stdout
        )
        for more in ((), ("--all-tests",))
    ]
    assert [len(one["tests"]) for one in actual] == [1, actual[1]["total"]] and actual[1]["total"] > 1


def test_what_could_not_be_judged_has_an_exit_code_of_its_own(place):
    folder, problem = place
    (folder / "later.cob").write_text("DISPLAY 1.")
    shown = spo("judge", folder / "later.cob", "--problem", problem, "--language", "python2", folder=folder)
    assert shown.returncode == 3, shown
    no_jail = spo("judge", folder / "right.py", "--problem", problem, folder=folder, SPO_SANDBOX_TIER="none")
    assert no_jail.returncode == 3 and "cannot be judged" in no_jail.stderr, no_jail


def test_words_that_differ_are_coloured():
    assert different_words("1 2 [3]", "1 5 [3]") == (
        "1 [bold green]2[/] \\[3]" if "\\[3]" in escape("[3]") else "1 [bold green]2[/] [3]",
        "1 [bold red]5[/] " + escape("[3]"),
    )


def test_what_is_missing_is_said(place):
    folder, problem = place
    (folder / "text.txt").write_text("")
    assert (
        "did you mean" in spo("judge", folder / "right.py", "--problem", problem + "x", folder=folder).stderr
    )
    assert "give --language" in spo("judge", folder / "text.txt", "--problem", problem, folder=folder).stderr
    assert (
        "no store"
        in spo(
            "judge", folder / "right.py", "--problem", "x", "--store", folder / "none", folder=folder
        ).stderr
    )
    refused = spo("serve-judge", "--host", "0.0.0.0", folder=folder)
    assert refused.returncode == 2 and "SPO_JUDGE_TOKEN" in refused.stderr


def test_the_judge_says_where_it_listens(tmp_path):
    command = [sys.executable, "-m", "flows", "serve-judge", "--port", "0", "--workers", "1"]
    variables = os.environ | {"SPO_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
    try:
        line = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:([1-9]\d*)/run_code", line)
        assert address, line
        token = (tmp_path / "judge-token").read_text().strip()
        answer = httpx.post(
            address[0],
            json={"code": "print(1)", "language": "python"},
            headers={"authorization": f"Bearer {token}"},
            timeout=60,
        )
        assert answer.json()["run_result"]["stdout"] == "1\n"
        taken = spo("serve-judge", "--port", address[1], folder=tmp_path)
        assert taken.returncode == 2 and f"cannot listen on port {address[1]}" in taken.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stderr.close()
