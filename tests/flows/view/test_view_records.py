"""Pages of one record and of runs show what the store and the logs hold."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from flows.view import application
from flows.view.runs import smoothed
from pipeline.store import connect, query
from pipeline.text import visible
from trainer.policies import load_policy

FIRST_FAILURE = """
SELECT t.expected_output, v.first_failure,
    list_filter(v.tests, lambda x: x.test_id = v.first_failure)[1].output_head AS output
FROM verdicts v JOIN tests t ON t.problem_id = v.problem_id AND t.test_id = v.first_failure
WHERE trajectory_id = $id
"""
SCORES = """
SELECT logprobs, completion_ids, token_logprobs FROM reference_scores
JOIN trajectories USING (trajectory_id) WHERE trajectory_id = $id
AND reference = (SELECT reference FROM reference_policies ORDER BY begun_at LIMIT 1)
"""


def test_a_failed_trajectory_shows_its_first_failure(place, client, visits):
    wanted = {"id": visits.some(place, verdict="wrong_answer", origin="human")["trajectory_id"]}
    shown = visits.page(client, f"/trajectory?id={wanted['id']}")
    with connect(place.store) as connection:
        row = query(connection, FIRST_FAILURE, wanted).to_dicts()[0]
    failure = shown.split('id="failure"')[1].split('id="program"')[0]
    lines = {
        kind: re.findall(rf'"{kind}"><span class="sign">.</span>(.*?)</span>', html.unescape(failure))
        for kind in ("removed", "added")
    }
    assert f"First failure: test {row['first_failure']}" in visits.text_of(shown)
    assert row["expected_output"].splitlines()[0] in lines["removed"]
    assert row["output"].splitlines()[0] in lines["added"]


def test_the_nearest_accepted_program_is_one_by_a_human_that_passes(place, client, visits):
    wrong = visits.some(place, verdict="wrong_answer", origin="human")
    shown = visits.page(client, f"/trajectory?id={wrong['trajectory_id']}").split('id="nearest"')[1]
    row = visits.some(place, trajectory_id=re.search(r"/trajectory\?id=([0-9a-f]{32})", shown)[1])
    assert (row["verdict"], row["origin"], row["problem_id"]) == ("accepted", "human", wrong["problem_id"])


def test_credit_shows_the_stored_numbers_and_the_texts_of_tokens(place, client, visits):
    wanted = {"id": visits.some(place, scored=True, sampled=True)["trajectory_id"]}
    shown = visits.page(client, f"/trajectory?id={wanted['id']}")
    with connect(place.store) as connection:
        stored = query(connection, SCORES, wanted).to_dicts()[0]
    cells = re.findall(r'<span class="t [pm]\d" title="([^"]*)">([^<]*)</span>', shown)
    titles, texts = ([html.unescape(one) for one in part] for part in zip(*cells, strict=True))
    tokenizer = load_policy(place.folder / "reference").tokenizer
    assert texts == [visible(tokenizer.decode([token])) for token in stored["completion_ids"]]
    for name, values in (("log pi_ref", stored["logprobs"]), ("log pi", stored["token_logprobs"])):
        written = [float(re.search(rf"{name} (-?[\d.e-]+)", title)[1]) for title in titles]
        assert written == pytest.approx(values, rel=1e-3)


def test_a_tokenizer_of_a_folder_elsewhere_is_not_read(place, visits):
    # A row names that folder; only what is below the user's own folder of runs is opened.
    app = application(str(place.folder / "store"), visits.TOKEN, runs_folder=place.folder / "runs", port=8181)
    client = TestClient(app, base_url=visits.BASE)
    client.get(f"/?token={visits.TOKEN}")
    identity = visits.some(place, scored=True, sampled=True)["trajectory_id"]
    assert "Tokens are shown by id" in visits.page(client, f"/trajectory?id={identity}")


def test_a_problem_lists_all_its_trajectories(place, client, visits):
    problem = visits.some(place, verdict="accepted", origin="human")["problem_id"]
    shown = visits.page(client, f"/problem?id={quote(problem)}")
    wanted = {row["trajectory_id"] for row in place.trajectories if row["problem_id"] == problem}
    assert set(re.findall(r"/trajectory\?id=([0-9a-f]{32})", shown)) == wanted


def test_pass_rates_are_those_of_the_view(place, client, visits):
    problem = visits.some(place, verdict="accepted", origin="human")["problem_id"]
    shown = visits.text_of(visits.page(client, f"/problem?id={quote(problem)}"))
    with connect(place.store) as connection:
        rates = query(connection, "SELECT rate FROM problem_success WHERE problem_id = $id", {"id": problem})
    assert all(f"{100 * rate:.1f} %" in shown for rate in rates["rate"])


@pytest.mark.parametrize("kind", ["trajectory", "problem", "corpus", "refused", "policy"])
def test_an_id_is_found_whatever_it_names(place, client, kind):
    first = place.trajectories[0]
    identity = {
        "trajectory": first["trajectory_id"],
        "problem": first["problem_id"],
        "corpus": place.corpus,
        "refused": place.refused[0],
        "policy": "reference",
    }[kind]
    assert client.get(f"/find?id={quote(identity)}").url.path == f"/{kind}"


def test_a_refused_row_is_shown_whole(place, client, visits):
    assert "window.owned=1" in visits.text_of(visits.page(client, f"/refused?id={place.refused[0]}"))
    assert place.refused[0] in visits.page(client, "/quarantine")


def test_curves_of_two_runs_are_in_one_chart(client, visits):
    shown = visits.page(client, "/run?run=runs/one&run=runs/two&smooth=1")
    loss = next(part for part in shown.split("<figure>") if "<figcaption>Loss" in part)
    steps = [("one", 4), ("one", 3), ("one", 2), ("one", 1), ("two", 12), ("two", 9), ("two", 6), ("two", 3)]
    wanted = [f"runs/{name}: step {i % 4}: {value}" for i, (name, value) in enumerate(steps)]
    assert re.findall(r"<title>([^<]+)</title>", loss) == wanted
    assert ">step</text>" in loss and ">loss</text>" in loss


def test_settings_that_differ_are_shown_side_by_side(client, visits):
    shown = visits.page(client, "/run?run=runs/one&run=runs/two")
    assert re.search(r"objective\.beta</th><td>1\.0</td><td>3\.0</td>", shown)


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show(client, visits):
    shown = visits.page(client, "/run?run=runs/one&smooth=1&log=1")
    chart = next(part for part in shown.split("<figure>") if "<figcaption>KL" in part)
    assert len(re.findall("<title>", chart)) == 3  # the first of four values is 0


def test_running_means_are_over_the_last_values():
    assert smoothed([2.0, 4.0, 9.0, 1.0], 2) == [2.0, 3.0, 6.5, 5.0]


def test_a_step_shows_its_figures_by_source(client, visits):
    assert "accepted 2" in visits.text_of(visits.page(client, "/step?run=runs/one&step=2"))
    assert client.get("/step?run=runs/one&step=9").status_code == 404
