"""The comparison of objectives: every cell is a valid run, and its figures become the table by hand."""

import json
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

from trainer.run.checks import check_settings

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from tests.benchmarks import rivals, rivals_plots, rivals_report, rivals_results, rivals_signal  # noqa: E402
from tests.benchmarks.rivals import best_configurations  # noqa: E402
from tests.benchmarks.rivals_cells import (  # noqa: E402
    BUDGETS,
    METHODS,
    SHORT,
    Cell,
    Configuration,
    config_of,
    final_cells,
    tuning_cells,
)


def cell(method, condition, seed, correct, **more):
    """Two problems with 10 samples each."""
    value = 3_000_000 if method == "ppo" else 0
    figures = {
        "method": method, "condition": condition, "seed": seed, "group": f"{method}, {condition}",
        "problems": {"problem_id": ["a", "b"], "samples": [10, 10], "correct": correct,
                     "distinct_correct": [min(2, n) for n in correct]},
        "pass_1": sum(correct) / 20, "pass_10": sum(map(bool, correct)) / 2, "distinct_correct": 1.0,
        "solved_once": 1, "rows": 100, "samples_fresh": 64, "samples_reference": 0, "hand_overs": 2,
        "cpu_s": {"update": 3.0 if method == "ppo" else 1.0, "sample": 1.0}, "peak_mb": 500, "resumed": False,
        "bytes": {"policy": 1_000_000, "moments": 2_000_000, "value_network": value, "value_moments": 0,
                  "reference": 0}, "commit": "abc",
        "machine": "m", "command": "./run bench rivals --budget small",
        "curve": [{"step": step, "fresh": 10 * step, "cpu_s": 2.0 * step, "pass_1": 0.1 * step + seed,
                   "pass_10": 0.2 * step} for step in (1, 2)],
    }  # fmt: skip
    return figures | more


CELLS = [
    cell("spo", "half", 0, [10, 5]),
    cell("spo", "half", 1, [10, 1]),
    cell("spo", "online", 0, [10, 0]),
    cell("ppo", "online", 0, [10, 0]),
    cell("ppo", "online", 1, [0, 0]),
    cell("sft", "successes", 0, [5, 5]),
]


def test_ratios_by_hand():
    figures = rivals_report.ratios(CELLS)
    assert (figures["methods"], figures["cells"], figures["seeds"]) == (3, 6, 2)
    assert figures["spo_pass10"] == 1.0 and figures["ppo_pass10"] == 0.25
    assert figures["speed_ratio"] == 3.0 and figures["memory_saving"] == 0.6
    assert figures["halfonline_minus_online"] == 0.5 and figures["human_gain"] == 0.0
    assert (figures["collapsed_spo"], figures["collapsed_ppo"]) == (0, 1)


def test_what_a_budget_lacks_is_null():
    figures = rivals_report.ratios([CELLS[0]])
    assert figures["ppo_pass10"] is None and figures["speed_ratio"] is None
    assert figures["collapsed_ppo"] is None and figures["spo_minus_ppo_low"] is None


@pytest.mark.parametrize(
    "k, samples, correct, expected", [(1, 10, 3, 0.3), (10, 10, 1, 1.0), (2, 4, 2, 5 / 6)]
)
def test_pass_at_k_by_hand(k, samples, correct, expected):
    assert rivals_report.pass_at(k, samples, correct) == pytest.approx(expected)


def test_the_report_answers_what_the_cells_can_answer(tmp_path):
    (tmp_path / "results").mkdir()
    reference = cell("start", "start", 0, [0, 0]) | {"pass_1": 0.1, "pass_10": 0.3, "distinct_correct": 0.5}
    (tmp_path / "results" / "rivals-small.json").write_text(
        json.dumps({"reference": reference, "tuned": [], "cells": CELLS})
    )
    rivals_results.write(tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| on the 2 problems that the start solves in less than 1 of 50 samples |" in text
    assert "## small: 6 cells" in text and "`./run bench rivals --budget small`, commit abc" in text
    assert "| SPO above PPO at pass@10 (spo, half - ppo, online) |" in text and "SPO above GRPO" not in text
    answers = [line for line in text.splitlines() if line.startswith(("| SPO ", "| PPO ", "| Half-"))]
    assert answers and all(line.endswith("| no answer: fewer than 3 seeds |") for line in answers)
    assert text.count("\n| spo, ") == 8 and "start: pass@1 0.100" in rivals_report.table(reference, CELLS)


def test_the_condition_is_chosen_on_the_validation_split_and_not_on_test_problems():
    better = [{"step": 1, "fresh": 0, "cpu_s": 1.0, "pass_1": 0.5, "pass_10": 0.9}]
    cells = [cell("spo", "half", 0, [0, 0], curve=better), cell("spo", "online", 0, [10, 10])]
    assert [one["group"] for one in rivals_report.best_group(cells, "spo")] == ["spo, half"]


def test_distinct_programs_costs_and_memory_are_in_the_report():
    cells = [cell(name, "online", seed, [10, seed]) for name in ("spo", "ppo") for seed in range(3)]
    lines = rivals_report.questions(cells)
    assert "| SPO above PPO in distinct programs (spo, online - ppo, online) | 0.000" in "".join(lines)
    assert "| 3.00 times (3.00 to 3.00 over pairs of seeds) | yes |" in lines[-3]
    assert "(spo, online) | 60.0 % | no |" in lines[-2]
    assert "| 0 and 0 runs | not shown |" in lines[-1]


def test_curves_begin_at_the_start_and_are_means_over_seeds(tmp_path):
    start = {"start_of_curve": {"pass_1": 0.0, "pass_10": 0.1}}
    spo = [cell("spo", "half", seed, [1, 1], samples_reference=5, resumed=bool(seed)) for seed in (0, 1)]
    points = rivals_plots.curves(start, spo)["spo, half"]
    assert [point["samples"] for point in points] == [5, 15, 25]
    assert [point["cpu_s"] for point in points] == [0, 2, 4]  # of the seed that was not resumed
    assert [round(point["pass_1"], 6) for point in points] == [0, 0.6, 0.7]
    rivals_plots.write_curves(tmp_path / "a.svg", start, spo)
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_the_tuning_shows_what_was_best(tmp_path):
    tuned = [
        cell("sft", "successes", 0, [1, n], rate=rate, objective={}) for n, rate in ((0, 1e-4), (1, 1e-3))
    ]
    text = "\n".join(rivals_results.tried(tmp_path / "rivals-tuning.json", tuned))
    assert "| sft, successes | 0.001 |  | 0.100 | **1.000 [1.000, 1.000]** |" in text
    assert "| sft, successes | 0.0001 |  | 0.050 | 0.500 [0.000, 1.000] |" in text


def test_the_share_of_signal_by_hand():
    """Cosines 1, 0 and 0 of three gradients: mean 1/3; each pair without one: 0, 0, 1."""
    gradients = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    share, error = rivals_signal.signal_share(gradients)
    assert share == pytest.approx(1 / 3)
    assert error == pytest.approx((2 / 3 * (1 / 9 + 1 / 9 + 4 / 9)) ** 0.5)


def test_a_batch_without_a_gradient_agrees_with_none():
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert rivals_signal.signal_share(gradients)[0] == pytest.approx(1 / 3)


def test_gradients_of_one_direction_and_noise_agree_in_the_share_of_the_direction():
    torch.manual_seed(0)
    gradients = torch.randn(200, 2000) + 2.0 * torch.nn.functional.one_hot(torch.tensor(3), 2000) * 2000**0.5
    share, error = rivals_signal.signal_share(gradients)
    assert share == pytest.approx(4 / 5, abs=4 * error) and error < 0.01


def test_gains_over_the_start_by_hand():
    start = cell("start", "start", 0, [0, 0])
    cells = [cell("spo", "half", 0, [10, 10]), cell("sft", "successes", 0, [10, 0])]
    lines = rivals_report.gains(start, cells)
    assert lines[2] == (
        "| spo, half | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 2.000 [2.000, 2.000] | yes |"
    )
    assert lines[3].endswith("| not shown |")  # one problem of two


def test_hard_problems_are_those_that_the_start_rarely_solves():
    start = cell("start", "start", 0, [1, 0])
    count, rows = rivals_report.on_hard_problems(start, [cell("spo", "half", 0, [10, 4])])
    assert count == 1
    assert rows == [
        ["spo, half", "0.400 [0.400, 0.400]", "1.000 [1.000, 1.000]", "-", "2.000 [2.000, 2.000]"]
    ]


def test_a_speed_is_shown_where_all_pairs_of_seeds_are_above_the_bar():
    def timed(method, *seconds):
        return [cell(method, "online", s, [1, 1], cpu_s={"update": t}) for s, t in enumerate(seconds)]

    spo, slow = timed("spo", 1.0, 1.1, 1.0), timed("ppo", 2.2, 2.6, 2.5)
    assert rivals_report.speed_range(spo, slow) == pytest.approx((2.0, 2.6))
    assert "not shown" in rivals_report.questions(spo + slow)[-3]
    assert "| no |" in rivals_report.questions(spo + timed("ppo", 2.0, 2.1, 2.2))[-3]


def test_an_uneven_tuning_is_named():
    spo, ppo = cell("spo", "half", 0, [1, 1]), cell("ppo", "online", 0, [1, 1])
    (sentence,) = rivals_results.evenness([spo, spo, ppo])
    assert "not even" in sentence and "spo, half 2, ppo, online 1; 1 seed(s)" in sentence
    assert rivals_results.evenness([spo, ppo]) == ["Configurations of each: 1, 1 seed(s)."]


def every_cell():
    return chain.from_iterable(
        chain(tuning_cells(budget), final_cells(budget, {})) for budget in BUDGETS.values()
    )


def test_every_cell_is_a_run_whose_needs_its_settings_meet(tmp_path):
    seen = set()
    for one in every_cell():
        config = config_of(one, BUDGETS["full"], tmp_path)
        needs = config.objective.build().needs
        check_settings(config.training, needs)
        assert not needs.groups or all(source.group for source in config.source), one.name
        assert (config.online is None) == (one.condition in ("offline", "successes"))
        seen.add(one.method)
    assert seen == set(METHODS)


def test_cells_of_a_store_that_all_share_draw_no_fresh_samples_of_others(tmp_path):
    for one in every_cell():
        run_id = f"rivals/{one.name}"
        for source in config_of(one, BUDGETS["full"], tmp_path).source:
            own = source.where == "j.origin = 'online' and j.run_id = $run" and source.parameters == {
                "run": run_id
            }
            stored = "j.origin = 'human'" in source.where or "j.policy_id = 'reference'" in source.where
            assert own or (stored and "online" not in source.where), one.name


def test_a_hard_budget_trains_and_is_evaluated_on_hard_problems_alone(tmp_path):
    (tmp_path / "hard.json").write_text(json.dumps({"train": ["a"], "valid": ["b"], "test": ["c"]}))
    for one in final_cells(BUDGETS["hard"], {}):
        config = config_of(one, BUDGETS["hard"], tmp_path)
        assert "problem_id in ('c')" in config.evaluation
        assert config.online is None or config.online.problems_where.endswith(" and problem_id in ('a')")
        stored = [source.where for source in config.source if source.name != "fresh"]
        assert all("problem_id in ('a')" in where for where in stored)


def test_a_variant_differs_in_one_setting_and_its_group_names_it(tmp_path):
    budget = BUDGETS["variants"]
    cells = list(final_cells(budget, {}))
    plain = {one.condition: config_of(one, budget, tmp_path) for one in cells if one.phase == "final"}
    varied = [one for one in cells if one.phase == "varied"]
    assert len({one.group for one in varied}) == len(budget.variants) and len(varied) == 3 * 15
    for one in varied:
        own, base = config_of(one, budget, tmp_path), plain[one.condition]
        changed = set(own.objective.model_dump().items()) - set(base.objective.model_dump().items())
        others = zip(own.source, base.source, strict=True)
        data = {(a.name, name) for a, b in others for name, value in a if value != dict(b)[name]}
        data -= {("fresh", "parameters")}
        together = {"failure_weight_cap", "smoothing", "human, right"} <= {*one.objective, *one.data}
        assert len(changed) + len(data) == (3 if together else 1), one.name
    groups = {one.group for one in varied}
    assert {"spo, offline, beta 0.03", "spo, half, window 128", "spo, offline, shape squared"} <= groups


def test_as_many_configurations_are_tried_of_each_method():
    assert {len(method.tried) for method in METHODS.values()} == {4}
    names = [one.name for one in tuning_cells(BUDGETS["tuning"])]
    assert len(set(names)) == len(names) == 4 * (len(SHORT) - 1)
    assert not list(final_cells(BUDGETS["tuning"], {}))


def test_the_best_configuration_on_the_validation_split_is_compared():
    tuned = [
        {"group": "spo, half", "pass_10": value, "rate": 1e-3, "objective": {"smoothing": smoothing}}
        for value, smoothing in ((0.2, 0.5), (0.4, 0.1), (0.3, 0.0))
    ]
    best = best_configurations(tuned)
    assert best == {"spo, half": Configuration(1e-3, {"smoothing": 0.1})}
    cells = {one.group: one for one in final_cells(BUDGETS["short"], best)}
    assert cells["spo, half"].objective == {"smoothing": 0.1} and cells["spo, half"].rate == 1e-3
    assert cells["spo, offline"].configuration == METHODS["spo"].best("offline")
    assert config_of(cells["spo, half"], BUDGETS["short"], Path("/x")).objective.smoothing == 0.1


def test_a_run_after_sft_begins_from_the_sft_of_its_seed_and_is_held_near_to_it(tmp_path):
    best = {"sft, successes": Configuration(1e-3), "ppo, online": Configuration(2e-5)}
    cells = [one for one in final_cells(BUDGETS["medium"], best) if one.seed == 1]
    names = [one.name for one in cells]
    (after,) = (one for one in cells if one.group == "ppo, after-sft")
    assert after.rate == 2e-5 and names.index(after.start) < names.index(after.name)
    config = config_of(after, BUDGETS["medium"], tmp_path)
    assert config.reference == tmp_path / "runs" / "final-sft-successes-0.001-1" / "final"
    assert config.reference_policy == config_of(cells[0], BUDGETS["medium"], tmp_path).run_id
    assert not [one for one in tuning_cells(BUDGETS["full"]) if one.condition == "after-sft"]


def test_kept_figures_are_done_and_a_lost_start_is_run_again(tmp_path, monkeypatch):
    sft, after = Cell("sft", "successes", 1e-3, 0), Cell("ppo", "after-sft", 1e-4, 0)
    after = replace(after, start=sft.name)
    figures = {"tuned": [], "cells": [vars(sft) | {"pass_1": 0.5}]}
    (tmp_path / "rivals-medium.json").write_text(json.dumps(figures))
    monkeypatch.setattr(rivals, "RESULTS", tmp_path)
    rivals.take_kept("medium", tmp_path)
    done = rivals.path_of(sft, tmp_path)
    assert json.loads(done.read_text())["pass_1"] == 0.5
    rivals.with_starts([sft], tmp_path)
    assert done.exists()
    assert rivals.with_starts([sft, after], tmp_path) == [sft, after] and not done.exists()


def test_figures_of_another_start_are_not_put_beside_those_of_this_one(tmp_path, monkeypatch):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "model.safetensors").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes
    monkeypatch.setattr(rivals, "RESULTS", tmp_path)
    kept = {"tuned": [], "cells": [], "reference": {"pass_10": 0.3, "weights": empty}}
    (tmp_path / "rivals-medium.json").write_text(json.dumps(kept))
    assert rivals.take_kept("medium", tmp_path) == kept["reference"]
    (tmp_path / "reference" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(SystemExit, match="another reference"):
        rivals.take_kept("medium", tmp_path)


def test_online_methods_draw_as_many_fresh_samples_and_half_online_half_as_many(tmp_path):
    def fresh(condition):
        online = config_of(Cell("spo", condition, 1e-3, 0), BUDGETS["full"], tmp_path).online
        return 480 // online.every * online.problems * online.sampling.samples_per_problem

    assert fresh("online") == fresh("stale") == 480 * 32 and fresh("half") == 240 * 32
