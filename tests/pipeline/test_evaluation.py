"""How evaluations become numbers: by hand with exact fractions, in Python and in SQL, and intervals by
simulation.
"""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb

import numpy as np
import polars as pl
import pytest

from pipeline.evaluation import (
    Estimate,
    NotComparable,
    by_group,
    compare,
    difference,
    mean_entropy,
    over_problems,
    pair,
    per_problem,
    policies_of,
    rates,
    run_name,
    verdict_mix,
    without_seed,
)
from pipeline.store.sql import connect, query
from pipeline.store.store import Store


def exact(samples, correct, k):
    """pass@k as a fraction."""
    return 1 - Fraction(comb(samples - correct, k), comb(samples, k))


def mean(values):
    return float(sum(values) / len(values))


def evaluation(rows, policy, problem, samples, correct, *, seed=0, **columns):
    settings = {"temperature": 1.0, "seed": seed, "problems": 4}
    return {
        "policy_id": policy,
        "problem_id": problem,
        "settings": json.dumps(settings, sort_keys=True),
        "split": "test",
        "samples": samples,
        "correct": correct,
        "distinct_correct": min(correct, 2),
        "judge_errors": max(0, 20 - samples),
        "evaluated_at": rows.day,
    } | columns


def frame(rows, *actual):
    return rows.frame("evaluations", list(actual))


def stored(tmp_path, evaluations):
    store = Store(tmp_path / "store")
    store.append("evaluations", evaluations, producer="test", sequence=0)
    return store


# ---- rules


def test_a_problem_with_too_few_judged_samples_is_left_out_and_counted(rows):
    evaluations = frame(
        rows,
        evaluation(rows, "a", "p0", 20, 2),
        evaluation(rows, "a", "p1", 10, 10),
        evaluation(rows, "a", "p2", 9, 9),
        evaluation(rows, "a", "p3", 0, 0),
    )
    actual = rates(evaluations)
    one, ten = actual["pass@1"], actual["pass@10"]
    assert one.mean == pytest.approx(mean([Fraction(2, 20), 1, 1]), abs=1e-12)
    assert (one.problems, one.left_out) == (3, 1)
    assert ten.mean == pytest.approx(mean([exact(20, 2, 10), 1]), abs=1e-12)
    assert (ten.problems, ten.left_out) == (2, 2)
    assert actual["pass@100"] is None
    # p3 has no judged sample, so it says nothing about distinct programs either.
    assert actual["distinct correct"].mean == 2.0 and actual["distinct correct"].left_out == 1


def test_one_judge_error_costs_one_problem_at_most(rows):
    whole = [evaluation(rows, "a", f"p{i}", 10, i % 3) for i in range(20)]
    with_error = [{**whole[0], "samples": 9}, *whole[1:]]
    before, after = (rates(rows.frame("evaluations", actual))["pass@10"] for actual in (whole, with_error))
    assert (before.problems, after.problems, after.left_out) == (20, 19, 1)
    assert after.mean == pytest.approx(mean([exact(10, i % 3, 10) for i in range(1, 20)]), abs=1e-12)


def test_sampling_seeds_of_one_policy_are_pooled(rows):
    evaluations = frame(
        rows,
        evaluation(rows, "a", "p0", 6, 0, seed=1),
        evaluation(rows, "a", "p0", 6, 3, seed=2),
        evaluation(rows, "a", "p1", 12, 1, seed=1),
    )
    actual = rates(evaluations)
    # Neither evaluation of p0 has ten samples; together they have twelve, of which three are correct.
    assert actual["pass@10"].mean == pytest.approx(mean([exact(12, 3, 10), exact(12, 1, 10)]), abs=1e-12)
    assert actual["pass@1"].mean == pytest.approx(mean([Fraction(3, 12), Fraction(1, 12)]), abs=1e-12)
    assert actual["distinct correct"].mean == pytest.approx((1.0 + 1.0) / 2)  # p0: mean of 0 and 2


def test_rates_of_several_policies_or_settings_are_refused(rows):
    two = frame(rows, evaluation(rows, "a", "p0", 20, 1), evaluation(rows, "b", "p0", 20, 1))
    with pytest.raises(ValueError, match="several policies or settings"):
        rates(two)


def test_training_seeds_are_averaged_per_problem_not_pooled(rows):
    evaluations = frame(
        rows,
        evaluation(rows, "ref", "p0", 20, 2),
        evaluation(rows, "ref", "p1", 20, 0),
        evaluation(rows, "run/seed-0", "p0", 20, 10),
        evaluation(rows, "run/seed-0", "p1", 20, 4),
        evaluation(rows, "run/seed-1", "p0", 20, 0, seed=1),
        evaluation(rows, "run/seed-1", "p1", 20, 4, seed=1),
    )
    ten = {actual.metric: actual for actual in compare(evaluations, "ref", "run")}["pass@10"]
    p0, p1 = (exact(20, 10, 10) + exact(20, 0, 10)) / 2, exact(20, 4, 10)
    assert ten.b.mean == pytest.approx(mean([p0, p1]), abs=1e-12)
    assert ten.change.mean == pytest.approx(mean([p0 - exact(20, 2, 10), p1]), abs=1e-12)
    # The mixture of both seeds would have pass@10 of 40 samples, 10 correct, on p0: much more than the mean.
    assert float(exact(40, 10, 10)) > float(p0) + 0.4
    assert [seed.policy_id for seed in ten.seeds] == ["run/seed-0", "run/seed-1"] and ten.b.seeds == 2
    assert ten.seeds[0].change.mean == pytest.approx(
        mean([exact(20, 10, 10) - exact(20, 2, 10), exact(20, 4, 10)]), abs=1e-12
    )


def test_a_comparison_is_over_problems_that_every_policy_has(rows):
    evaluations = frame(
        rows,
        *[evaluation(rows, "ref", f"p{i}", 9 if i == 0 else 20, 2) for i in range(5)],
        *[evaluation(rows, "run-seed0", f"p{i}", 9 if i == 1 else 20, 3) for i in range(5)],
        *[evaluation(rows, "run-seed1", f"p{i}", 0 if i == 2 else 20, 4 * (i != 2)) for i in range(5)],
    )
    actual = {item.metric: item for item in compare(evaluations, "ref", "run")}
    assert (actual["pass@10"].change.problems, actual["pass@10"].change.left_out) == (2, 3)
    assert (actual["pass@1"].change.problems, actual["pass@1"].change.left_out) == (4, 1)
    after = (exact(20, 3, 10) + exact(20, 4, 10)) / 2
    assert actual["pass@10"].b.mean == pytest.approx(float(after), abs=1e-12)
    assert actual["pass@10"].change.mean == pytest.approx(float(after - exact(20, 2, 10)), abs=1e-12)


def test_only_common_settings_are_compared_and_absent_policies_are_named(rows):
    other = json.dumps({"temperature": 0.2})
    evaluations = frame(
        rows,
        *[evaluation(rows, "ref", f"p{i}", 20, 1) for i in range(3)],
        *[evaluation(rows, "a", f"p{i}", 20, 2, seed=9) for i in range(3)],
        *[evaluation(rows, "a", f"p{i}", 20, 20, settings=other) for i in range(3)],
        *[evaluation(rows, "b", f"p{i}", 20, 20, settings=other) for i in range(3)],
    )
    pairing = pair(evaluations, ["ref"], ["a", "b"])
    assert (pairing.a, pairing.b, pairing.absent) == (["ref"], ["a"], ["b"])
    assert json.loads(pairing.comparable) == {"problems": 4, "temperature": 1.0}
    assert compare(evaluations, "ref", "a")[0].change.mean == pytest.approx(0.05)
    with pytest.raises(NotComparable, match="ref and b share no problem under the same settings"):
        compare(evaluations, "ref", "b")
    with pytest.raises(
        NotComparable, match=r"policy c has no evaluation; evaluated: a, b, ref; make one: spo eval c"
    ):
        compare(evaluations, "ref", "c")


def test_settings_with_most_policies_on_test_problems_are_chosen(rows):
    train = json.dumps({"on": "train"})
    evaluations = frame(
        rows,
        *[
            evaluation(rows, name, f"p{i}", 20, 20, settings=train, split="train")
            for name in ("ref", "a")
            for i in range(9)
        ],
        *[evaluation(rows, name, f"p{i}", 20, 1) for name in ("ref", "a") for i in range(3)],
    )
    assert json.loads(pair(evaluations, ["ref"], ["a"]).comparable) == {"problems": 4, "temperature": 1.0}
    more = pl.concat(
        [evaluations, frame(rows, evaluation(rows, "b", "p0", 20, 20, settings=train, split="train"))]
    )
    assert json.loads(pair(more, ["ref"], ["a", "b"]).comparable) == {"on": "train"}


def test_a_policy_of_that_very_name_comes_before_a_run(rows):
    evaluations = frame(
        rows,
        evaluation(rows, "ref", "p0", 20, 1),
        evaluation(rows, "mine", "p0", 20, 2),
        evaluation(rows, "mine-seed-1", "p0", 20, 20),
    )
    assert compare(evaluations, "ref", "mine")[0].b.mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("demo/seed-0", "demo"),
        ("mine-seed-12", "mine"),
        ("mine_seed3@200", "mine@200"),
        ("mine@200", "mine@200"),
        ("seed-0", "seed-0"),
        ("mine/seeds", "mine/seeds"),
        ("mine/seed-0/final", "mine/seed-0/final"),
    ],
)
def test_the_name_of_a_run_is_without_its_seed(policy, name):
    assert run_name(policy) == name


def test_settings_are_compared_without_their_seed():
    assert without_seed('{"seed": 3, "b": 1, "a": 2}') == '{"a": 2, "b": 1}'
    assert without_seed("broken") == '{"settings": "broken"}'
    assert without_seed("[1]") != without_seed("[2]")


def test_groups_by_source_and_difficulty(rows):
    evaluations = frame(rows, *[evaluation(rows, "a", f"p{i}", 10, [0, 2, 5, 10][i]) for i in range(4)])
    groups = pl.DataFrame(
        {"problem_id": ["p0", "p1", "p2"], "source": ["s"] * 3, "difficulty": ["1", "1", None]}
    )
    actual = [
        (g["source"], g["difficulty"], g["problems"], g["pass@1"].mean) for g in by_group(evaluations, groups)
    ]
    assert actual == [
        ("(not in the store)", "-", 1, pytest.approx(1.0)),
        ("s", "-", 1, pytest.approx(0.5)),
        ("s", "1", 2, pytest.approx(0.1)),
    ]


def test_verdicts_are_added_up(rows):
    texts = ['{"accepted": 1, "wrong_answer": 2}', '{"wrong_answer": 3}', None]
    evaluations = frame(
        rows, *[evaluation(rows, "a", f"p{i}", 3, 0, verdicts=text) for i, text in enumerate(texts)]
    )
    assert list(verdict_mix(evaluations).items()) == [("wrong_answer", 5), ("accepted", 1)]


def test_verdicts_of_equal_counts_are_in_the_order_of_their_names(rows):
    text = '{"wrong_answer": 1, "accepted": 1, "runtime_error": 1}'
    evaluations = frame(rows, evaluation(rows, "a", "p0", 3, 1, verdicts=text))
    assert list(verdict_mix(evaluations)) == ["accepted", "runtime_error", "wrong_answer"]


def test_entropy_is_a_mean_over_the_problems_where_it_was_measured(rows):
    entropies = [0.5, 1.0, None]
    evaluations = frame(
        rows,
        *[evaluation(rows, "a", f"p{i}", 3, 0, token_entropy=value) for i, value in enumerate(entropies)],
    )
    assert mean_entropy(evaluations) == pytest.approx(0.75)
    assert mean_entropy(evaluations.tail(1)) is None


def test_a_single_judged_sample_counts(rows):
    actual = rates(frame(rows, evaluation(rows, "a", "p0", 1, 1)))
    assert (actual["pass@1"].mean, actual["distinct correct"].mean) == (1.0, 1.0)


# ---- SQL


def random_evaluations(rows):
    """Two runs of three seeds and a reference: unequal counts, judge errors, several sampling seeds, odd
    settings.
    """
    random = np.random.default_rng(5)
    names = ["ref", *(f"{run}/seed-{i}" for run in ("x", "y") for i in range(3)), "x/seed-0@40", "x"]
    actual = []
    for policy in names:
        for seed in range(1 + (policy == "ref")):
            for problem in range(30):
                samples = int(
                    random.choice([0, 5, 9, 10, 19, 20, 120], p=[0.02, 0.03, 0.05, 0.1, 0.1, 0.6, 0.1])
                )
                correct = int(random.integers(0, samples + 1))
                actual.append(evaluation(rows, policy, f"p{problem}", samples, correct, seed=seed))
    odd = [
        "broken",
        '{"seed":1,"b":{"c":"~/x"},"a/b":1.0}',
        '{"a/b": 1.0, "b": {"c": "~/x"}, "seed": 2}',
        "{}",
    ]
    actual += [evaluation(rows, "odd", "p0", 6, 2, settings=text) for text in odd]
    return rows.frame("evaluations", actual)


def test_sql_and_python_say_the_same_of_each_policy_and_run(rows, tmp_path):
    evaluations = random_evaluations(rows)
    with connect(stored(tmp_path, evaluations)) as connection:
        view = query(connection, "SELECT * FROM pass_at_k")
        problems = query(connection, "SELECT * FROM evaluated_problems")
    pooled = per_problem(evaluations)
    assert problems.height == pooled.height
    ours = pooled.group_by("policy_id", "comparable").agg(pl.col("samples", "correct").sum())
    theirs = problems.group_by("policy_id", "settings").agg(pl.col("samples", "correct").sum())
    columns = ["policy_id", "samples", "correct"]
    assert sorted(ours.select(columns).rows()) == sorted(theirs.select(columns).rows())
    names = set()
    for row in view.filter(pl.col("policy") != "odd").iter_rows(named=True):
        policies = policies_of(evaluations, row["policy"])
        side = pair(evaluations, policies, policies)
        python = difference(side.rows, f"pass_{row['k']}", policies, policies).b
        assert (python.problems, python.left_out) == (row["problems"], row["left_out"])
        assert python.seeds == row["seeds"] == len(policies)
        assert abs(python.mean - row["pass_at_k"]) < 1e-12
        if len(policies) == 1:
            assert rates(evaluations.filter(policy_id=policies[0]))[f"pass@{row['k']}"] == python
        names.add(row["policy"])
    # x is a policy of its own, so it does not stand for its seeds; y does.
    assert names == {*evaluations["policy_id"], "y", "x@40"} - {"odd"}
    assert view.filter(policy="y", k=1)["seeds"].to_list() == [3]


def test_the_question_says_the_change_of_a_comparison(rows, tmp_path):
    evaluations = random_evaluations(rows)
    with connect(stored(tmp_path, evaluations)) as connection:
        answer = query(connection, "@compare_policies")
    for a, b in (("ref", "x"), ("ref", "y"), ("x", "y"), ("ref", "x/seed-1")):
        row = answer.filter(policy_a=a, policy_b=b).row(0, named=True)
        actual = {item.metric: item.change for item in compare(evaluations, a, b)}
        assert abs(actual["pass@1"].mean - row["pass_1_change"]) < 1e-12
        assert abs(actual["pass@10"].mean - row["pass_10_change"]) < 1e-12
        assert (actual["pass@1"].problems, actual["pass@10"].problems) == (
            row["problems"],
            row["problems_10"],
        )
    # A run is not compared with its own seeds.
    assert answer.filter(policy_a="y", policy_b="y/seed-0").is_empty()


def test_the_question_by_hand(rows, tmp_path):
    correct = {"a": [0, 2, 5, 10], "b": [1, 4, 5, 10]}
    evaluations = frame(
        rows,
        *[
            evaluation(rows, name, f"p{i}", 10, correct[name][i], seed=ord(name))
            for name in "ab"
            for i in range(4)
        ],
        evaluation(rows, "b", "p0", 10, 10, settings='{"temperature": 0.4}'),
    )
    with connect(stored(tmp_path, evaluations)) as connection:
        answer = query(connection, "@compare_policies")
    row = answer.row(0, named=True)
    assert (answer.height, row["policy_a"], row["policy_b"], row["problems"]) == (1, "a", "b", 4)
    assert row["pass_1_change"] == pytest.approx(3 / 40) and row["pass_10_change"] == pytest.approx(1 / 4)
    # Differences 0.1, 0.2, 0, 0: their standard deviation over the square root of four.
    deviation = (sum((x - 0.075) ** 2 for x in (0.1, 0.2, 0, 0)) / 3) ** 0.5
    assert row["pass_1_error"] == pytest.approx(deviation / 2)
    assert (row["only_b_solves"], row["only_a_solves"]) == (1, 0)


def test_settings_without_seed_are_the_same_groups_in_sql(rows, tmp_path):
    evaluations = random_evaluations(rows).filter(policy_id="odd")
    with connect(stored(tmp_path, evaluations)) as connection:
        view = query(
            connection, "SELECT settings, samples FROM evaluated_problems ORDER BY samples, settings"
        )
    assert view["samples"].to_list() == [6, 6, 12]
    assert per_problem(evaluations)["samples"].sort().to_list() == [6, 6, 12]
    assert json.loads(view["settings"][2]) == {"a/b": 1.0, "b": {"c": "~/x"}}


def test_the_view_of_evaluations_leaves_out_what_python_leaves_out(rows, tmp_path):
    evaluations = frame(
        rows,
        evaluation(rows, "a", "src/0", 20, 2),
        evaluation(rows, "a", "src/1", 9, 3),
        evaluation(rows, "a", "src/2", 0, 0),
    )
    store = stored(tmp_path, evaluations)
    problems = [rows.problem(f"src/{i}", difficulty="1") for i in range(3)]
    store.append("problems", rows.frame("problems", problems), producer="test", sequence=0)
    with connect(store) as connection:
        row = query(connection, "SELECT * FROM evaluated").row(0, named=True)
    assert (row["problems"], row["problems_1"], row["problems_10"], row["problems_100"]) == (3, 2, 1, 0)
    assert row["pass_1"] == pytest.approx(mean([Fraction(2, 20), Fraction(3, 9)]), abs=1e-12)
    assert row["pass_10"] == pytest.approx(float(exact(20, 2, 10)), abs=1e-12)
    assert row["pass_100"] is None and row["judge_errors"] == 11 + 20
    assert row["distinct_correct"] == pytest.approx(2.0)


# ---- intervals


def test_the_same_seed_gives_the_same_interval():
    first, again = (over_problems([0.0, 0.1, 0.5, 1.0] * 3) for _ in range(2))
    assert first == again
    assert first.low < first.mean < first.high


def test_an_estimate_counts_problems_and_seeds_of_its_own_side():
    single = over_problems([0.0, 1.0, 0.5])
    assert (single.problems, single.left_out, single.seeds) == (3, 0, 1)
    paired = over_problems([[0.0, 1.0], [1.0, 1.0]], minus=[0.5, 0.5], left_out=4)
    assert (paired.problems, paired.left_out, paired.seeds) == (2, 4, 2)
    uneven = over_problems([[0.0, 1.0], [1.0, 1.0], [0.5, 0.4]], minus=[[0.5, 0.5], [0.1, 0.1]])
    assert uneven.seeds == 3 and uneven.mean == pytest.approx(0.65 - 0.3)
    assert str(Estimate(0.5, 0.25, 0.75, 3)) == "0.500 [0.250, 0.750]"
    assert (Estimate(0.5, 0.25, 0.75, 3).left_out, Estimate(0.5, 0.25, 0.75, 3).seeds) == (0, 1)


def test_each_problem_is_drawn_as_often_as_the_others():
    # Of two problems a resample is 0, 1/2 or 1 in a quarter, a half and a quarter of all cases.
    middle = over_problems([0.0, 1.0], confidence=0.2)
    assert (middle.low, middle.high) == (0.5, 0.5)


def test_an_interval_has_95_per_cent():
    # The mean of 400 values is normal: 95 % of it is within 1.960 standard errors.
    values = np.random.default_rng(6).normal(size=400)
    actual = over_problems(values, resamples=40_000)
    half = 1.960 * values.std() / np.sqrt(400)
    assert (actual.high - actual.low) / 2 == pytest.approx(half, rel=0.012)


def test_no_problem_is_an_error():
    with pytest.raises(ValueError, match="no problem"):
        over_problems([])
    with pytest.raises(ValueError, match="same problems"):
        over_problems([0.1, 0.2], minus=[0.1])


def test_an_interval_over_problems_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        actual = over_problems(random.beta(2, 3, size=60), resamples=200, seed=trial)
        covered += actual.low <= 0.4 <= actual.high
    assert 0.88 <= covered / 200 <= 0.99


def test_two_seeds_without_problem_noise_give_the_range_of_both():
    # Of two seeds one is drawn, so the resamples are 0.2 and 0.6, each about half of the time.
    actual = over_problems([[0.2] * 20, [0.6] * 20])
    assert (actual.low, actual.mean, actual.high) == pytest.approx((0.2, 0.4, 0.6))
    assert (actual.problems, actual.seeds) == (20, 2)
    # With two draws of two a resample would be 0.4 half of the time, and the middle 40 % would end there.
    middle = over_problems([[0.2] * 20, [0.6] * 20], confidence=0.4)
    assert (middle.low, middle.high) == pytest.approx((0.2, 0.6))
    # Each of the two is drawn half of the time, so that the middle 20 % has both.
    middle = over_problems([[0.2] * 20, [0.6] * 20], confidence=0.2)
    assert (middle.low, middle.high) == pytest.approx((0.2, 0.6))


def test_the_variance_over_seeds_is_that_of_their_mean():
    random = np.random.default_rng(2)
    seeds = random.normal(size=40)
    actual = over_problems(np.repeat(seeds[:, None], 5, axis=1), resamples=4000)
    half = 1.96 * seeds.std(ddof=1) / np.sqrt(40)
    assert (actual.high - actual.low) / 2 == pytest.approx(half, rel=0.08)


def test_an_interval_over_seeds_covers_the_mean_over_all_seeds_and_problems():
    random = np.random.default_rng(4)
    covered = covered_by_problems = 0
    for trial in range(150):
        problems, seeds = random.normal(0, 1, 60), random.normal(0, 0.3, 8)
        values = problems[None, :] + seeds[:, None] + random.normal(0, 0.5, (8, 60))
        actual = over_problems(values, resamples=200, seed=trial)
        covered += actual.low <= 0 <= actual.high
        single = over_problems(values.mean(axis=0), resamples=200, seed=trial)
        covered_by_problems += single.low <= 0 <= single.high
    assert 0.88 <= covered / 150 <= 0.99
    assert covered > covered_by_problems


def test_a_paired_interval_draws_the_same_problems_on_both_sides():
    before = np.linspace(0, 0.9, 30)
    actual = over_problems(before + 0.05, minus=before)
    assert (actual.low, actual.mean, actual.high) == pytest.approx((0.05, 0.05, 0.05))
