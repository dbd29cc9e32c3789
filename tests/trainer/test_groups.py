"""Groups of rows of one problem: how they are drawn, kept whole in micro-batches, and trained on."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from trainer.data import Mixture, Source, StreamError
from trainer.data.groups import groups_of
from trainer.objectives import settings_class
from trainer.policies import whole_group_batches
from trainer.run import UnmetNeed, train
from trainer.run.checks import check_needs

SAMPLES = Source(name="samples", where="j.policy_id = 'reference'", weight=1.0, group=3)
HUMAN = Source(name="human", where="j.origin = 'human'", weight=1.0)


def test_groups_by_hand():
    """Rows 0 to 6 of problems 2, 0, 2, 1, 0, 2, 0; without row 6 only problem 2 has three."""
    codes = np.array([2, 0, 2, 1, 0, 2, 0])
    groups = groups_of(codes, np.arange(6), 3)
    assert len(groups) == 1 and groups.members[groups.starts[0] : groups.starts[0] + 3].tolist() == [0, 2, 5]
    pairs = groups_of(codes, np.arange(6), 2)
    assert pairs.counts.tolist() == [2, 3]
    samples = pairs.draw(np.array([1, 0]), 2, np.random.default_rng(0)).tolist()
    assert set(samples[:2]) < {0, 2, 5} and set(samples[2:]) == {1, 4} and len(set(samples)) == 4


def test_whole_groups_by_hand():
    """Widths 3, 5, 9 and 4 of single rows: 2 * 3 + 4 fits 12 tokens as three rows of 4, the others do not."""
    groups, lengths = [7, 8, 7, -1, 8, 9], [3, 5, 2, 4, 1, 9]
    assert whole_group_batches(groups, lengths, 12) == [[0, 2, 3], [1, 4], [5]]
    assert whole_group_batches(groups, lengths, 1) == [[0, 2], [3], [1, 4], [5]]
    assert whole_group_batches([-1, -1], [4, 4], 4) == [[0], [1]]


def opened(job, *sources, **mixture):
    stream = job.stream(list(sources), **mixture)
    stream.advance()
    return stream


def test_a_group_has_different_rows_of_one_problem(made_job):
    stream = opened(made_job, SAMPLES, batch_sequences=9)
    for step in range(10):
        rows = stream.batch(step)
        assert [row.group for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for first in (0, 3, 6):
            group = rows[first : first + 3]
            assert len({row.problem_id for row in group}) == 1
            assert len({row.trajectory_id for row in group}) == 3


def test_every_problem_gives_one_group_before_any_gives_a_second(made_job):
    stream = opened(made_job, SAMPLES, batch_sequences=3)
    counts = Counter(made_job.store.read("trajectories").filter(policy_id="reference")["problem_id"])
    # Only rows with a score and a verdict, of problems that are trained on, are in the pool.
    able = {p for p, n in Counter(stream.pool("samples").problem_ids.tolist()).items() if n >= 3}
    assert able and able <= set(counts)
    first = [stream.batch(step)[0].problem_id for step in range(len(able))]
    assert sorted(first) == sorted(able)


def test_shares_hold_where_a_quota_is_no_whole_group(made_job):
    sources = [SAMPLES.model_copy(update={"weight": 0.5}), HUMAN.model_copy(update={"weight": 0.5})]
    stream, counts = opened(made_job, *sources, batch_sequences=8), Counter()
    for step in range(30):
        rows = stream.batch(step)
        counts.update(row.source for row in rows)
        assert all(row.group == -1 for row in rows if row.source == "human")
        assert abs(counts["samples"] - 4 * (step + 1)) <= 3
    assert counts["human"] == 120


def test_a_batch_has_at_least_one_group(made_job):
    sources = [SAMPLES.model_copy(update={"name": name, "weight": 0.5}) for name in ("a", "b")]
    stream = opened(made_job, *sources, batch_sequences=3)
    sizes = [len(stream.batch(step)) for step in range(20)]
    assert set(sizes) <= {3, 6} and sum(sizes) == 60


def test_a_restored_stream_draws_the_same_groups(made_job):
    sources = [SAMPLES.model_copy(update={"weight": 0.5}), HUMAN.model_copy(update={"weight": 0.5})]
    stream = opened(made_job, *sources)
    for step in range(3):
        stream.batch(step)
    state = json.loads(json.dumps(stream.state))
    again = made_job.stream(sources)
    again.restore(state)
    for step in range(3, 6):
        assert [(r.trajectory_id, r.group) for r in again.batch(step)] == [
            (r.trajectory_id, r.group) for r in stream.batch(step)
        ]


def test_rows_that_leave_are_in_no_group(made_job):
    """With an age limit, groups are drawn at random from those that are left."""
    aged = SAMPLES.model_copy(update={"max_age_steps": 5})
    rows = opened(made_job, aged, batch_sequences=6).batch(0)
    assert [row.group for row in rows] == [0, 0, 0, 1, 1, 1]
    stream = opened(made_job, aged.model_copy(update={"group": 8}), batch_sequences=8)
    with pytest.raises(StreamError, match="no problem with 8 rows, the size of its groups"):
        stream.batch(0)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch_sequences": 2}, "samples: a group of 3 rows does not fit batch_sequences = 2"),
        ({"batch_tokens_global": 500}, "samples: group needs batches of batch_sequences rows"),
    ],
)
def test_a_mixture_in_which_no_group_fits_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Mixture(source=[SAMPLES], **settings)


def test_an_objective_that_needs_groups_names_the_source_without(made_job):
    needs = settings_class("rloo")().build().needs
    with pytest.raises(UnmetNeed, match="source human: the objective compares rows of one problem"):
        check_needs(needs, opened(made_job, SAMPLES, HUMAN), fresh_rows_come=False)


@pytest.mark.parametrize("name", ["rloo", "tba", "gspo"])
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_micro_batches_do_not_change_what_groups_teach(made_job, tmp_path, name, layout):
    known = SAMPLES.model_copy(update={"where": f"{SAMPLES.where} and j.behaviour_logprob is not null"})
    norms = []
    for batch_tokens in (1, 100_000):
        folder = tmp_path / str(batch_tokens)
        job = made_job.training(
            folder,
            [known],
            objective=settings_class(name)(),
            stream=made_job.stream([known], batch_sequences=9),
            training={"steps": 2, "batch_tokens": batch_tokens, "layout": layout, "max_loss": None},
        )
        train(job)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert all(math.isfinite(line["loss"]) for line in lines)
        norms.append([line["gradient_norm"] for line in lines])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3, abs=1e-6)
