"""The stream on a real store: shares, epochs, replay, watermarks, and the soft values it hands on."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import StoreError
from sandbox import Pool
from trainer.data import EncodedTokens, Source, StreamError, TokenCache
from trainer.data.candidates import candidates_of
from trainer.data.row_pool import make_pool
from trainer.data.selection_weights import SuccessRates
from trainer.data.tokens import SPANS
from trainer.policies.reference import score
from trainer.rollouts.generation import Provenance, SamplingSettings, rollout, trajectories
from trainer.rollouts.sampling import Sample

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
        [HUMAN.model_copy(update={"name": str(i), "weight": w}) for i, w in enumerate(shares)],
        batch_sequences=32,
    )
    stream.advance()
    quotas = [stream.quotas(step) for step in range(5000)]
    assert {sum(quota) for quota in quotas} == {32} and {quota[-1] for quota in quotas} == {0}
    assert [sum(quota[i] for quota in quotas) / 160_000 for i in range(6)] == pytest.approx(shares, abs=1e-3)


def test_every_row_comes_once_an_epoch(made_job):
    stream = made_job.stream([HUMAN], batch_sequences=1)
    stream.advance()
    size = len(stream.pool("human"))
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
    samples = [row for row in stream.batch(4) if row.source == "online"]
    assert len(samples) == pytest.approx(8 / 1.7, abs=1)
    with connect(job.store) as connection:
        online = query(connection, "select trajectory_id from judged where origin = 'online'")[
            "trajectory_id"
        ]
    assert set(ids(samples)) <= set(online)
    assert len(stream.pool("online")) == 4 < len(online)  # the window


FOLLOWED = [
    HUMAN,
    SAMPLES.model_copy(update={"unique": "near"}),
    Source(
        name="window",
        where="j.origin = 'online'",
        weight=0.5,
        window=5,
        keep_correct=0.5,
        when_empty="others",
    ),
    Source(name="all", where="j.origin = 'online'", weight=0.5, reward="fraction", when_empty="others"),
]


def contents(stream):
    """All that a batch may be cut from, tokens included, and the batches of some steps."""
    pools = {}
    for source in stream.mixture.source:
        size = len(stream.pool(source.name))
        pools[source.name] = [plain(row) for row in stream.rows(source, np.arange(size))]
    stream.rows_drawn = dict.fromkeys(stream.rows_drawn, 0)
    return pools, [[plain(row) for row in stream.batch(step)] for step in range(4)]


def plain(row):
    return str(row._replace(prompt_ids=row.prompt_ids.tolist(), completion_ids=row.completion_ids.tolist()))


def opened_at(job, watermark):
    stream = job.stream(FOLLOWED)
    stream.advance(watermark)
    return stream


def test_a_stream_that_is_advanced_reads_new_rows_only_and_gives_what_one_opened_there_gives(job):
    stream = job.stream(FOLLOWED)
    watermarks = [stream.advance()]
    first = stream.rows_read
    assert first == len(set(stream.pool("human").trajectory_ids) | set(stream.pool("samples").trajectory_ids))
    for round_number in range(2):
        added = add_online_samples(job, f"round-{round_number}")
        before = stream.rows_read
        watermarks.append(stream.advance())
        assert stream.rows_read == before + added > before
        if round_number == 0:
            job.store.maintain("reference_scores")  # compacted, so that all the files are others
        assert contents(stream) == contents(opened_at(job, watermarks[-1]))
    unchanged = stream.rows_read
    assert stream.advance() == watermarks[-1] and stream.rows_read == unchanged
    for watermark in (watermarks[1], watermarks[0], watermarks[2]):  # a replay, there and back
        stream.advance(watermark)
        assert contents(stream) == contents(opened_at(job, watermark))
    window = job.stream(FOLLOWED[2:3])
    for watermark in watermarks[1:]:
        window.advance(watermark)
        used = set(window.pool("window").spans[:, 0].tolist())
        assert (
            set(window.pool("window").blocks) == used and len(used) > 0
        )  # what no source uses any more is forgotten


def test_a_stream_goes_on_where_maintenance_deleted_what_it_would_have_tailed(job):
    stream = job.stream(FOLLOWED)
    stream.advance()
    add_online_samples(job, "one")
    job.store.maintain("reference_scores", retention_hours=0)
    with pytest.raises(StoreError):
        job.store.tail("reference_scores", stream.watermark["reference_scores"])
    watermark = stream.advance()
    assert contents(stream) == contents(opened_at(job, watermark)) and len(stream.pool("all")) > 0


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
        sizes[unique] = len(stream.pool("human"))
    counted = """select count(distinct (problem_id, token_hash)) as token,
            count(distinct (cluster_id, verdict)) as near
        from judged join clusters using (trajectory_id)
        join (select trajectory_id, token_hash from program_signatures) using (trajectory_id)
        where origin = 'human' and split = 'train' and language = 'python3'"""
    with connect(made_job.store) as connection:
        token, near = query(connection, counted.replace("(problem_id,", "(judged.problem_id,")).row(0)
    assert (sizes["token"], sizes["near"]) == (token, near)
    assert sizes["near"] < sizes["token"] <= sizes["all"]


def test_rewards_of_rows_and_of_reference_samples_are_those_of_the_store(made_job):
    stream = made_job.stream([HUMAN, SAMPLES])
    stream.advance()
    row = stream.batch(0)[0]
    with connect(made_job.store) as connection:
        actual = query(
            connection,
            "select trials, successes from reference_counts"
            " where problem_id = $problem and policy_id = 'reference'",
            {"problem": row.problem_id},
        ).row(0)
        verdict = query(
            connection, "select verdict from judged where trajectory_id = $id", {"id": row.trajectory_id}
        )["verdict"][0]
    trials, successes = actual
    assert trials == 4
    assert row.reference_rewards.tolist() == [-1.0] * (trials - successes) + [0.0] * successes
    assert row.reward == (0.0 if verdict == "accepted" else -1.0) and row.reward_range == (-1.0, 0.0)


def test_scoring_again_adds_nothing(job):
    before = job.store.version("reference_scores")
    assert score(job.store, job.policy()).scored == 0
    assert job.store.version("reference_scores") == before


def test_a_rollout_of_the_same_name_is_sampled_once_and_is_reproducible(job):
    assert add_online_samples(job, "one") > 0
    assert add_online_samples(job, "one") == 0
    add_online_samples(job, "two")
    with connect(job.store) as connection:
        actual = query(
            connection,
            "select batch_id, count(*) as n, count(distinct trajectory_id) as ids from trajectories"
            " where origin = 'online' group by batch_id",
        )
    assert actual["n"].to_list() == actual["ids"].to_list()


def add_online_samples(job, name):
    with connect(job.store) as connection:
        problems = query(
            connection,
            "select problem_id, statement from problems where split = 'train' order by problem_id limit 3",
        )
    settings = SamplingSettings(samples_per_problem=4, max_new_tokens=16)
    provenance = Provenance(name=name, policy_id="policy@3", run_id="run", policy_step=3)
    sampled = rollout(job.store, job.policy(), problems, settings, provenance, seed=1)
    with Pool() as pool:
        label(job.store, pool, all_tests=True)
    score(job.store, job.policy())
    return sampled


def test_a_source_may_have_a_reward_of_its_own(made_job):
    fraction = SAMPLES.model_copy(update={"name": "fraction", "reward": "fraction"})
    stream = made_job.stream([SAMPLES, fraction], batch_sequences=60)
    stream.advance()
    rows = stream.batch(0)
    with connect(made_job.store) as connection:
        actual = query(connection, "select trajectory_id, passed, total, verdict from judged")
    judged = {row["trajectory_id"]: row for row in actual.to_dicts()}
    for row in rows:
        one = judged[row.trajectory_id]
        passes = (
            float(one["verdict"] == "accepted")
            if row.source == "samples"
            else one["passed"] / max(1, one["total"])
        )
        assert row.reward == pytest.approx(passes - 1)


def test_batches_by_tokens_stay_near_the_budget_and_shares_are_of_tokens(made_job):
    stream = made_job.stream([HUMAN, SAMPLES], batch_tokens_global=2000)
    stream.advance()
    longest = max(int(stream.pool(name).lengths.max()) for name in ("human", "samples"))
    tokens, total = Counter(), []
    for step in range(60):
        rows = stream.batch(step)
        total.append(sum(row.tokens for row in rows))
        for row in rows:
            tokens[row.source] += row.tokens
    assert max(total) <= 2000 + 2 * longest
    assert sum(total) == pytest.approx(60 * 2000, abs=2 * longest)
    assert tokens["human"] / sum(total) == pytest.approx(0.7, abs=0.01)
    resumed = made_job.stream([HUMAN, SAMPLES], batch_tokens_global=2000)
    resumed.restore(stream.state)
    assert ids(resumed.batch(60)) == ids(stream.batch(60))


def test_a_budget_below_every_row_is_an_error(made_job):
    stream = made_job.stream([HUMAN], batch_tokens_global=5)
    stream.advance()
    with pytest.raises(StreamError, match=r"no row fits batch_tokens_global = 5; the longest has \d+ tokens"):
        stream.batch(0)


def test_token_ids_are_views_on_what_the_store_holds(made_job):
    stream = made_job.stream([HUMAN, SAMPLES], batch_sequences=16)
    stream.advance()
    stored = made_job.store.read("reference_scores", ["trajectory_id", "prompt_ids", "completion_ids"])
    expected = {row["trajectory_id"]: (row["prompt_ids"], row["completion_ids"]) for row in stored.to_dicts()}
    for row in stream.batch(0):
        assert (row.prompt_ids.tolist(), row.completion_ids.tolist()) == expected[row.trajectory_id]
        assert row.prompt_ids.base is not None


def frame(steps, rewards, hours):
    count = len(steps)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "trajectory_id": [f"t{i}" for i in range(count)],
            "problem_id": ["p"] * count,
            "reference_logprob": [-1.0] * count,
            "behaviour_logprob": [None] * count,
            "reward": rewards,
            "verdict": ["accepted" if r == 0 else "wrong_answer" for r in rewards],
            "step": steps,
            "policy_step": steps,
            "own_step": [None] * count,
            "created_at": [start + timedelta(hours=h) for h in hours],
            "all_tests_run": [True] * count,
        }
    )


class OneTokenMore(EncodedTokens):
    """A cache in which the first row has one token, and each next one has one more."""

    def __init__(self):
        TokenCache.__init__(self)

    def find(self, connect, ids):
        return pl.DataFrame(
            {"trajectory_id": ids, **{name: [0] * len(ids) for name in list(SPANS)[1:]}}
        ).with_columns(completion_to=pl.Series(range(1, len(ids) + 1), dtype=pl.Int64))


def pooled(rows, longest=None, **options):
    source, rates = Source(name="s", weight=1.0, **options), SuccessRates({}, np.zeros(0), np.zeros(0))
    candidates = candidates_of(rows, source, 0.0, np.full(rows.height, -1), None)
    return make_pool(candidates, source, (-1.0, 0.0), None, rates, OneTokenMore(), None, longest)


def test_windows_ages_and_what_is_kept_beyond_them():
    rows = frame([0, 1, 2, 3, 4, 5], [0.0, -1.0, 0.0, -1.0, -1.0, -1.0], [0, 1, 2, 3, 4, 5])
    assert pooled(rows, window=2).trajectory_ids.tolist() == ["t4", "t5"]
    assert pooled(rows, max_age_hours=1.5).trajectory_ids.tolist() == ["t4", "t5"]
    assert pooled(rows, window=2, keep_correct=1.0).trajectory_ids.tolist() == ["t0", "t2", "t4", "t5"]
    assert pooled(rows, window=2).rows_ever == 6
    # Steps of two runs do not compare: the newest are those of the last hours.
    earlier_run = frame([7, 8, 0, 1], [-1.0] * 4, [0, 1, 50, 51])
    assert pooled(earlier_run, window=2).trajectory_ids.tolist() == ["t2", "t3"]
    many = frame([0] * 400, [0.0] * 400, [0] * 400)
    retained = pooled(many, window=1, keep_correct=0.25).trajectory_ids.tolist()
    assert 60 <= len(retained) <= 140
    fewer = pooled(many.head(200), window=1, keep_correct=0.25).trajectory_ids.tolist()
    assert set(fewer[:-1]) <= set(retained)  # the same rows, whatever else is there


def test_stale_rows_leave_and_the_source_is_then_empty(job):
    add_online_samples(job, "fresh")  # policy step 3
    limited = Source(name="online", where="j.origin = 'online'", weight=1.0, max_age_steps=2)
    stream = job.stream([limited], batch_sequences=4)
    stream.advance()
    assert len(stream.batch(5)) == 4
    with pytest.raises(StreamError, match="source online has no rows of the last 2 steps"):
        stream.batch(6)


def test_rows_of_another_run_are_older_than_any_step_of_this_one(job):
    add_online_samples(job, "fresh")  # of step 3 of the run "run"
    limited = Source(name="online", where="j.origin = 'online'", weight=1.0, max_age_steps=2)
    stream = job.stream([limited], batch_sequences=4, run_id="another")
    stream.advance()
    assert len(stream.batch(2)) == 4
    with pytest.raises(StreamError, match="source online has no rows of the last 2 steps"):
        stream.batch(5)


def test_a_fraction_of_tests_that_were_not_run_is_an_error_in_words(job):
    fraction = Source(name="online", where="j.origin = 'online'", weight=1.0, reward="fraction")
    with connect(job.store) as connection:
        problems = query(connection, "select problem_id from problems where split = 'train' limit 1")
    provenance = Provenance(name="early", policy_id="policy@3", run_id="run", policy_step=3)
    settings = SamplingSettings(samples_per_problem=2, max_new_tokens=16)
    wrong = "print('no number')\n"
    ids = job.policy().completion_ids(wrong)
    samples = [Sample(0, number, ids, wrong, "stop", -1.0) for number in range(2)]
    rows = trajectories(samples, problems["problem_id"].to_list(), settings, provenance)
    job.store.append("trajectories", rows, producer="early", sequence=0)
    with Pool() as pool:
        label(job.store, pool)
        score(job.store, job.policy())
        with pytest.raises(
            StreamError,
            match="source online: the reward fraction needs the result of every test, and 2 of 2 rows were"
            " judged up to their first failure only; run `spo label --all-tests`",
        ):
            job.stream([fraction]).advance()
        assert label(job.store, pool, all_tests=True).rows == 2
        assert label(job.store, pool, all_tests=True).rows == 0
    stream = job.stream([fraction])
    stream.advance()
    assert len(stream.pool("online")) == 2


def test_a_source_gives_each_row_as_often_as_uses_says_on_average(made_job):
    often = HUMAN.model_copy(update={"uses": 2.0, "when_empty": "others"})
    stream = made_job.stream([often, SAMPLES], batch_sequences=50)
    stream.advance()
    samples = Counter(row.source for step in range(12) for row in stream.batch(step))
    size = len(stream.pool("human"))
    assert 2 * size <= samples["human"] < 2 * size + 50


def test_weights_set_while_it_runs_take_the_place_of_the_schedule(made_job):
    stream = made_job.stream([HUMAN, SAMPLES])
    stream.advance()
    stream.weight_overrides = {"human": 0.0}
    assert {row.source for row in stream.batch(0)} == {"samples"}
    assert stream.requested_weights(0) == {"human": 0.0, "samples": 0.3}
    again = made_job.stream([HUMAN, SAMPLES])
    again.restore(stream.state)
    assert {row.source for row in again.batch(1)} == {"samples"}


def test_rows_with_more_tokens_are_left_out_and_counted(made_job):
    whole = made_job.stream([HUMAN])
    whole.advance()
    lengths = sorted(whole.pool("human").lengths.tolist())
    middle = lengths[len(lengths) // 2]
    short = made_job.stream([HUMAN], max_tokens=middle)
    short.advance()
    fits = [length for length in lengths if length <= middle]
    assert sorted(short.pool("human").lengths.tolist()) == fits and len(fits) < len(lengths)
    assert short.pool("human").too_long == len(lengths) - len(fits)


def test_rows_without_scores_have_the_tokens_that_scoring_would_give_them(made_job):
    """Scored and encoded here are the same rows but for what only a reference knows."""
    streams = [made_job.stream([HUMAN, SAMPLES], scored=scored) for scored in (True, False)]
    for stream in streams:
        stream.advance()
    for name in ("human", "samples"):
        source = next(source for source in (HUMAN, SAMPLES) if source.name == name)
        scored, encoded = (stream.rows(source, np.arange(len(stream.pool(name)))) for stream in streams)
        bare = [
            row._replace(reference_logprob=0.0, reference_rewards=(), behaviour_logprob=0.0)
            for row in (*scored, *encoded)
        ]
        assert [plain(row) for row in bare[: len(scored)]] == [plain(row) for row in bare[len(scored) :]]
        assert all(math.isnan(row.reference_logprob) and len(row.reference_rewards) == 0 for row in encoded)
        assert all(row.reference_logprob < 0 and len(row.reference_rewards) == 4 for row in scored)


def test_a_row_that_was_never_scored_is_drawn_where_no_score_is_needed(job):
    with connect(job.store) as connection:
        problems = query(
            connection,
            "select problem_id, statement from problems where split = 'train' order by problem_id limit 2",
        )
    settings = SamplingSettings(samples_per_problem=2, max_new_tokens=8)
    provenance = Provenance(name="unscored", policy_id="policy@1", run_id="run", policy_step=1)
    rollout(job.store, job.policy(), problems, settings, provenance, seed=3)
    with Pool() as pool:
        label(job.store, pool)
    online = Source(name="online", where="j.origin = 'online'", weight=1.0)
    scored, encoded = job.stream([online]), job.stream([online], scored=False)
    scored.advance(), encoded.advance()
    assert len(scored.pool("online")) == 0 and len(encoded.pool("online")) == 4
