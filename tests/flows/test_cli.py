"""The command line as a person meets it: help, one-line errors, exit codes, SQL output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import polars as pl
import pytest

from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.store import Store
from sandbox import Pool

STARTER = Path(__file__).parents[2] / "data" / "starter"


def surroundings(folder):
    """Without the Prefect settings of this process or of an earlier test, which are not the command's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "SPO_DATA_DIR": str(folder)
    }


def spo(*arguments, folder, given=""):
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        env=surroundings(folder),
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=3)
    with Pool() as pool:
        label(store, pool)
    return folder


def test_help_names_the_rooms(place):
    shown = spo("--help", folder=place)
    assert shown.returncode == 0
    for command in (
        "demo",
        "ingest",
        "deduplicate",
        "label",
        "judge",
        "score",
        "corpus",
        "store",
        "sql",
        "train",
        "report",
        "serve",
        "deploy",
        "up",
        "doctor",
    ):
        assert command in shown.stdout
    assert "Exit codes" in shown.stdout and "130" in shown.stdout


def test_every_command_has_an_example():
    import typer

    from flows.cli import app

    def commands(group, path):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, f"{path} {name}")
            else:
                yield f"{path} {name}", command

    actual = dict(commands(typer.main.get_command(app), "spo"))
    assert len(actual) > 20
    assert [name for name, command in actual.items() if "Example" not in (command.help or "")] == []


def test_names_are_completed(place):
    completed = subprocess.run(
        [str(Path(sys.executable).with_name("spo"))],
        capture_output=True,
        text=True,
        timeout=120,
        env=surroundings(place)
        | {"_SPO_COMPLETE": "complete_bash", "COMP_WORDS": "spo de", "COMP_CWORD": "1"},
    )
    assert set(completed.stdout.split()) == {"demo", "deduplicate", "decontaminate", "deploy"}, completed


COUNT = "select origin, count(*) as n from trajectories group by all"


def test_sql_in_every_format(place):
    row = {"origin": "human", "n": Store(place / "store").read("trajectories").height}
    assert spo("sql", COUNT, "--output", "csv", folder=place).stdout == f"origin,n\nhuman,{row['n']}\n"
    assert json.loads(spo("sql", COUNT, "--output", "json", folder=place).stdout) == [row]
    assert json.loads(spo("sql", COUNT, "--output", "jsonl", folder=place).stdout) == row
    assert f"│ human   │{row['n']:>6} │" in spo("sql", COUNT, folder=place).stdout
    target = place / "out.parquet"
    assert spo("sql", COUNT, "--output", str(target), folder=place).returncode == 0
    assert pl.read_parquet(target).to_dicts() == [row]


def test_sql_from_a_file_a_pipe_and_with_parameters(place):
    file = place / "query.sql"
    file.write_text("select $who as who, count(*) > 0 as any from trajectories where origin = $who")
    expected = "who,any\nhuman,true\n"
    assert spo("sql", "-f", str(file), "-p", "who=human", "-o", "csv", folder=place).stdout == expected
    assert spo("sql", "-p", "who=human", "-o", "csv", folder=place, given=file.read_text()).stdout == expected
    assert "@contents" in spo("sql", "--questions", folder=place).stdout


def test_sql_reads_other_files_only_where_it_is_asked_to(place):
    (place / "mine.csv").write_text("trajectory_id,note\nnone,x\n")
    statement = f"select count(*) as n from '{place}/mine.csv'"
    refused = spo("sql", statement, "-o", "csv", folder=place)
    assert refused.returncode == 1 and "Permission Error" in refused.stderr
    assert spo("sql", statement, "-o", "csv", "--read-write", folder=place).stdout == "n\n1\n"


def test_a_reader_that_has_enough_is_no_error(place):
    command = [sys.executable, "-m", "flows", "sql", "from range(300000)", "-o", "csv"]
    with subprocess.Popen(
        command,
        env=surroundings(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "range\n"
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_long_result_is_shown_in_part(place):
    shown = spo("sql", "from range(20000)", "--rows", "4", folder=place)
    assert " 0 │\n" in shown.stdout and " 10 │\n" not in shown.stdout and "first 10,000" in shown.stderr


PROMPT_LEFT = "\x1b[?2004l"  # pasting is an ordinary line again


def test_a_sitting_at_the_prompt(place):
    """A real terminal: a query over two lines with a completed name, a wrong one, a question, one stopped
    with Ctrl-C.
    """
    with open(place / "terminal.log", "w") as log:
        environment = surroundings(place) | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        command = ["-m", "flows", "sql", "--store", str(place / "store")]
        options = {"encoding": "utf-8", "timeout": 120, "dimensions": (40, 120), "logfile": log}
        terminal = pexpect.spawn(sys.executable, command, env=environment, **options)
        count = Store(place / "store").read("trajectories").height
        terminal.expect(f"{count} trajectories")
        terminal.expect("spo>")
        terminal.send("select origin, count(*)\r from trajectories group by all;\r")
        terminal.expect(f"human .*{count}")
        terminal.send("select * from trajectorie;\r")
        terminal.expect("error: .*Did you mean")
        terminal.send("@contents;\r")
        terminal.expect("accepted")
        terminal.send(".describe pins\r")
        terminal.expect("name of the pin")
        terminal.send("select count(*) from range(100000000000) a, range(1000) b;\r")
        terminal.expect_exact(PROMPT_LEFT)
        while terminal.expect(
            ["stopped", pexpect.TIMEOUT], timeout=1
        ):  # the terminal may still be the prompt's for a moment
            terminal.sendintr()
        terminal.send(".quit\r")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 0


def test_a_corpus_from_definition_to_export(place):
    definition = place / "right-ones.sql"
    definition.write_text(
        "-- reward = \"binary\"\nselect trajectory_id from judged where verdict = 'accepted'\n"
    )
    published = spo("corpus", "publish", str(definition), "--json", folder=place)
    (first,) = json.loads(published.stdout)
    assert json.loads(spo("corpus", "publish", str(definition), "--json", folder=place).stdout) == [first]
    definition.write_text("select trajectory_id from judged where verdict <> 'time_limit_exceeded'")
    (second,) = json.loads(spo("corpus", "publish", str(definition), "--json", folder=place).stdout)
    listed = json.loads(spo("corpus", "list", "--json", folder=place).stdout)
    assert [row["corpus_id"] for row in listed] == [second["corpus_id"], first["corpus_id"]]
    shown = spo("corpus", "show", first["corpus_id"][:8], folder=place).stdout
    assert first["corpus_id"] in shown and "verdict = 'accepted'" in shown
    changes = [
        json.loads(line)
        for line in spo(
            "corpus", "diff", first["corpus_id"], "right-ones", "-o", "jsonl", folder=place
        ).stdout.splitlines()
    ]
    assert {row["change"] for row in changes} == {"added"} and len(changes) == second["rows"] - first[
        "rows"
    ] > 0
    assert "added" in spo("corpus", "diff", first["corpus_id"], "right-ones", folder=place).stdout
    exported = spo("corpus", "export", first["corpus_id"], str(place / "exported"), folder=place)
    assert (
        exported.returncode == 0
        and pl.read_parquet(place / "exported/data/train.parquet").height == first["rows"]
    )


def test_the_corpora_that_come_along_can_be_published(place):
    files = sorted((STARTER.parent / "corpora").iterdir())
    published = json.loads(spo("corpus", "publish", *map(str, files), "--json", folder=place).stdout)
    assert {row["name"] for row in published} == {file.stem for file in files} and all(
        row["rows"] for row in published
    )


def test_the_store_is_kept_and_its_pins_are_shown(place):
    assert spo("store", "pin", "paper", folder=place).returncode == 0
    assert "paper" in json.loads(spo("store", "pins", "--json", folder=place).stdout)
    assert spo("store", "maintain", "trajectories", folder=place).returncode == 0
    status = {row["table"]: row for row in json.loads(spo("store", "status", "--json", folder=place).stdout)}
    assert status["trajectories"]["rows"] == Store(place / "store").read("trajectories").height
    assert spo("store", "unpin", "paper", folder=place).returncode == 0
    assert "no pin paper" in spo("store", "unpin", "paper", folder=place).stderr


def test_a_store_is_checked_and_repaired(place, tmp_path):
    folder = Path(shutil.copytree(place / "store", tmp_path / "store"))
    there = ("--store", str(folder))
    entry = max((folder / "trajectories/_delta_log").glob("0*.json"))
    os.truncate(entry, 100)
    done = spo("store", "check", *there, folder=place)
    (line,) = done.stdout.splitlines()
    assert done.returncode == 1 and line.startswith(f"trajectories: log: {entry}: is damaged")
    done = spo("store", "repair", *there, folder=place)
    assert done.returncode == 0 and "restored from its copy" in done.stdout
    done = spo("store", "check", "--json", *there, folder=place)
    assert done.returncode == 0 and "no fault" in done.stderr
    actual = json.loads(done.stdout)
    assert (actual["whole"], actual["findings"], actual["references_checked"]) == (True, [], True)
    assert Store(folder).read("trajectories").height == Store(place / "store").read("trajectories").height


def test_a_repair_lists_the_rows_that_are_lost(place, tmp_path):
    folder = Path(shutil.copytree(place / "store", tmp_path / "store"))
    there = ("--store", str(folder))
    before = Store(folder).read("problems")
    for file in Store(folder).snapshot("problems").files:
        content = Path(file).read_bytes()
        Path(file).write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    done = spo("store", "repair", *there, folder=place)
    assert done.returncode == 1 and "NOT REPAIRED" in done.stdout
    done = spo("store", "repair", "--accept-loss", *there, folder=place)
    lost = [line for line in done.stdout.splitlines() if line.startswith("problems: lost row: ")]
    assert done.returncode == 1 and len(lost) == before.height > 0
    assert Store(folder).read("problems").height == 0
    # What named the lost rows is found now.
    done = spo("store", "check", *there, folder=place)
    assert done.returncode == 1 and "reference: problem_id" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sql", "select nothing from nowhere"), "nowhere"),
        (("sql", "drop table trajectories"), "reading only"),
        (("sql", "@no_such_question"), "no question @no_such_question; there are:"),
        (("sql", "select 1", "-o", "no/folder/rows.csv"), "cannot write no/folder/rows.csv"),
        (("sql", "select 1", "-o", "rows.xlsx"), "unknown format 'xlsx'"),
        (
            ("sql", "select 1", "--store", "/nowhere/store"),
            "no store at /nowhere/store; name it with --store",
        ),
        (("corpus", "show", "nothing"), "no corpus 'nothing'; published:"),
        (("store", "maintain", "nothing"), "no table nothing; there are:"),
        (("ingest", "bundel", "x"), "no adapter 'bundel'; there are:"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(place, arguments, said):
    ended = spo(*arguments, folder=place)
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 1 and len(lines) == 1 and said in lines[0] and "Traceback" not in ended.stderr
    assert (place / "spo-error.log").exists()


@pytest.mark.timeout(900)
def test_a_failing_flow_is_one_line_and_its_traceback_in_the_log(place, server):
    environment = server.environment() | {"SPO_DATA_DIR": str(place)}
    ended = subprocess.run(
        [sys.executable, "-m", "flows", "ingest", "plain", "/nowhere/at-all"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    address, line = ended.stderr.strip().splitlines()
    assert ended.returncode == 1 and server.url.removesuffix("/api") in address
    assert line.startswith("spo: SourceError: no file or folder /nowhere/at-all")
    assert "Traceback" in (place / "spo-error.log").read_text()


def test_a_schedule_with_a_mistake_is_one_line(place):
    (place / "schedule.toml").write_text('store = "store"\n[[label]]\nworker = 2\n')
    ended = spo("serve", str(place / "schedule.toml"), folder=place)
    assert (
        ended.returncode == 1
        and "schedule.toml: label.0.worker: unknown key; did you mean workers?" in ended.stderr
    )
    assert len(ended.stderr.strip().splitlines()) == 1


def test_doctor_finds_the_sandbox_of_this_machine(place):
    actual = spo("doctor", "--json", folder=place)
    report = json.loads(actual.stdout)
    assert actual.returncode == 0 and report["sandbox"] is True
    assert {name for name, _ in report["lines"]} >= {"python", "torch", "sandbox", "python3"}
    lines = dict(report["lines"])
    assert lines.keys() >= {"flush", "seccomp", "landlock", "namespaces", "memory limit", "user"}
    # What the tier says in short is what the lines say in words.
    assert ("control group v" in lines["memory limit"]) == ("+cgroup" in lines["sandbox"])
    assert ("NONE" in lines["namespaces"]) == lines["sandbox"].startswith("landlock")


def test_doctor_promises_no_flush_in_memory():
    from flows.commands.doctor import file_system_of, flushes_at

    if not Path("/dev/shm").is_dir() or file_system_of(Path("/dev/shm")) != "tmpfs":
        pytest.skip("no file system in memory")
    assert flushes_at(Path("/dev/shm")).startswith("NONE: /dev/shm is in memory (tmpfs)")


def test_doctor_says_where_a_disk_refuses_to_flush(tmp_path, monkeypatch):
    from flows.commands import doctor

    def refuses(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(doctor, "file_system_of", lambda place: "ext4")
    assert " ms per file and its name at " in doctor.flushes_at(tmp_path)
    monkeypatch.setattr("os.fsync", refuses)
    assert doctor.flushes_at(tmp_path).startswith("REFUSED at ")


def test_a_missing_folder_is_named(place):
    ended = spo("demo", "--data", str(place / "nowhere"), folder=place)
    assert ended.returncode == 2 and "nowhere" in ended.stderr
