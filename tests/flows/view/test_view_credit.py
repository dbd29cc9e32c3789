"""Credit per token under every policy that scored a trajectory, and under one whose weights are at hand."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import torch
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient
from typer.testing import CliRunner

from flows.cli import app as cli
from flows.view import application
from pipeline.store import connect, query
from trainer.objectives import RewardSamples
from trainer.objectives.soft_value import estimate_soft_value
from trainer.policies import load_policy, reference_fingerprint

COUNTS = """
SELECT trials, successes FROM reference_counts WHERE problem_id = $id AND policy_id = 'reference'
"""
FIGURES = r"log pi_ref (-?[\d.e-]+)(?:; log pi (-?[\d.e-]+); difference (-?[\d.e-]+); Q_t (-?[\d.e-]+))?"


@pytest.fixture(scope="module")
def other(place):
    """Another policy than the reference: its head is half as large. It scores one row."""
    folder = place.folder / "others" / "other"
    shutil.copytree(place.folder / "reference", folder)
    weights = load_file(folder / "model.safetensors")
    name = next(one for one in weights if "embed" in one or "head" in one)
    weights[name] = weights[name] * 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    row = next(one for one in place.trajectories if one["scored"] and one["sampled"])
    arguments = ["score", str(folder), "--rows", f"t.trajectory_id = '{row['trajectory_id']}'"]
    done = CliRunner().invoke(cli, [*arguments, "--store", str(place.folder / "store"), "--json"])
    assert done.exit_code == 0, done.output
    names = [reference_fingerprint(load_policy(place.folder / one)) for one in ("reference", "others/other")]
    return SimpleNamespace(row=row, summary=json.loads(done.stdout), reference=names[0], name=names[1])


@pytest.fixture(scope="module")
def stored(place, other):
    """Stored log-probabilities by reference."""
    with connect(place.store) as connection:
        rows = query(
            connection,
            "SELECT reference, logprobs FROM reference_scores WHERE trajectory_id = $id",
            {"id": other.row["trajectory_id"]},
        )
    return dict(rows.iter_rows())


def heat(client, visits, row, **parameters):
    """Figures of each token, as numbers; None where the page has none."""
    rest = "".join(f"&{name}={quote(str(value))}" for name, value in parameters.items())
    shown = visits.page(client, f"/trajectory?id={row['trajectory_id']}{rest}")
    titles = [html.unescape(one) for one in re.findall(r'<span class="t [pm]\d" title="([^"]*)">', shown)]
    return shown, [[one and float(one) for one in re.search(FIGURES, title).groups()] for title in titles]


def test_chosen_rows_are_scored_and_no_others(place, other):
    assert other.summary["scored"] == 1
    with connect(place.store) as connection:
        counted = query(
            connection, "SELECT count(*) FROM reference_scores WHERE reference = $name", {"name": other.name}
        )
    assert counted.item() == 1


def test_a_scored_policy_is_shown_beside_a_reference(client, visits, other, stored):
    _, tokens = heat(client, visits, other.row, policy=other.name, reference=other.reference)
    assert [one[0] for one in tokens] == pytest.approx(stored[other.reference], rel=2e-3)
    assert [one[1] for one in tokens] == pytest.approx(stored[other.name], rel=2e-3)
    swapped = heat(client, visits, other.row, policy=other.reference, reference=other.name)[1]
    assert [one[0] for one in swapped] == [one[1] for one in tokens]


def test_q_is_the_soft_value_plus_beta_times_the_differences_until_the_token(
    place, client, visits, other, stored
):
    beta = 0.25
    _, tokens = heat(client, visits, other.row, policy=other.name, reference=other.reference, beta=beta)
    with connect(place.store) as connection:
        counts = query(connection, COUNTS, {"id": other.row["problem_id"]})
    trials, successes = counts.row(0)
    assert trials > 0
    rewards = torch.tensor([[0.0] * successes + [-1.0] * (trials - successes)])
    counted, ends = torch.ones_like(rewards, dtype=torch.bool), (torch.tensor([-1.0]), torch.tensor([0.0]))
    q = estimate_soft_value(RewardSamples(rewards, counted, *ends), beta).item()
    wanted = []
    for reference, policy in zip(stored[other.reference], stored[other.name], strict=True):
        q += beta * (policy - reference)
        wanted.append(q)
    assert [one[3] for one in tokens] == pytest.approx(wanted, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("colour", ["ratio", "policy", "reference", "gain"])
def test_what_is_asked_for_is_coloured(client, visits, other, colour):
    shown, _ = heat(client, visits, other.row, policy=other.name, reference=other.reference, colour=colour)
    assert f'<option value="{colour}" selected>' in shown


def test_a_policy_at_hand_is_computed_as_it_is_scored(place, client, visits, other, stored):
    shown, tokens = heat(client, visits, other.row, compute="others/other", reference=other.reference)
    assert "others/other, computed now" in shown
    assert [one[1] for one in tokens] == pytest.approx(stored[other.name], rel=2e-3)


def test_a_row_that_nothing_scored_is_computed(place, client, visits, other):
    row = visits.some(place, problem_id=visits.PROBLEM)
    _, tokens = heat(client, visits, row, compute="others/other")
    assert tokens and all(math.isfinite(one[0]) for one in tokens)


@pytest.mark.parametrize("name", ["../reference", "/etc", "none"])
def test_only_policies_below_the_folder_of_runs_are_computed(client, visits, other, name):
    shown = visits.page(client, f"/trajectory?id={other.row['trajectory_id']}&compute={quote(name)}")
    assert "no policy with weights in" in visits.text_of(shown)


def test_a_policy_that_cannot_be_loaded_is_one_line(place, visits, other, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(place.folder / "reference", folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    app = application(str(place.folder / "store"), visits.TOKEN, runs_folder=tmp_path, port=8181)
    with TestClient(app, base_url=visits.BASE) as client:
        client.get(f"/?token={visits.TOKEN}")
        shown = visits.page(client, f"/trajectory?id={other.row['trajectory_id']}&compute=broken")
    assert "not a policy that can be loaded" in visits.text_of(shown)


def test_score_names_a_policy_that_it_does_not_find(place):
    arguments = ["score", "nobody", "--rows", "true", "--store", str(place.folder / "store")]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, "no policy, run or folder nobody" in " ".join(done.output.split())) == (2, True)
