"""Selects the candidates of each source at a watermark: among all rows of a store, or from an earlier
selection and what was added since, which gives the same.

Whether a trajectory is a candidate depends on its own rows in the tables, on its problem, and on the order of
the judge versions. So a change of a few trajectories is followed by asking for these alone, over the files
that have rows of them. Where more than that changed, or a condition looks at other rows, all are selected.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from pipeline.store import (
    Reward,
    RowFiles,
    Snapshot,
    SqlError,
    Store,
    StoreError,
    connect_part,
    query,
    reads_one_row,
)
from pipeline.store import reward as reward_named
from trainer.data.candidates import Candidates, candidates_of
from trainer.data.mixture import Mixture, Source
from trainer.data.selection import ReferenceRewards, select_reference_rewards, select_rows
from trainer.data.selection_weights import SUCCESSES, SuccessRates
from trainer.data.tokens import TokenCache

# More trajectories than this are not followed one by one.
MOST_FOLLOWED = 200_000
VIEWS = ("judge_versions", "judged", "clusters")
# Tables whose rows say nothing of a single trajectory; all of them is read.
WHOLE = ("problems", "tests", "policies", "corpora")
OF_REFERENCE = """
select 1 from trajectories where policy_id = $policy and temperature = 1 and top_p = 1
    and trajectory_id in (select trajectory_id from _among) limit 1
"""
STEPS = """
select trajectory_id, coalesce(policy_step, 0)::bigint from trajectories
where trajectory_id in (select trajectory_id from _among)
"""
OF_SOME = SUCCESSES.replace("group by", "and trajectory_id in (select trajectory_id from _among) group by")


class StreamError(ValueError):
    """A mixture that cannot be drawn from; the message names the source and what it lacks."""


class NotFollowedError(Exception):
    """More changed than single trajectories."""


@dataclass(frozen=True)
class Index:
    """What it takes to follow a store: the files of each table that has a row per trajectory, the view
    `judge_versions`, and hashes of the rows of each corpus, ascending.
    """

    files: dict[str, RowFiles]
    judge_versions: pl.DataFrame
    corpora: dict[str, np.ndarray]


@dataclass(frozen=True)
class Selection:
    """The candidates of each source at a watermark, the rewards of the reference's samples by reward
    function, and the success rates of policies. `index` is made when a selection is first followed.
    """

    watermark: dict[str, int]
    candidates: dict[str, Candidates]
    rewards: dict[str, ReferenceRewards]
    rates: SuccessRates
    index: Index | None = field(default=None, repr=False)


class Selector:
    """Selects rows of a store for the sources of a mixture, whose corpora are given by id."""

    def __init__(
        self,
        store: Store,
        mixture: Mixture,
        tokens: TokenCache,
        *,
        reference_policy: str | None,
        run_id: str | None,
    ):
        self.store, self.mixture, self.tokens = store, mixture, tokens
        self.reference_policy, self.run_id = reference_policy, run_id
        uniques = {source.unique for source in mixture.source}
        self._followed = ["trajectories", "verdicts"]
        self._followed += ["reference_scores"] if tokens.reference else []
        self._followed += ["program_signatures"] if "token" in uniques else []
        self._followed += ["duplicates"] if "near" in uniques else []
        self._corpora = list(dict.fromkeys(source.corpus for source in mixture.source if source.corpus))
        self._can_follow = store.index_folder is not None and all(
            reads_one_row(source.condition()) for source in mixture.source
        )

    def select(self, connection: Any, watermark: dict[str, int]) -> Selection:
        """The selection at the watermark that a connection is open at."""
        rewards = {
            name: self._reference_rewards(connection, name)
            for name in dict.fromkeys(map(self.mixture.reward_of, self.mixture.source))
            if self.reference_policy is not None
        }
        rates = SuccessRates.of(connection)
        candidates = {
            source.name: self._candidates(connection, source, rewards, rates)
            for source in self.mixture.source
        }
        return Selection(watermark, candidates, rewards, rates)

    def follow(self, last: Selection, watermark: dict[str, int]) -> Selection | None:
        """The selection at a later watermark, equal to the one `select` would make. None where all rows have
        to be looked at.
        """
        if not self._can_follow:
            return None
        try:
            return self._follow(last, watermark)
        except (NotFollowedError, StoreError, SqlError, OSError):
            # Also where maintenance deleted files: `select` finds out what is wrong, if anything is.
            return None

    def _follow(self, last: Selection, watermark: dict[str, int]) -> Selection:
        fixed = ["problems", *(["corpora"] if self._corpora else [])]
        if watermark.keys() != last.watermark.keys() or any(
            watermark[name] < version or (name in fixed and watermark[name] != version)
            for name, version in last.watermark.items()
        ):
            raise NotFollowedError
        before = last.index or self._index(last.watermark)
        added = {
            name: self.store.added(name, last.watermark[name], watermark[name])
            for name in self._followed
            if watermark[name] > last.watermark[name]
        }
        ids = self._changed_ids(added)
        versions = self._judge_versions(before.judge_versions, added.get("verdicts"))
        files = before.files | {name: before.files[name].with_added(rows) for name, rows in added.items()}
        selection = replace(
            last, watermark=watermark, index=replace(before, files=files, judge_versions=versions)
        )
        if ids.is_empty():
            return selection
        change = _Change(self, ids, before, files, watermark)
        with change.connect(files, versions) as connection:
            return self._changed(selection, change, connection)

    def _changed(self, last: Selection, change: _Change, connection: Any) -> Selection:
        """A selection with the changed trajectories selected again over `connection`."""
        connection.register("_among", change.among.to_arrow())
        policy = {"policy": self.reference_policy}
        if self.reference_policy is not None and query(connection, OF_REFERENCE, policy).height:
            raise NotFollowedError  # the rewards of a problem's samples, for all of its rows
        rates = last.rates.changed(query(connection, OF_SOME), 1)
        had_verdict = change.had_verdict()
        gone: dict[str, int] = {}
        if len(had_verdict):
            rates = rates.changed(change.successes_before(), -1)
            gone = dict(query(connection, STEPS).iter_rows())
        candidates = dict(last.candidates)
        for source in self.mixture.source:
            if source.corpus is None or change.touches_corpus(source.corpus):
                rows = self._candidates(connection, source, last.rewards, rates, change.ids)
                candidates[source.name] = last.candidates[source.name].replaced(gone, rows)
                self.tokens.find(lambda: connection, pl.Series(rows.trajectory_ids, dtype=pl.String))
        return replace(last, candidates=candidates, rates=rates)

    def _changed_ids(self, added: dict[str, Snapshot]) -> pl.Series:
        parts = [rows.read(["trajectory_id"])["trajectory_id"] for rows in added.values()]
        ids = pl.concat([pl.Series("trajectory_id", [], dtype=pl.String), *parts]).unique()
        if len(ids) > MOST_FOLLOWED:
            raise NotFollowedError
        return ids

    def _judge_versions(self, known: pl.DataFrame, added: Snapshot | None) -> pl.DataFrame:
        """The view `judge_versions` with verdicts that were added. Raises NotFollowedError if versions that
        were there come in another order.
        """
        if added is None:
            return known
        first = pl.col("judged_at").min().alias("in_use_since")
        new = added.read(["judge_version", "judged_at"]).group_by("judge_version").agg(first)
        both = pl.concat([known, new.cast(known.schema)])
        both = both.group_by("judge_version").agg(pl.col("in_use_since").min())
        order = both.sort("in_use_since", "judge_version")["judge_version"]
        if order.filter(order.is_in(known["judge_version"].implode())).to_list() != (
            known.sort("in_use_since", "judge_version")["judge_version"].to_list()
        ):
            raise NotFollowedError
        return both

    def _index(self, watermark: dict[str, int]) -> Index:
        snapshots = {name: self.store.snapshot(name, watermark[name]) for name in self._followed}
        versions = (
            snapshots["verdicts"]
            .scan()
            .group_by("judge_version")
            .agg(pl.col("judged_at").min().alias("in_use_since"))
            .collect()
        )
        corpora = self.store.snapshot("corpora", watermark["corpora"]).scan()
        rows = {
            name: corpora.filter(pl.col("corpus_id") == name).select(pl.col("rows").explode()).collect()
            for name in self._corpora
        }
        return Index(
            {name: RowFiles.of(snapshot) for name, snapshot in snapshots.items()},
            versions,
            {name: np.sort(RowFiles.hashes(ids["rows"])) for name, ids in rows.items()},
        )

    def _reference_rewards(self, connection: Any, name: str) -> ReferenceRewards:
        policy = self.reference_policy or ""
        rewards, ran = select_reference_rewards(connection, policy, name)
        check_all_tests_ran(f"samples of {policy}, for Q0", reward_named(name), ran.to_numpy())
        return rewards

    def _candidates(
        self,
        connection: Any,
        source: Source,
        rewards: dict[str, ReferenceRewards],
        rates: SuccessRates,
        among: pl.Series | None = None,
    ) -> Candidates:
        reward = reward_named(self.mixture.reward_of(source))
        rows = select_rows(connection, source, reward.name, self.tokens.reference, among)
        rows = _with_own_steps(rows, self.run_id)
        policies = rates.numbers_of(rows["policy_id"])
        return candidates_of(rows, source, reward.highest, policies, rewards.get(reward.name))


@dataclass(frozen=True)
class _Change:
    """Trajectories of which rows were added, and what was known of them before."""

    selector: Selector
    ids: pl.Series
    before: Index
    files: dict[str, RowFiles]
    watermark: dict[str, int]

    @property
    def among(self) -> pl.DataFrame:
        return pl.DataFrame({"trajectory_id": self.ids})

    @property
    def hashes(self) -> np.ndarray:
        return RowFiles.hashes(self.ids)

    def connect(self, files: dict[str, RowFiles], versions: pl.DataFrame) -> Any:
        """A connection on the files that have rows of these trajectories."""
        store = self.selector.store
        whole = {name: store.snapshot(name, self.watermark.get(name)) for name in WHOLE}
        parts = {name: rows.files_with(self.hashes) for name, rows in files.items()}
        return connect_part(whole | parts, versions, VIEWS)

    def had_verdict(self) -> np.ndarray:
        """Which of them had a verdict, and so may have been candidates."""
        return np.flatnonzero(self.before.files["verdicts"].contains(self.hashes))

    def successes_before(self) -> pl.DataFrame:
        """What they counted for the success rates."""
        with self.connect(self.before.files, self.before.judge_versions) as connection:
            connection.register("_among", self.among.to_arrow())
            return query(connection, OF_SOME)

    def touches_corpus(self, name: str) -> bool:
        rows = self.before.corpora[name]
        places = np.minimum(np.searchsorted(rows, self.hashes), max(0, len(rows) - 1))
        return bool(len(rows) and (rows[places] == self.hashes).any())


def _with_own_steps(rows: pl.DataFrame, run_id: str | None) -> pl.DataFrame:
    """Rows of other runs at step 0, because their steps do not compare with those of this run. mu is that
    of rows that have a log-probability; others have no policy here.
    """
    known = pl.col("behaviour_logprob").is_not_null()
    rows = rows.with_columns(policy_id=pl.when(known).then("policy_id"), policy_step="step")
    if run_id is None:
        return rows.with_columns(own_step=pl.lit(None, pl.Float64))
    foreign = pl.col("run_id").is_not_null() & (pl.col("run_id") != run_id)
    return rows.with_columns(
        policy_step=pl.when(foreign).then(0).otherwise("policy_step"),
        own_step=pl.when(pl.col("run_id") == run_id).then("own_step"),
    )


def check_all_tests_ran(what: str, reward: Reward, ran: np.ndarray) -> None:
    """Raises StreamError if a reward counts tests that were not run."""
    missing = int((~ran.astype(bool)).sum())
    if reward.needs_all_tests and missing:
        raise StreamError(
            f"{what}: the reward {reward.name} needs the result of every test, and {missing} of {len(ran)}"
            " rows were judged up to their first failure only; run `spo label --all-tests`, or use the reward"
            " binary"
        )
