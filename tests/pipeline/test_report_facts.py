"""The facts of the report against numbers worked out by hand: conclusions about training, curves, numbers
as text.
"""

import json

import numpy as np
import pytest

from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.report import text
from pipeline.evaluation.report.comparison import METRICS, compare, outcome_of
from pipeline.evaluation.report.configurations import configurations
from pipeline.evaluation.report.curves import curves, running_mean
from pipeline.evaluation.report.runfolder import Run, Seed, read_metrics


def evaluation(rows, policy, problem, correct, samples=20, **columns):
    settings = {"temperature": 0.4, "samples_per_problem": 20, "seed": columns.get("seed") or 0}
    return {
        "policy_id": policy,
        "problem_id": problem,
        "settings": json.dumps(settings),
        "split": "test",
        "samples": samples,
        "correct": correct,
        "distinct_correct": min(correct, 3),
        "judge_errors": max(0, 20 - samples),
        "evaluated_at": rows.day,
    } | columns


def run_of(*policies):
    return Run("run", "", "", {}, "ref", [Seed(policy, i, []) for i, policy in enumerate(policies)], [], {})


def curves_of(*seeds):
    return curves(configurations([Run("run", "", "", {}, "ref", list(seeds), [], {})]))


def step(number, **figures):
    sources = {"human": {"log_ratio": -float(number)}, "reference": {"log_ratio": 0.5}}
    return {
        "step": number,
        "tokens": 1000,
        "gradient_norm": 1.0,
        "loss": 1.0 / (number + 1),
        "residual": 0.1,
        "q_success": -0.1,
        "q_failure": -0.9,
        "q_above_zero": 0.0,
        "sources": sources,
        "data_seconds": 0.5,
        "seconds": 2.0,
        "watermark": {"verdicts": 3 + number // 4},
    } | figures


def compared(rows, evaluations, *policies):
    return compare(rows.frame("evaluations", evaluations), run_of(*policies))


# ---- what is claimed of training


@pytest.mark.parametrize(
    ("low", "high", "problems", "outcome"),
    [
        (0.001, 0.2, 50, "helped"),
        (-0.2, -0.001, 50, "made worse"),
        (0.0, 0.2, 50, "inconclusive"),
        (-0.011, 0.002, 50, "inconclusive"),
        (-0.01, 0.01, 50, "did not help"),
        (0.0, 0.0, 50, "did not help"),
        (0.3, 0.5, 9, "inconclusive"),
        (0.3, 0.5, 10, "helped"),
    ],
)
def test_an_outcome_is_what_its_interval_carries(low, high, problems, outcome):
    assert outcome_of(Estimate((low + high) / 2, low, high, problems), margin=0.01) == outcome


def test_before_and_after_worked_by_hand(rows):
    names = [f"p{i:02}" for i in range(12)]
    evaluations = [evaluation(rows, "ref", name, i) for i, name in enumerate(names)]
    evaluations += [evaluation(rows, "a", name, i + 4, seed=1) for i, name in enumerate(names)]
    evaluations += [evaluation(rows, "b", name, i, seed=2) for i, name in enumerate(names)]
    actual = compared(rows, evaluations, "a", "b").findings[0]
    # Correct of 20: 0..11 before, mean 5.5; 4..15 and 0..11 after, mean 7.5. Each problem gains (4 + 0) / 2
    # of 20.
    assert actual.before.mean == pytest.approx(5.5 / 20)
    assert actual.after.mean == pytest.approx(7.5 / 20)
    # Each seed's gain is the same on every problem, so problems add nothing to the interval; one of two seeds
    # is drawn.
    assert (actual.change.low, actual.change.mean, actual.change.high) == pytest.approx((0.0, 0.1, 0.2))
    assert actual.outcome == "inconclusive"
    assert [result.change.mean for result in actual.seeds] == pytest.approx([0.2, 0.0])
    assert actual.sentence.replace("\u202f", "") == (
        "Mean pass@1 went from 27.5% to 37.5% (+10.0 points; 95 % interval 0.0 to +20.0, 12 problems):"
        " the result is inconclusive, because the interval includes 0."
        " Of 2 seeds, 1 went up and 0 went down, 1 did not change."
    )


def test_seeds_that_agree_say_that_training_helped(rows):
    names = [f"p{i:02}" for i in range(12)]
    evaluations = [evaluation(rows, "ref", name, i) for i, name in enumerate(names)]
    evaluations += [evaluation(rows, "a", name, i + 4, seed=1) for i, name in enumerate(names)]
    evaluations += [evaluation(rows, "b", name, i + 2, seed=2) for i, name in enumerate(names)]
    actual = compared(rows, evaluations, "a", "b").findings[0]
    assert (actual.change.low, actual.change.mean, actual.change.high) == pytest.approx((0.1, 0.15, 0.2))
    # Paired: though the intervals of the levels overlap widely.
    assert actual.before.high > actual.after.low
    assert actual.outcome == "helped"
    assert actual.sentence.endswith("training helped. All 2 seeds went up.")


def test_a_mean_over_seeds_that_differs_by_rounding_alone_is_no_change(rows):
    assert outcome_of(Estimate(1e-17, 1e-17, 2e-17, 50), margin=0.01) == "did not help"


def test_the_interval_is_a_bootstrap_over_problems(rows):
    random = np.random.default_rng(1)
    before, after = random.integers(0, 21, 40), random.integers(0, 21, 40)
    evaluations = [evaluation(rows, "ref", f"p{i:02}", int(c)) for i, c in enumerate(before)]
    evaluations += [evaluation(rows, "a", f"p{i:02}", int(c)) for i, c in enumerate(after)]
    change = compared(rows, evaluations, "a").findings[0].change
    gains = (after - before) / 20
    # By the central limit theorem the mean of 40 gains has this interval; the bootstrap's own noise is a few
    # per cent of it.
    half = 1.96 * gains.std() / np.sqrt(40)
    assert (change.low, change.high) == pytest.approx(
        (gains.mean() - half, gains.mean() + half), abs=0.1 * half
    )


def test_a_problem_without_enough_samples_leaves_both_sides(rows):
    names = [f"p{i:02}" for i in range(11)]
    evaluations = [evaluation(rows, "ref", name, 0) for name in names]
    evaluations += [evaluation(rows, "a", name, 20) for name in names[:-1]] + [
        evaluation(rows, "a", names[-1], 0, samples=9)
    ]
    by_name = {actual.metric.column: actual for actual in compared(rows, evaluations, "a").findings}
    assert by_name["pass_10"].change.problems == 10
    assert by_name["pass_10"].change.mean == pytest.approx(1.0)
    assert by_name["pass_1"].change.mean == pytest.approx(10 / 11)
    assert "10 problems, 1 left out" in by_name["pass_10"].sentence
    # Means by problem have both sides or none.
    last = compared(rows, evaluations, "a").problems.filter(problem_id=names[-1]).row(0, named=True)
    assert (last["pass_10_before"], last["pass_10_after"]) == (None, None)
    assert (last["pass_1_before"], last["pass_1_after"]) == (0.0, 0.0)


def test_a_problem_without_a_verdict_is_neither_solved_nor_unsolved(rows):
    names = [f"p{i:02}" for i in range(11)]
    evaluations = [evaluation(rows, "ref", name, 0, samples=20 * (name != "p00")) for name in names]
    evaluations += [evaluation(rows, "a", name, 20) for name in names]
    actual = compared(rows, evaluations, "a")
    assert actual.findings[0].change.problems == 10 and actual.findings[0].change.left_out == 1
    assert "p00" not in actual.problems["problem_id"].to_list()


def test_pass_at_100_is_there_with_100_samples_and_not_missed_without(rows):
    names = [f"p{i:02}" for i in range(10)]
    few = [evaluation(rows, policy, name, 3) for policy in ("ref", "a") for name in names]
    many = [evaluation(rows, policy, name, 1, samples=200) for policy in ("ref", "a") for name in names]
    assert [actual.metric.label for actual in compared(rows, many, "a").findings][2] == "pass@100"
    assert compared(rows, many, "a").findings[2].after.mean == pytest.approx(0.5)  # k / n
    assert compared(rows, few, "a").missing == []


def test_only_like_is_compared_with_like(rows):
    names = [f"p{i:02}" for i in range(10)]
    other = json.dumps({"temperature": 1.0})
    evaluations = [evaluation(rows, "ref", name, 10, seed=0) for name in names]
    evaluations += [evaluation(rows, "a", name, 10, seed=7) for name in names]
    evaluations += [evaluation(rows, "a", name, 20, settings=other) for name in names]
    evaluations += [evaluation(rows, "b", name, 20, settings=other) for name in names]
    actual = compared(rows, evaluations, "a", "b")
    assert actual.seeds == ["seed 0"]
    assert actual.findings[0].change.mean == 0
    assert actual.findings[0].outcome == "did not help"
    assert "seed 1" in actual.missing[0]
    assert (
        actual.summary == "Training did not help pass@1, pass@10 and distinct correct programs per problem."
    )


def test_gained_and_lost_take_more_than_half_of_the_seeds(rows):
    solved = {"p0": (0, [1, 1, 0]), "p1": (0, [1, 0, 0]), "p2": (5, [0, 0, 9]), "p3": (5, [1, 1, 0])}
    evaluations = [evaluation(rows, "ref", name, before) for name, (before, _) in solved.items()]
    evaluations += [
        evaluation(rows, f"s{i}", name, after[i]) for name, (_, after) in solved.items() for i in range(3)
    ]
    problems = compared(rows, evaluations, "s0", "s1", "s2").problems
    sides = problems.select("problem_id", "solved_before", "solved_after").rows()
    assert sides == [("p0", False, True), ("p1", False, False), ("p2", True, False), ("p3", True, True)]
    # One of two seeds is not more than half.
    two = compared(rows, evaluations, "s1", "s2").problems
    assert two.filter(problem_id="p0")["solved_after"].to_list() == [False]


def test_changes_too_small_to_print_are_no_change():
    assert METRICS[0].change(-0.0004) == "0.0 points"
    assert METRICS[0].direction(-0.0004) == "same"
    assert METRICS[3].column == "distinct_correct"
    assert METRICS[3].change(0.126) == "+0.13"


# ---- training curves


def test_curves_worked_by_hand():
    metrics = [step(i) for i in range(10)] + [step(10, loss=float("nan"), q_success=None, seconds=0.0)]
    actual = curves_of(Seed("a", 3, metrics))
    panels = {panel.title: panel for panel in actual.panels}
    assert panels["Loss"].lines[0].traces[0].values == pytest.approx([1 / (i + 1) for i in range(10)])
    assert [line.label for line in panels["Q at the last token"].lines] == ["Q of successes", "Q of failures"]
    assert panels["Q at the last token"].lines[0].steps == list(range(10))
    assert panels["Tokens per second"].lines[0].traces[0].values == pytest.approx([500.0] * 10)
    assert panels["Share of time waiting for data"].lines[0].traces[0].values == pytest.approx([0.25] * 10)
    ratios = {line.label: line.traces[0].values for line in panels["log π − log π_ref by source"].lines}
    assert ratios["human"] == pytest.approx([-float(i) for i in range(11)])
    facts = actual.facts[0]
    assert (facts.name, facts.steps, facts.tokens, facts.fresh) == ("seed 3", 11, 11_000, [4, 8])
    assert facts.waited == pytest.approx(5.5 / 20)


def test_columns_of_another_objective_are_listed():
    metrics = [
        {
            "step": i,
            "loss": 2.0,
            "margin": float(i),
            "temperature": 0.5,
            "note": "x",
            "ok": True,
            "nested": {"a": 1},
        }
        for i in range(100)
    ]
    actual = curves_of(Seed("a", 0, metrics))
    assert [panel.title for panel in actual.panels] == ["Loss"]
    # The window of 100 steps is 5: the mean of 95..99.
    assert [(c.name, c.steps, c.first, c.lowest, c.highest, c.last) for c in actual.others] == [
        ("margin", 100, 0.0, 0.0, 99.0, 97.0),
        ("temperature", 100, 0.5, 0.5, 0.5, 0.5),
    ]


def test_a_running_mean_keeps_a_line_and_its_ends():
    line = np.arange(100.0)
    smooth = running_mean(list(line))
    # 4 % of 100 steps is a window of 5: the mean of a straight line is the line, but for two values at each
    # end.
    assert smooth[2:-2] == pytest.approx(line[2:-2])
    assert smooth[0] == pytest.approx(np.mean([0, 1, 2]))
    assert running_mean([3.0]) == pytest.approx([3.0])


def test_a_line_cut_by_a_kill_is_left_out_and_said(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(step(1)) + "\n" + json.dumps(step(0)) + "\n[1]\n" + '{"step": 2, "lo')
    metrics, unread = read_metrics(path)
    assert [entry["step"] for entry in metrics] == [0, 1]
    assert unread == [3, 4]


# ---- numbers and text


def test_numbers_in_words():
    assert text.count(1234567.4) == "1\u202f234\u202f567"
    assert text.number(-1234.5, 1) == "−1\u202f234.5"
    assert (
        text.careful_percent(0.99997),
        text.careful_percent(1.0),
        text.careful_percent(0.0002),
        text.careful_percent(None),
    ) == (
        "> 99.9\u202f%",
        "100.0\u202f%",
        "< 0.1\u202f%",
        "–",
    )
    assert (text.duration(59.94), text.duration(60), text.duration(3725)) == (
        "59.9 s",
        "1 min 00 s",
        "1 h 02 min",
    )
    assert text.shortened("abc\ndef\nghi", 100, 2) == "abc\ndef\n… (4 more characters)"
    assert [text.significant(value) for value in (0.123456, 1234567.0, 12.5, 0.0, 2.5e-7, None)] == [
        "0.1235",
        "1\u202f234\u202f567",
        "12.5",
        "0",
        "2.5e−7",
        "–",
    ]
    assert dict(text.flattened({"a": {"b": [1, 2]}, "c": [{"d": None}]})) == {
        "a.b": "[1, 2]",
        "c[0].d": "null",
    }


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([6.05914, 6.05916, 6.05918], ["6.05914", "6.05916", "6.05918"]),
        ([0.0975, 0.1, 0.1025], ["0.0975", "0.1", "0.1025"]),
        ([0.0, 0.2, 0.4], ["0", "0.2", "0.4"]),
    ],
)
def test_each_number_of_an_axis_is_told_from_its_neighbours(ticks, texts):
    from pipeline.evaluation.report.step_charts import Short

    assert Short().format_ticks(ticks) == texts
