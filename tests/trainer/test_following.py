"""A stream that follows a store gives what one opened there gives, whatever was added: random trajectories,
verdicts of several judges, scores, signatures and duplicate marks, each seed another history.
"""

import random
from datetime import timedelta

import numpy as np
import pytest

from pipeline.store import Store
from tests.pipeline.conftest import DAY, frame, problem, trajectory, verdict
from trainer.data import Mixture, ScoredTokens, Source, Stream

REFERENCE, ROUNDS = "ref-fingerprint", 7
PROBLEMS = [f"src/{letter}" for letter in "abcdef"]
SOURCES = [
    Source(name="all", where="j.origin = 'human'", weight=1, keep_correct=0.5, max_age_hours=20),
    Source(name="token", where="j.policy_id is not null", weight=1, unique="token"),
    Source(name="near", where="j.passed >= 1", weight=1, unique="near", window=9, keep_correct=0.3),
    Source(
        name="groups", where="j.origin = 'online'", weight=1, group=2, max_age_steps=6, when_empty="others"
    ),
    Source(name="scores", where="s.logprob_sum < $most", parameters={"most": -2.0}, weight=1),
]


class History:
    """A store to which random rows are added."""

    def __init__(self, folder, seed):
        self.store, self.draw = Store(folder / "store"), random.Random(seed)
        self.known: list[dict] = []
        self.sequence = self.passes = 0
        last = {"split": "test"}
        self.add("problems", [problem(name, **(last if name == PROBLEMS[-1] else {})) for name in PROBLEMS])

    def add(self, table, rows):
        self.sequence += 1
        if rows:
            self.store.append(table, frame(table, rows), producer="test", sequence=self.sequence)

    def some(self, count=6):
        return self.draw.sample(self.known, min(count, len(self.known)))

    def time(self):
        return DAY + timedelta(hours=self.draw.randrange(48))

    def trajectories(self):
        rows = []
        for _ in range(self.draw.randrange(1, 9)):
            online = self.draw.random() < 0.5
            more = {
                "origin": "online" if online else "human",
                "policy_id": self.draw.choice(["p1", "p2"]) if online else "human",
                "policy_step": self.draw.randrange(9) if online else None,
                "run_id": self.draw.choice(["mine", "other"]) if online else None,
                "behaviour_logprob": -3.0 if online else None,
                "created_at": self.time(),
            }
            name = f"{self.draw.getrandbits(60):015x}"
            rows.append(trajectory(name, self.draw.choice(PROBLEMS), **more))
        self.known += rows
        self.add("trajectories", rows)

    def verdicts(self):
        kinds = ["accepted", "accepted", "wrong_answer", "judge_error", "language_unavailable"]
        self.add("verdicts", [
            verdict(row["trajectory_id"], self.draw.choice(kinds), row["problem_id"],
                    judge_version=f"judge-{self.draw.randrange(3)}", attempt=self.draw.randrange(1, 4),
                    judged_at=self.time() + timedelta(days=self.draw.choice([*[self.sequence] * 9, 0])))
            for row in self.some(9)
        ])  # fmt: skip

    def scores(self):
        self.add("reference_scores", [
            {"trajectory_id": row["trajectory_id"], "problem_id": row["problem_id"],
             "reference": self.draw.choice([REFERENCE, REFERENCE, "another"]), "prompt_ids": [1, 2],
             "completion_ids": [*range(int(row["trajectory_id"][:2], 16) % 7 + 1)],
             "logprobs": [-1.0] * (int(row["trajectory_id"][:2], 16) % 7 + 1),
             "logprob_sum": -float(int(row["trajectory_id"][:2], 16) % 7 + 1), "scored_at": self.time()}
            for row in self.some(12)
        ])  # fmt: skip

    def signatures(self):
        self.add("program_signatures", [
            {"trajectory_id": row["trajectory_id"], "algorithm": "v1", "problem_id": row["problem_id"],
             "language": "python3", "raw_hash": "r", "abstract_hash": "a", "token_count": 9, "shingles": b"",
             "minhash": b"", "token_hash": row["trajectory_id"][0]}
            for row in self.some()
        ])  # fmt: skip

    def marks(self):
        self.passes += 1
        self.add("duplicates", [
            {"trajectory_id": row["trajectory_id"], "algorithm": "v1", "pass_number": self.passes,
             "problem_id": row["problem_id"], "cluster_id": f"{row['problem_id']}{self.draw.randrange(3)}",
             "representative_id": row["trajectory_id"], "level": "near", "cluster_size": 2}
            for row in self.some()
        ])  # fmt: skip

    def reference_samples(self):
        sampled = {"policy_id": "reference", "temperature": 1.0, "top_p": 1.0, "origin": "earlier_training"}
        rows = [
            trajectory(f"{self.draw.getrandbits(60):015x}", name, **sampled)
            for name in self.draw.sample(PROBLEMS, 3)
        ]
        self.add("trajectories", rows)
        kinds = self.draw.choices(["accepted", "wrong_answer"], k=len(rows))
        self.add("verdicts", [
            verdict(row["trajectory_id"], kind, row["problem_id"])
            for row, kind in zip(rows, kinds, strict=True)
        ])  # fmt: skip

    def compaction(self):
        for table in ("trajectories", "verdicts"):
            self.store.maintain(table, retention_hours=self.draw.choice([0, None, None]))

    def another_round(self):
        usual = [self.trajectories, self.verdicts, self.scores, self.signatures, self.marks]
        rare = [self.reference_samples, self.compaction]
        for step in self.draw.choices(usual, k=4) + (
            self.draw.sample(rare, 1) if self.sequence % 3 == 0 else []
        ):
            step()


def stream(history, sources=SOURCES, reference_policy=None):
    return Stream(
        history.store,
        Mixture(batch_sequences=10, max_tokens=8, source=sources),
        ScoredTokens(history.store, REFERENCE),
        reference_policy=reference_policy,
        seed=3,
        run_id="mine",
    )


def contents(stream):
    """All that a batch is cut from, and some batches from the state that an opened stream has."""
    pools = {
        source.name: (
            [plain(row) for row in stream.rows(source, np.arange(len(pool)))],
            (pool.rows_ever, pool.too_long, pool.problems_without_rewards),
            list(map(str, pool.success_rate.tolist())),
        )
        for source in stream.mixture.source
        for pool in [stream.pool(source.name)]
    }
    stream.rows_drawn, stream.rows_owed = (
        dict.fromkeys(stream.rows_drawn, 0),
        dict.fromkeys(stream.rows_owed, 0),
    )
    shares = {name: 1.0 if len(rows) else 0.0 for name, (rows, *_) in pools.items() if name != "groups"}
    stream.weight_overrides = shares
    steps = range(4) if any(shares.values()) else ()
    return pools, [[plain(row) for row in stream.batch(step)] for step in steps]


def plain(row):
    return str(row._replace(prompt_ids=row.prompt_ids.tolist(), completion_ids=row.completion_ids.tolist()))


def followed_moves(stream):
    """The list to which every move of the stream adds whether it followed what was added."""
    moves, follow = [], stream._selector.follow

    def note(*arguments):
        selection = follow(*arguments)
        moves.append(selection is not None)
        return selection

    stream._selector.follow = note
    return moves


@pytest.mark.parametrize("seed", range(4))
def test_a_followed_stream_equals_one_opened_at_its_watermark(tmp_path, seed):
    history = History(tmp_path, seed)
    policy = "reference" if seed % 2 else None
    for _ in range(2):
        history.another_round()
    following = stream(history, reference_policy=policy)
    moves = followed_moves(following)
    following.advance()
    for _ in range(ROUNDS):
        history.another_round()
        watermark = following.advance()
        opened = stream(history, reference_policy=policy)
        opened.advance(watermark)
        assert contents(following) == contents(opened)
    assert any(moves)  # what moves back a judge, takes files or samples the reference is not followed


def test_a_condition_that_looks_at_other_rows_is_asked_again_of_all(tmp_path):
    history = History(tmp_path, 1)
    solved = "j.problem_id in (select problem_id from judged where verdict = 'accepted')"
    sources = [Source(name="solved", where=solved, weight=1)]
    for add in (history.trajectories, history.verdicts, history.scores) * 4:
        add()
    following = stream(history, sources)
    moves = followed_moves(following)
    following.advance()
    for _ in range(4):
        history.another_round()
        watermark = following.advance()
        opened = stream(history, sources)
        opened.advance(watermark)
        assert contents(following) == contents(opened)
    assert len(following.pool("solved")) > 0 and not any(moves)


def test_a_file_without_a_changed_trajectory_is_not_read(tmp_path):
    history = History(tmp_path, 2)
    for add in (history.trajectories, history.verdicts, history.scores) * 3:
        add()
    following = stream(history, SOURCES[:1])
    following.advance()
    history.trajectories()
    following.advance()
    fresh = history.known[-1]
    later = {"judged_at": DAY + timedelta(days=99)}
    history.add("verdicts", [verdict(fresh["trajectory_id"], "accepted", fresh["problem_id"], **later)])
    for file in history.store.snapshot("trajectories", 3).files:  # all but the newest commit
        with open(file, "r+b") as content:
            content.write(b"damaged!")
    watermark = following.advance()
    assert following.watermark == watermark and watermark["verdicts"] == history.store.version("verdicts")
