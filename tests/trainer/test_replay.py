"""The plan of replay: its formulas by hand, its estimates on gradients whose expectation is known, and a run
that was really trained.
"""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app
from trainer.run.config import ConfigError, load_config
from trainer.run.execution import run
from trainer.run.replay import (
    AgeBin,
    Agreement,
    age_bins,
    agreement_of,
    choices_of,
    cost_ratio_of,
    plan_replay,
    relative_cost,
    sketch,
)

NEWEST = np.array([1.0, 0.0])
SAME = np.ones((2, 2))


def test_reuse_costs_only_noise_where_gradients_do_not_age():
    """Without noise a use more saves sampling alone: (1 + 3/4) / (1 + 3)."""
    assert relative_cost(SAME, NEWEST, 0.0, 32, 3.0, 1) == pytest.approx(1.0)
    assert relative_cost(SAME, NEWEST, 0.0, 32, 3.0, 4) == pytest.approx(1.75 / 4)
    # Noise as large as the signal: (1 + 3/4) (1 + 4) / ((1 + 3) (1 + 1)).
    assert relative_cost(SAME, NEWEST, 32.0, 32, 3.0, 4) == pytest.approx(1.75 * 5 / 8)


def test_the_cheapest_number_of_uses_is_the_root_of_cost_ratio_by_noise():
    """d/du (1 + mu/u)(1 + u n/B) = 0 at u = sqrt(mu B / n): 4 for mu = 8 and n = B/2."""
    costs = {uses: relative_cost(SAME, NEWEST, 16.0, 32, 8.0, uses) for uses in range(1, 12)}
    assert min(costs, key=lambda uses: costs[uses]) == 4


def test_rows_whose_gradient_is_orthogonal_make_a_window_longer_to_use():
    """Half of the window leads nowhere: |G_w|^2 = 1/2, <G_w, G_0> = 1/2, so twice the steps."""
    assert relative_cost(np.eye(2), np.array([0.5, 0.5]), 0.0, 32, 0.0, 1) == pytest.approx(2.0)
    opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert relative_cost(opposed, np.array([0.5, 0.5]), 0.0, 32, 0.0, 1) == math.inf


def test_agreement_of_gradients_with_a_known_expectation():
    """Newest gradient e1, older one 0.6 e1 + 0.8 e2, noise of variance 4 a row in 200 dimensions."""
    generator, batch, count = torch.Generator().manual_seed(0), 16, 60
    expected = torch.zeros(2, 200)
    expected[0, 0], expected[1, 0], expected[1, 1] = 1.0, 0.6, 0.8
    noise = (4.0 / batch) ** 0.5 * torch.randn(2, count, 200, generator=generator)
    agreement = agreement_of(list(expected[:, None] + noise), batch)
    assert agreement.noise == pytest.approx(4.0 * 200, rel=0.05)
    assert agreement.similarity[1] == pytest.approx(0.6, abs=3 * agreement.error[1])
    assert agreement.inner[1, 1] == pytest.approx(1.0, abs=0.15) and 0.01 < agreement.error[1] < 0.2


def test_noise_alone_is_seldom_taken_for_signal():
    """Of 200 sets of batches of pure noise at most a few are two standard errors above 0."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(200, 2, 12, 50, generator=generator)
    found = [agreement_of(list(one), 16) for one in noise]
    assert sum(one.inner[0, 0] > 2 * one.signal_error for one in found) <= 12
    assert sum(one.inner[0, 0] > 0 for one in found) > 60  # half of them are above 0 by chance


def test_two_batches_show_no_signal_however_alike_they_are():
    alike = [torch.ones(2, 50), torch.ones(3, 50)]
    assert agreement_of(alike, 16).signal_error == math.inf
    assert agreement_of(alike[::-1], 16).signal_error == pytest.approx(0.0, abs=1e-6)


def test_a_sketch_keeps_inner_products():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 50_000, generator=generator)
    small = [sketch([value[:20_000], value[20_000:]], size=4096) for value in (one, one + other)]
    assert float(small[0] @ small[1]) == pytest.approx(50_000, rel=0.1)
    assert torch.equal(sketch([one, other]), torch.cat([one, other]))


def test_ages_are_binned_from_the_newest_and_the_rest_joins_the_oldest():
    assert age_bins({0: 40, 4: 40, 8: 40, 12: 10}, 16, 3) == [
        AgeBin(0, 5, 80),
        AgeBin(5, 13, 50),
    ]
    assert age_bins({0: 10}, 16, 3) == []


def test_a_window_holds_a_batch_and_of_equal_cost_the_larger_comes_first():
    bins = [AgeBin(0, 4, 100), AgeBin(4, 16, 100)]
    choices = choices_of(Agreement(SAME, 0.0, np.ones(2), np.zeros(2), 0.0), bins, 32, 3.0)
    assert [(one.uses, one.window) for one in choices[:2]] == [(16, 32), (12, 43)]
    assert all(one.window >= 32 for one in choices) and choices[-1].cost == pytest.approx(1.0)


def test_the_cost_of_a_fresh_row_comes_from_the_log(tmp_path):
    lines = [
        {"seconds": 9.0, "data_seconds": 5.0, "fresh_seconds": 4.0, "rows": 8, "fresh": {"rows": 4}},
        {"seconds": 4.0, "data_seconds": 0.0, "fresh_seconds": 0.0, "rows": 8},
    ]
    assert cost_ratio_of(tmp_path, lines) == pytest.approx(1.0 / 0.5)
    with pytest.raises(ConfigError, match="give their cost as --cost-ratio"):
        cost_ratio_of(tmp_path, lines[1:])


CONFIG = """
run = "{folder}/mine"
store = "{store}"
reference = "{reference}"
reference_policy = "reference"
allow_leaks = ["ngrams", "same", "itself"]
[training]
steps = 6
[optimiser]
learning_rate = 1e-3
[mixture]
batch_sequences = 4
[[source]]
name = "samples"
where = "j.policy_id = 'reference'"
weight = 1.0
[online]
from_step = 0
every = 2
problems = 3
sampling = {{samples_per_problem = 4, max_new_tokens = 12, batch_size = 8}}
"""


def test_a_trained_run_is_planned_and_left_as_it_was(job, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(CONFIG.format(folder=tmp_path, store=job.store.location, reference=job.folder))
    run(load_config(path))
    before = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "mine").rglob("*"))
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "mine"), "--ages", "3", "--json"])
    if done.exit_code:  # gradients of a policy that learns nothing may not agree: that is said
        assert "gradients of batches of the newest rows do not agree" in str(done.exception)
    else:
        planned = json.loads(done.stdout)
        assert planned["step"] == 6 and planned["batch"] == 4 and planned["cost_ratio"] > 0
        assert planned["bins"][0]["low"] == 0 and planned["similarity"][0] == 1.0
        costs = [one["cost"] for one in planned["choices"]]
        assert costs == sorted(costs) and max(costs) < float("inf")
    assert before == sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "mine").rglob("*"))
    with pytest.raises(ConfigError, match="too few judged fresh rows"):
        plan_replay(offline_run(tmp_path), cost_ratio=1.0)


def offline_run(folder):
    """A run without fresh rows of its own policies."""
    text = (folder / "mine.toml").read_text().split("[online]")[0].replace("/mine", "/offline")
    (folder / "offline.toml").write_text(text)
    run(load_config(folder / "offline.toml"))
    return folder / "offline"
