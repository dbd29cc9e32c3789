"""The stream: weighted mixtures of stored trajectories, batch after batch, replayable from a few logged
numbers.

Batch k is a pure function of the seed, k, the weights and the watermark (a version of each table). All that
changes is in `Stream.state`: the rows drawn from each source, the tokens each is still owed, the weights and
the watermark.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np

from pipeline.corpora import CorpusError, corpus_id
from pipeline.store import Store, connect
from pipeline.store import reward as reward_named
from trainer.data.groups import ProblemGroups, groups_of
from trainer.data.mixture import Mixture, Source
from trainer.data.quotas import row_quotas
from trainer.data.row_pool import Row, RowPool, make_pool
from trainer.data.selection_weights import (
    UNWEIGHTED,
    SelectionWeights,
    selection_weights,
    source_draws,
)
from trainer.data.selector import Selection, Selector, StreamError, check_all_tests_ran
from trainer.data.tokens import TokenCache

# What a selection of all rows may use before it goes to disk; the policy that is trained needs memory too.
SQL_MEMORY_MB = 800
WATERMARK_TABLES = (
    "problems",
    "trajectories",
    "verdicts",
    "reference_scores",
    "program_signatures",
    "duplicates",
    "corpora",
)


class Stream:
    """Draws batches from a store at a watermark that `advance` moves.

    `tokens` decides what a row must have: a score under a reference, or nothing. With `reference_policy` each
    row comes with the rewards of that policy's samples of its problem, and rows of problems without any are
    left out. With `run_id`, rows of other runs count as older than its first step, whatever their own step.
    """

    def __init__(
        self,
        store: Store,
        mixture: Mixture,
        tokens: TokenCache,
        *,
        reference_policy: str | None,
        seed: int,
        run_id: str | None = None,
    ):
        self.store, self.mixture, self.seed = store, _with_corpora_resolved(store, mixture), seed
        self.reference_policy, self.run_id = reference_policy, run_id
        self.watermark: dict[str, int] = {}
        self.rows_drawn = {source.name: 0 for source in mixture.source}
        self.tokens_owed = {source.name: 0.0 for source in mixture.source}  # where batches are cut by tokens
        self.rows_owed = {s.name: 0 for s in mixture.source if s.group}  # of groups that are not yet full
        self.weight_overrides: dict[
            str, float
        ] = {}  # changed while the run goes on, in place of the mixture's
        self._tokens = tokens
        self._selector = Selector(
            store, self.mixture, tokens, reference_policy=reference_policy, run_id=run_id
        )
        self._selection: Selection | None = None
        self._pools: dict[str, RowPool] = {}
        self._orders: dict[str, tuple[Any, np.ndarray]] = {}
        self._grouping: dict[str, tuple[RowPool, ProblemGroups]] = {}

    def advance(self, watermark: dict[str, int] | None = None) -> dict[str, int]:
        """Move to a watermark, or to what the store holds now; returns it, to be logged.

        From the second move on the rows that changed are selected and the others stay, see `selector.py`; the
        tokens of a row are read once.
        """
        watermark = watermark or self.latest()
        if watermark == self.watermark and self._pools:
            return watermark
        self._tokens.follow(watermark)
        with ExitStack() as stack:
            connection = cache(
                lambda: stack.enter_context(connect(self.store, watermark, memory_mb=SQL_MEMORY_MB))
            )
            selection = self._selector.follow(self._selection, watermark) if self._selection else None
            selection = selection or self._selector.select(connection(), watermark)
            pools = {
                source.name: self._open_pool(source, selection, connection) for source in self.mixture.source
            }
        used = {int(number) for pool in pools.values() for number in np.unique(pool.spans[:, 0])}
        unused = set(self._tokens.blocks) - used
        self._tokens.drop_all_but(used)
        for rows in selection.candidates.values():
            rows.without_blocks(unused)
        self._pools, self._selection, self.watermark = pools, selection, watermark
        return watermark

    def latest(self) -> dict[str, int]:
        """The versions the tables are at now."""
        return self.store.pins(list(WATERMARK_TABLES))

    def pool(self, name: str) -> RowPool:
        """The rows that a source may give at this watermark."""
        return self._pools[name]

    @property
    def rows_read(self) -> int:
        """Rows whose tokens were read from the store so far."""
        return self._tokens.rows_read

    def batch(self, step: int) -> list[Row]:
        """The rows of this step. Steps are drawn in order; the counts so far are part of the state."""
        if self.mixture.batch_tokens_global:
            return self._token_batch(step, self.mixture.batch_tokens_global)
        rows: list[Row] = []
        weights = self.selection_weights(step)
        for source, count in zip(self.mixture.source, self._counts(step), strict=True):
            indices = self._indices(source, count, step)
            chosen_rows = self.rows(source, indices, weights)
            if source.group:
                first = rows[-1].group + 1 if rows else 0
                chosen_rows = [
                    row._replace(group=first + i // source.group) for i, row in enumerate(chosen_rows)
                ]
            rows += chosen_rows
            self.rows_drawn[source.name] += count
        return rows

    def rows(self, source: Source, indices: np.ndarray, weights: SelectionWeights = UNWEIGHTED) -> list[Row]:
        """The rows of a source at these indices of its pool."""
        return self._pools[source.name].rows(indices, source.name, weights)

    def selection_weights(self, step: int) -> SelectionWeights:
        """Weights that undo a selection by verdict, for the mixture of this step."""
        shares = self.available_weights(step)
        batches = []
        for source, share in zip(self.mixture.source, (shares / shares.sum()).tolist(), strict=True):
            if share == 0:
                continue
            pool, recent = self._pools[source.name], self._recent(source, step)
            if isinstance(recent, range):
                part, length = pool.draws, pool.mean_length
            else:
                part = source_draws(1.0, pool.verdicts[recent] == "accepted", pool.success_rate[recent])
                length = float(pool.lengths[recent].mean())
            if self.mixture.batch_tokens_global:  # shares are then of tokens, and long rows are fewer
                share /= length
            batches.append(part._replace(share=share * part.share))
        return selection_weights(batches)

    def quotas(self, step: int) -> list[int]:
        """Rows each source gives to this batch. Rounding follows the step, so that shares hold over many
        batches.
        """
        return row_quotas(self.available_weights(step), self.mixture.batch_sequences, step)

    def requested_weights(self, step: int) -> dict[str, float]:
        """The weight of each source at a step, whether or not it has rows."""
        sources = self.mixture.source
        return {s.name: self.weight_overrides.get(s.name, s.weight_at(step)) for s in sources}

    def available_weights(self, step: int) -> np.ndarray:
        """The same as an array, 0 for sources that are empty and may be. Raises StreamError if one may
        not, or all are.
        """
        requested = self.requested_weights(step)
        weights = [self._available(source, requested[source.name], step) for source in self.mixture.source]
        if not sum(weights) > 0:
            raise StreamError(f"step {step}: no source has both rows and a weight; see `spo train --dry-run`")
        return np.array(weights)

    @property
    def state(self) -> dict:
        """All that a resumed run needs, as JSON."""
        return {
            "rows_drawn": dict(self.rows_drawn),
            "tokens_owed": dict(self.tokens_owed),
            "rows_owed": dict(self.rows_owed),
            "weight_overrides": dict(self.weight_overrides),
            "watermark": dict(self.watermark),
        }

    def restore(self, state: dict) -> None:
        """Go on from a state, at its watermark."""
        self.rows_drawn, self.tokens_owed = dict(state["rows_drawn"]), dict(state["tokens_owed"])
        self.rows_owed = dict(state.get("rows_owed", {}))  # checkpoints before there were groups have none
        self.weight_overrides = dict(state["weight_overrides"])
        self.advance(state["watermark"])

    def _open_pool(self, source: Source, selection: Selection, connection: Callable[[], Any]) -> RowPool:
        reward = reward_named(self.mixture.reward_of(source))
        rows, limits = selection.candidates[source.name], [self.mixture.max_tokens, self._tokens.longest]
        check_all_tests_ran(f"source {source.name}", reward, rows.all_tests_ran[rows.is_first])
        return make_pool(
            rows,
            source,
            (reward.lowest, reward.highest),
            selection.rewards.get(reward.name),
            selection.rates,
            self._tokens,
            connection,
            min((limit for limit in limits if limit), default=None),
        )

    def _token_batch(self, step: int, budget: int) -> list[Row]:
        """Each source gives rows that fit into the tokens it is owed; the rest is carried on, so that
        shares hold.
        """
        weights, selection = self.available_weights(step), self.selection_weights(step)
        rows: list[Row] = []
        for source, share in zip(self.mixture.source, weights / weights.sum(), strict=True):
            if share == 0:
                continue
            owed = self.tokens_owed[source.name] + share * budget
            lengths = self._pools[source.name].lengths
            candidates = self._indices(source, int(owed // max(1, lengths.min())), step)
            count = int(np.searchsorted(np.cumsum(lengths[candidates]), owed, side="right"))
            rows += self.rows(source, candidates[:count], selection)
            self.tokens_owed[source.name] = owed - float(lengths[candidates[:count]].sum())
            self.rows_drawn[source.name] += count
        if not rows:
            longest = max(int(pool.lengths.max()) for pool in self._pools.values() if len(pool))
            message = f"no row fits batch_tokens_global = {budget}; the longest has {longest} tokens"
            raise StreamError(f"step {step}: {message}")
        return rows

    def _counts(self, step: int) -> list[int]:
        """Rows of each source in this batch: its quota, or of a source with groups the whole groups that it
        is owed. The rest is carried on, so that shares hold; a batch has at least one group.
        """
        quotas, sources = self.quotas(step), self.mixture.source
        for source, quota in zip(sources, quotas, strict=True):
            if source.group:
                self.rows_owed[source.name] += quota
        counts = [
            max(0, self.rows_owed[s.name]) // s.group * s.group if s.group else quota
            for s, quota in zip(sources, quotas, strict=True)
        ]
        if not any(counts):
            owed = [
                self.rows_owed[s.name] if quota else -math.inf
                for s, quota in zip(sources, quotas, strict=True)
            ]
            most = int(np.argmax(owed))
            counts[most] = sources[most].group or 0
        for source, count in zip(sources, counts, strict=True):
            if source.group:
                self.rows_owed[source.name] -= count
        return counts

    def _available(self, source: Source, weight: float, step: int) -> float:
        if weight > 0 and (shortage := self._shortage(source, step)):
            if source.when_empty == "error":
                fix = "wait for fresh ones, change its limits, or set when_empty = 'others'"
                raise StreamError(f"step {step}: source {source.name} has {shortage} ({source.where}); {fix}")
            return 0.0
        return weight

    def _shortage(self, source: Source, step: int) -> str:
        """What keeps a source from being drawn at a step; empty if nothing does."""
        pool = self._pools[source.name]
        if not len(pool):
            score = ", a reference score" if self._tokens.reference else ""
            value = " and reference samples of its problem" if self.reference_policy else ""
            return f"no rows with a reward{score}{value}"
        if len(self._recent(source, step)) == 0:
            return f"no rows of the last {source.max_age_steps} steps"
        if source.group and not len(self._groups(source, source.group, step)):
            return f"no problem with {source.group} rows, the size of its groups,"
        if source.uses and self.rows_drawn[source.name] >= source.uses * pool.rows_ever:
            return f"given each of its rows {source.uses:g} times on average"
        return ""

    def _recent(self, source: Source, step: int) -> range | np.ndarray:
        """Indices of rows that are young enough for a step, and of correct ones that are retained beyond."""
        pool = self._pools[source.name]
        if source.max_age_steps is None:
            return range(len(pool))
        return np.flatnonzero((pool.policy_step >= step - source.max_age_steps) | pool.retained)

    def _indices(self, source: Source, count: int, step: int) -> np.ndarray:
        """Indices into the pool: passes over a shuffled order; at random where rows leave as others come."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        if source.group:
            return self._grouped(source, source.group, count, step)
        if source.is_moving:
            recent, draws = self._recent(source, step), generator(self.seed, source.name, "step", step)
            chosen = draws.choice(len(recent), count, replace=count > len(recent))
            return chosen if isinstance(recent, range) else recent[chosen]
        size, first = len(self._pools[source.name]), self.rows_drawn[source.name]
        positions = np.arange(first, first + count)
        indices = np.empty(count, dtype=np.int64)
        for epoch in np.unique(positions // size).tolist():
            here = positions // size == epoch
            indices[here] = self._order(source.name, int(epoch), size)[positions[here] % size]
        return indices

    def _grouped(self, source: Source, size: int, count: int, step: int) -> np.ndarray:
        """Indices of whole groups: problems by passes over a shuffled order, or at random where rows leave as
        others come; the rows of a problem at random.
        """
        groups, draws = self._groups(source, size, step), generator(self.seed, source.name, "step", step)
        number, wanted = len(groups), count // size
        if source.is_moving:
            problems = draws.choice(number, wanted, replace=wanted > number)
        else:
            positions = np.arange(wanted) + self.rows_drawn[source.name] // size
            orders = {
                int(epoch): self._order(source.name, int(epoch), number)
                for epoch in np.unique(positions // number)
            }
            problems = np.array([orders[place // number][place % number] for place in positions.tolist()])
        return groups.draw(problems, size, draws)

    def _groups(self, source: Source, size: int, step: int) -> ProblemGroups:
        """The problems that can give a group at a step; kept where no row leaves."""
        pool = self._pools[source.name]
        if source.max_age_steps is not None:
            return groups_of(pool.problem_codes, np.asarray(self._recent(source, step)), size)
        if self._grouping.get(source.name, (None, None))[0] is not pool:
            self._grouping[source.name] = (pool, groups_of(pool.problem_codes, np.arange(len(pool)), size))
        return self._grouping[source.name][1]

    def _order(self, name: str, epoch: int, size: int) -> np.ndarray:
        """The shuffled order of an epoch, cached until the next one is asked for."""
        if name not in self._orders or self._orders[name][0] != (epoch, size):
            self._orders[name] = ((epoch, size), generator(self.seed, name, "epoch", epoch).permutation(size))
        return self._orders[name][1]


def _with_corpora_resolved(store: Store, mixture: Mixture) -> Mixture:
    """The mixture with each corpus by its id. Raises StreamError, with the source and a suggestion, if
    there is none, and SqlError if a `where` is not one condition.
    """
    return mixture.model_copy(
        update={"source": [_with_corpus_resolved(store, one) for one in mixture.source]}
    )


def _with_corpus_resolved(store: Store, source: Source) -> Source:
    source.condition()
    if source.corpus is None:
        return source
    try:
        return source.model_copy(update={"corpus": corpus_id(store, source.corpus)})
    except CorpusError as error:
        raise StreamError(f"source {source.name}: corpus: {error}") from error


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for each name: no draw depends on how many were made elsewhere."""
    key = hashlib.blake2b("/".join(map(str, (seed, *names))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big")))
