"""The stream on a real store: shares, epochs, replay, watermarks, and the soft values it hands on."""

from collections import Counter

import pytest
import torch

from pipeline.label import label
from pipeline.sql import connect, query
from sandbox import Pool
from trainer.reference import score
from trainer.rollout import Provenance, SamplingSettings, rollout
from trainer.soft_value import soft_value_of_counts
from trainer.stream import Source, StreamError

HUMAN = Source(name="human", where="j.origin = 'human'", weight=0.7)
SAMPLES = Source(name="samples", where="j.policy_id = 'reference'", weight=0.3)
ONLINE = Source(name="online", where="j.origin = 'online'", weight=[(0, 0.0), (3, 1.0)], window=4)


def ids(rows):
    return [row.trajectory_id for row in rows]


def test_shares_hold_over_many_batches_and_every_batch_is_full(made_job):
    stream = made_job.stream([HUMAN, SAMPLES])
    stream.advance()
    counts = Counter()
    for step in range(50):
        rows = stream.batch(step)
        assert len(rows) == 8
        counts.update(row.source for row in rows)
    assert counts["human"] == pytest.approx(0.7 * 400, abs=2)


def test_a_source_without_weight_never_gets_a_row(made_job):
    shares = [0.5, 0.1, 0.25, 0.1, 0.05, 0.0]  # their running sum is 0.9999999999999999
    stream = made_job.stream(
        [HUMAN.model_copy(update={"name": str(i), "weight": w}) for i, w in enumerate(shares)], batch_sequences=32
    )
    stream.advance()
    quotas = [stream.quotas(step) for step in range(5000)]
    assert {sum(quota) for quota in quotas} == {32} and {quota[-1] for quota in quotas} == {0}
    assert [sum(quota[i] for quota in quotas) / 160_000 for i in range(6)] == pytest.approx(shares, abs=1e-3)


def test_every_row_comes_once_an_epoch(made_job):
    stream = made_job.stream([HUMAN], batch_sequences=1)
    stream.advance()
    size = stream.sizes()["human"]
    assert size > 50
    first = [stream.batch(step)[0].trajectory_id for step in range(size)]
    second = [stream.batch(step)[0].trajectory_id for step in range(size, 2 * size)]
    assert len(set(first)) == size and set(first) == set(second) and first != second


def test_a_batch_is_a_pure_function_of_seed_step_and_state(made_job):
    one, other, seeded = (made_job.stream([HUMAN, SAMPLES], seed=seed) for seed in (0, 0, 1))
    for stream in (one, other, seeded):
        stream.advance()
    batches = [ids(one.batch(step)) for step in range(6)]
    assert batches == [ids(other.batch(step)) for step in range(6)]
    assert batches[0] != ids(seeded.batch(0))
    resumed = made_job.stream([HUMAN, SAMPLES])
    before = made_job.stream([HUMAN, SAMPLES])
    before.advance()
    for step in range(3):
        before.batch(step)
    resumed.restore(before.state)
    assert [ids(resumed.batch(step)) for step in range(3, 6)] == batches[3:]


def test_a_batch_at_a_watermark_does_not_see_later_rows(job):
    stream = job.stream([HUMAN, SAMPLES])
    watermark = stream.advance()
    expected = [ids(stream.batch(step)) for step in range(4)]
    add_online_samples(job, "fresh")
    replay = job.stream([HUMAN, SAMPLES])
    replay.advance(watermark)
    assert [ids(replay.batch(step)) for step in range(4)] == expected


def test_fresh_rows_are_drawn_as_soon_as_the_watermark_moves(job):
    patient = ONLINE.model_copy(update={"when_empty": "others"})
    stream = job.stream([HUMAN, patient])
    stream.advance()
    assert {row.source for row in stream.batch(3)} == {"human"}
    add_online_samples(job, "fresh")
    stream.advance()
    drawn = [row for row in stream.batch(4) if row.source == "online"]
    assert len(drawn) == pytest.approx(8 / 1.7, abs=1)
    with connect(job.store) as connection:
        online = query(connection, "select trajectory_id from judged where origin = 'online'")["trajectory_id"]
    assert set(ids(drawn)) <= set(online)
    assert stream.sizes()["online"] == 4 < len(online)  # the window


def test_a_source_that_is_dry_is_an_error_that_names_it(made_job):
    stream = made_job.stream([HUMAN, ONLINE])
    stream.advance()
    stream.batch(0)
    with pytest.raises(StreamError, match="source online has no rows"):
        stream.batch(3)


def test_one_of_each_program_on_request(made_job):
    sizes = {}
    for unique in ("all", "token", "near"):
        stream = made_job.stream([HUMAN.model_copy(update={"unique": unique})])
        stream.advance()
        sizes[unique] = stream.sizes()["human"]
    counted = """select count(distinct (problem_id, token_hash)) as token, count(distinct (cluster_id, verdict)) as near
        from judged join clusters using (trajectory_id)
        join (select trajectory_id, token_hash from program_signatures) using (trajectory_id)
        where origin = 'human' and split = 'train' and language = 'python3'"""
    with connect(made_job.store) as connection:
        token, near = query(connection, counted.replace("(problem_id,", "(judged.problem_id,")).row(0)
    assert (sizes["token"], sizes["near"]) == (token, near)
    assert sizes["near"] < sizes["token"] <= sizes["all"]


def test_rewards_and_soft_values_are_those_of_the_store(made_job):
    stream = made_job.stream([HUMAN, SAMPLES], beta=0.2)
    stream.advance()
    row = stream.batch(0)[0]
    with connect(made_job.store) as connection:
        found = query(
            connection,
            "select trials, successes from reference_counts where problem_id = $problem and policy_id = 'reference'",
            {"problem": row.problem_id},
        ).row(0)
        verdict = query(connection, "select verdict from judged where trajectory_id = $id", {"id": row.trajectory_id})["verdict"][
            0
        ]
    trials, successes = map(float, found)
    assert trials == 4
    expected = soft_value_of_counts(torch.tensor([successes]), torch.tensor([trials]), 0.2)
    assert row.soft_value == pytest.approx(float(expected))
    assert row.reward == (0.0 if verdict == "accepted" else -1.0)


def test_scoring_again_adds_nothing(job):
    before = job.store.version("reference_scores")
    assert score(job.store, job.policy()).scored == 0
    assert job.store.version("reference_scores") == before


def test_a_rollout_of_the_same_name_is_sampled_once_and_is_reproducible(job):
    assert add_online_samples(job, "one") > 0
    assert add_online_samples(job, "one") == 0
    add_online_samples(job, "two")
    with connect(job.store) as connection:
        found = query(
            connection,
            "select batch_id, count(*) as n, count(distinct trajectory_id) as ids from trajectories"
            " where origin = 'online' group by batch_id",
        )
    assert found["n"].to_list() == found["ids"].to_list()


def add_online_samples(job, name):
    with connect(job.store) as connection:
        problems = query(
            connection, "select problem_id, statement from problems where split = 'train' order by problem_id limit 3"
        )
    settings = SamplingSettings(samples_per_problem=4, max_new_tokens=16)
    provenance = Provenance(name=name, policy_id="policy@3", run_id="run", policy_step=3)
    sampled = rollout(job.store, job.policy(), problems, settings, provenance, seed=1)
    with Pool() as pool:
        label(job.store, pool)
    score(job.store, job.policy())
    return sampled
