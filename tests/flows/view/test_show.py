"""`spo show`: whatever has an id, as text that no row of the store can turn into anything else."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app


@pytest.fixture
def show(place):
    def run(*arguments):
        return CliRunner().invoke(app, ["show", *arguments, "--store", str(place.folder / "store")])

    return run


def test_control_characters_of_a_row_are_escapes(place, visits, show):
    for identity in (visits.PROBLEM, visits.some(place, problem_id=visits.PROBLEM)["trajectory_id"]):
        done = show(identity)
        assert done.exit_code == 0, done.output
        assert "<script>window.owned=1</script>" in done.stdout
        assert not {"\x1b", "\u202e"} & set(done.stdout)


def test_markup_of_a_row_is_text(show, place):
    done = show(place.refused[0])
    assert "window.owned" in done.stdout


def test_json_has_the_verdict_and_the_first_failure(place, visits, show):
    wrong = visits.some(place, verdict="wrong_answer", origin="human")
    facts = json.loads(show(wrong["trajectory_id"], "--json").stdout)
    assert facts["kind"] == "trajectory"
    assert facts["verdicts"][0]["verdict"] == "wrong_answer"
    assert facts["failure"]["test_id"] == facts["verdicts"][0]["first_failure"]


def test_a_failed_program_is_shown_with_what_it_printed(place, visits, show):
    done = show(visits.some(place, verdict="wrong_answer", origin="human")["trajectory_id"])
    assert "first failure: test" in done.stdout
    assert "expected (-) and printed (+)" in done.stdout


def test_a_policy_and_a_corpus_have_pages(place, show):
    assert "fingerprint" in show("reference").stdout
    assert "SELECT trajectory_id FROM judged" in show(place.corpus).stdout


def test_an_unknown_id_is_refused(show):
    done = show("nothing")
    said = " ".join(done.output.replace("\u2502", " ").split())  # without the frame, where lines are folded
    assert (done.exit_code, "whole id nothing" in said) == (2, True)
