"""Tables and counts as a narrow terminal shows them: numbers whole, texts folded, nothing cut off."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.common import STORE, show_next
from flows.display import terminal
from flows.work.ingest import show_ingested
from pipeline.ingest.ingestion import BatchSummary, ingest
from pipeline.store.store import Store

FILE = "data/a_file_with_quite_a_long_name_and_then_some_more_of_it.jsonl.gz"
REASON = "program: is empty, and there is no completion either"


@pytest.fixture
def screen(monkeypatch):
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    monkeypatch.setattr(terminal, "console", console)
    return console.file


def lines(screen):
    return [line.rstrip() for line in screen.getvalue().splitlines() if line.strip()]


def test_numbers_stand_whole_and_texts_are_folded(screen):
    row = {"file": FILE, "read": 1_234_567, "accepted": 7_654_321, "seconds": 4.26, "reason": REASON}
    terminal.show_table("Title", [row, {**row, "read": 5, "seconds": None}])
    shown = lines(screen)
    assert shown[0] == "Title" and all(len(line) <= 80 for line in shown)
    assert "1,234,567  7,654,321      4.3  " in screen.getvalue() and "…" not in screen.getvalue()
    begin = shown[1].index("reason")
    folded = [line[begin:].strip() for line in shown[2:]]
    assert " ".join(folded).split() == REASON.split() * 2
    assert "".join(line.split("  ")[0] for line in shown[2:]).startswith(FILE)


def test_a_single_wide_row_stands_a_value_a_line(screen):
    terminal.show_table(
        "One", [{"a first column of some width": 47_902, "the file": FILE, "another, to be wide": 30_287}]
    )
    assert lines(screen)[1:] == [
        "a first column of some width  47,902",
        f"the file                      {FILE[:48]}",
        f"                              {FILE[48:]}",
        "another, to be wide           30,287",
    ]
    screen.truncate(screen.seek(0))
    terminal.show_table("Two", [{"n": 1, "m": 0.5}])
    assert [line.split() for line in lines(screen)] == [["Two"], ["n", "m"], ["1", "0.500"]]


def test_the_count_of_a_progress_bar_is_not_cut(screen):
    bar = Progress(terminal.Count(), console=terminal.console)
    bar.add_task("x", total=20_034_000, completed=14_989_000)
    (task,) = bar.tasks
    assert terminal.Count().render(task).plain == "14,989,000/20,034,000"
    task.total = None
    assert terminal.Count().render(task).plain == "14,989,000"


def test_an_ingestion_is_shown_with_sums_and_reasons(screen):
    first = BatchSummary("b", "bundle", "data/problems.jsonl.gz", 4_909, 4_909, 0, 0, {}, {}, 2.0)
    second = replace(
        first, source_file=FILE, read=1_000, accepted=600, present=49, quarantined=351, reasons={REASON: 351}
    )
    show_ingested("../data", [first, second])
    text = " ".join(screen.getvalue().split())
    assert (
        "all 2 files 5,909 5,509 49 351 4.0" in text and "problems.jsonl.gz 4,909 4,909 0 0 2.0 new" in text
    )
    assert REASON in text
    screen.truncate(screen.seek(0))
    show_ingested("../data", [replace(first, was_finished=True)])
    text = " ".join(screen.getvalue().split())
    assert text.endswith("problems.jsonl.gz 4,909 4,909 0 0 known")


def test_what_to_do_next_names_a_store_that_is_not_the_usual_one(screen):
    show_next(STORE, "spo deduplicate")
    show_next("s3://bucket/store", "spo quarantine show    # the refused rows", "spo deduplicate")
    assert lines(screen) == [
        "next: spo deduplicate",
        "next: spo quarantine show --store s3://bucket/store    # the refused rows",
        "      spo deduplicate --store s3://bucket/store",
    ]


def test_a_command_on_another_store_says_how_to_go_on_with_that_one(screen, tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"problem_id": "p"}\n')
    store = str(tmp_path / "another store")
    assert [s.quarantined for s in ingest(Store(store), "plain", str(tmp_path))] == [1]
    ran = CliRunner().invoke(app, ["quarantine", "list", "--store", store])
    assert ran.exit_code == 0, ran.output
    assert lines(screen) == [
        f"next: spo quarantine show --store '{store}'    # the rows themselves",
        f"      spo quarantine retry --store '{store}'    # after a fix",
    ]
