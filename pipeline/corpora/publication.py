"""Publishes corpora: a named SQL query with a reward, stored as exactly the rows that it returned at pinned
table versions.

    name = "human-and-reference"
    description = "what it is for"            # optional
    # or query_file = "query.sql", next to this file
    query = "SELECT trajectory_id FROM judged WHERE origin = $origin"
    reward = "binary"                         # a name in pipeline/store/rewards.py; default: binary
    parameters = { origin = "human" }         # optional: a value for each $name in the query

The same as an SQL file: the keys are in its opening comment. The default name is the file's name.

    -- description = "what it is for"
    -- reward = "binary"
    SELECT trajectory_id FROM judged WHERE origin = 'human'

The id is a hash of the definition and of every row with its reward. So publishing the same corpus again gives
the same id and adds nothing, compaction does not change an id, and reading a corpus verifies its rows.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipeline.store import (
    DEFAULT,
    RewardError,
    SqlError,
    Store,
    connect,
    in_one_line,
    leading_comment,
    macro,
    query,
    reward,
    tables_behind,
)

SPEC_KEYS = ("name", "description", "query", "query_file", "reward", "parameters")
# The tables behind the view `judged` and the rewards; always pinned, whatever the query reads.
REWARD_TABLES = ("problems", "trajectories", "verdicts")


class CorpusError(ValueError):
    """A corpus cannot be read, published or found; the message says which one and why."""


@dataclass(frozen=True)
class Spec:
    """Definition of a corpus, as in its TOML file."""

    name: str
    query: str
    reward: str = DEFAULT
    parameters: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise CorpusError(
                f"corpus name {self.name!r}: use only letters, digits, dot, dash and underscore"
            )
        try:
            reward(self.reward)
        except RewardError as error:
            raise CorpusError(f"corpus {self.name}: {error}") from None


@dataclass(frozen=True)
class Corpus:
    """A published corpus. `rows`: sorted trajectory_ids; `pins`: table -> version; `statistics`: see
    `compute_statistics`.
    """

    corpus_id: str
    name: str
    query: str
    reward: str
    parameters: dict[str, Any]
    pins: dict[str, int]
    rows: pl.Series
    statistics: dict[str, Any]
    published_at: datetime
    description: str | None = None


def read_spec(path: str | Path) -> Spec:
    """Read a corpus definition. Raises CorpusError for anything unknown, missing or of the wrong type."""
    path = Path(path)
    try:
        text = path.read_text()
        values = tomllib.loads(comment_settings(text) if path.suffix == ".sql" else text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CorpusError(f"{path}: {error}") from error
    unknown = set(values) - set(SPEC_KEYS)
    if unknown:
        raise CorpusError(f"{path}: unknown key {sorted(unknown)[0]}; there are: {', '.join(SPEC_KEYS)}")
    for key, value in values.items():
        if not isinstance(value, dict if key == "parameters" else str):
            raise CorpusError(f"{path}: {key} has the wrong type, {type(value).__name__}")
    if path.suffix == ".sql":
        if "query" in values or "query_file" in values:
            raise CorpusError(f"{path}: the file itself is the query; remove query and query_file")
        values = {"name": path.stem, "query": text, **values}
    if "name" not in values or ("query" in values) == ("query_file" in values):
        raise CorpusError(f"{path}: needs name, and either query or query_file")
    if "query_file" in values:
        try:
            values["query"] = (path.parent / values.pop("query_file")).read_text()
        except OSError as error:
            raise CorpusError(f"{path}: query_file: {error}") from error
    return Spec(**values)


def comment_settings(text: str) -> str:
    """The TOML in the comment that an SQL file opens with: its lines of the form `-- key = value`."""
    lines = [line.removeprefix("--").strip() for line in leading_comment(text)]
    return "\n".join(line for line in lines if re.match(r"[a-z_]+\s*=", line))


def publish(store: Store, spec: Spec | str | Path) -> Corpus:
    """Run the query on the current store and record its rows; the same result again adds nothing.

    Rows without a reward (no verdict, or a judge error) are left out and counted in the statistics. Raises
    CorpusError unless the query is one SELECT with unique trajectory_ids, at least one row has a reward, and
    all tests of each were run where the reward counts them.
    """
    spec = spec if isinstance(spec, Spec) else read_spec(spec)
    with connect(store, pins := store.pins()) as connection:
        tables = pinned_tables(connection, spec)
        selected = selected_ids(connection, spec)
        rewarded = rewarded_rows(connection, selected, spec.reward)
        check_all_tests_ran(connection, rewarded["trajectory_id"], spec)
    corpus = Corpus(
        corpus_id=content_hash(spec, rewarded),
        name=spec.name,
        query=spec.query,
        reward=spec.reward,
        parameters=dict(spec.parameters),
        pins={name: pins[name] for name in tables},
        rows=rewarded["trajectory_id"],
        statistics=compute_statistics(rewarded, left_out=selected.len() - rewarded.height),
        published_at=datetime.now(UTC),
        description=spec.description,
    )
    if not rewarded.height:
        raise CorpusError(
            f"corpus {spec.name}: none of its {selected.len()} rows has a reward; label them first"
        )
    store.append("corpora", corpus_row(corpus), producer=f"corpus/{corpus.corpus_id}", sequence=1)
    return load(store, corpus.corpus_id)


def load(store: Store, key: str) -> Corpus:
    """The corpus with that id or id prefix, or the newest one with that name. Raises CorpusError if there is
    none.
    """
    identity = corpus_id(store, key)
    rows = store.snapshot("corpora").scan().filter(pl.col("corpus_id") == identity).collect()
    row = rows.row(0, named=True)
    return Corpus(
        **{
            name: row[name]
            for name in ("corpus_id", "name", "query", "reward", "published_at", "description")
        },
        parameters=json.loads(row["parameters"] or "{}"),
        pins=json.loads(row["pins"]),
        rows=rows["rows"].explode().alias("trajectory_id"),
        statistics=json.loads(row["statistics"]),
    )


def corpus_id(store: Store, key: str) -> str:
    """The id of the newest corpus with that name, or of the one with that id prefix. Raises CorpusError with
    the nearest name.
    """
    stored = store.snapshot("corpora").scan().select("corpus_id", "name", "published_at").collect()
    named = stored.filter(pl.col("name") == key).sort("published_at", "corpus_id").tail(1)
    rows = (
        named if named.height else stored.filter(pl.col("corpus_id").str.starts_with(key)).unique("corpus_id")
    )
    if rows.height == 1:
        return rows["corpus_id"][0]
    names = sorted(stored["name"].unique())
    near = difflib.get_close_matches(key, names, n=1)
    state = "several corpora have ids that begin with" if rows.height else "no corpus"
    meant = f"; did you mean {near[0]}?" if near else ""
    raise CorpusError(f"{state} {key!r}; published: {', '.join(names) or 'none'}{meant}")


def list_corpora(store: Store) -> pl.DataFrame:
    """Published corpora, newest first: corpus_id, name, reward, rows (count), published_at, description,
    statistics.
    """
    columns = [
        "corpus_id",
        "name",
        "reward",
        pl.col("rows").list.len(),
        "published_at",
        "description",
        "statistics",
    ]
    return store.snapshot("corpora").scan().select(columns).sort("published_at", descending=True).collect()


def read_rows(store: Store, corpus: Corpus, columns: str = "*") -> pl.DataFrame:
    """Rows of a corpus at its pinned versions: columns of the view `judged` (an SQL list) and `reward`, by
    trajectory_id.

    Raises CorpusError if the store no longer has the published rows, StoreError if a pinned version is gone.
    """
    with connect(store, corpus.pins) as connection:
        verify(connection, corpus)
        return judged_rows(connection, corpus.rows, f"{columns}, {reward_column(corpus.reward)}")


def diff(store: Store, before: Corpus, after: Corpus) -> pl.DataFrame:
    """Differences between two corpora, one row per trajectory: change (added, removed or reward), rewards
    before and after.
    """
    columns = "trajectory_id, problem_id, origin"
    old, new = (read_rows(store, corpus, columns) for corpus in (before, after))
    both = old.join(new, on="trajectory_id", how="full", coalesce=True, suffix="_after")
    change = (
        pl.when(pl.col("reward").is_null())
        .then(pl.lit("added"))
        .when(pl.col("reward_after").is_null())
        .then(pl.lit("removed"))
        .when(pl.col("reward") != pl.col("reward_after"))
        .then(pl.lit("reward"))
    )
    return (
        both.with_columns(change.alias("change"))
        .filter(pl.col("change").is_not_null())
        .select(
            "trajectory_id",
            "change",
            pl.col("reward").alias("reward_before"),
            "reward_after",
            pl.coalesce("origin", "origin_after").alias("origin"),
            pl.coalesce("problem_id", "problem_id_after").alias("problem_id"),
        )
        .sort("change", "trajectory_id")
    )


def verify(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> None:
    """Raise CorpusError unless a connection at the corpus's pins returns the published rows and rewards."""
    if (
        content_hash(corpus_spec(corpus), rewarded_rows(connection, corpus.rows, corpus.reward))
        != corpus.corpus_id
    ):
        raise CorpusError(
            f"corpus {corpus.name} ({corpus.corpus_id:.12}): its rows or rewards differ from those published"
        )


def corpus_spec(corpus: Corpus) -> Spec:
    return Spec(corpus.name, corpus.query, corpus.reward, corpus.parameters, corpus.description)


def pinned_tables(connection: duckdb.DuckDBPyConnection, spec: Spec) -> list[str]:
    try:
        return sorted({*tables_behind(spec.query), *REWARD_TABLES})
    except SqlError as error:
        raise CorpusError(f"corpus {spec.name}: {error}") from error


def selected_ids(connection: duckdb.DuckDBPyConnection, spec: Spec) -> pl.Series:
    """Sorted trajectory_ids that the query selects."""
    try:
        rows = query(connection, spec.query, spec.parameters)
    except SqlError as error:
        raise CorpusError(f"corpus {spec.name}: {error}") from error
    if "trajectory_id" not in rows.columns:
        raise CorpusError(
            f"corpus {spec.name}: the query has no column trajectory_id, but {', '.join(rows.columns)}"
        )
    ids = rows["trajectory_id"].cast(pl.String)
    if ids.null_count() or ids.n_unique() < ids.len():
        repeated = ids.filter(ids.is_duplicated() | ids.is_null()).sort()
        raise CorpusError(
            f"corpus {spec.name}: the query returns trajectory_id {repeated[0]} more than once, or as null"
        )
    return ids.sort()


def reward_column(name: str) -> str:
    """SQL expression of a reward over the columns of `judged`."""
    return f"{macro(name)}(verdict, passed, total) AS reward"


def rewarded_rows(connection: duckdb.DuckDBPyConnection, ids: pl.Series, name: str) -> pl.DataFrame:
    """The trajectories that have a reward, sorted: trajectory_id, problem_id, origin, verdict, language,
    reward.
    """
    columns = f"trajectory_id, problem_id, origin, verdict, language, {reward_column(name)}"
    return judged_rows(connection, ids, columns).filter(pl.col("reward").is_not_null())


def check_all_tests_ran(connection: duckdb.DuckDBPyConnection, ids: pl.Series, spec: Spec) -> None:
    """Raises CorpusError if the reward counts tests that were not run for some of these trajectories."""
    if not reward(spec.reward).needs_all_tests:
        return
    ran = judged_rows(connection, ids, "trajectory_id, all_tests_run")["all_tests_run"]
    if not ran.all():
        raise CorpusError(
            f"corpus {spec.name}: the reward {spec.reward} needs the result of every test, and"
            f" {int((~ran).sum())} of its {len(ran)} rows were judged up to their first failure only;"
            " run `spo label --all-tests`, or use the reward binary"
        )


def judged_rows(connection: duckdb.DuckDBPyConnection, ids: pl.Series, columns: str) -> pl.DataFrame:
    selected = pl.DataFrame({"trajectory_id": ids}).to_arrow()
    connection.register("chosen", selected)
    try:
        return connection.sql(
            f"SELECT {columns} FROM judged SEMI JOIN chosen USING (trajectory_id) ORDER BY trajectory_id"
        ).pl()
    except duckdb.Error as error:
        raise CorpusError(in_one_line(error)) from error
    finally:
        connection.unregister("chosen")


def content_hash(spec: Spec, rewarded: pl.DataFrame) -> str:
    """SHA-256 of the definition and every (trajectory_id, reward), in hexadecimal."""
    definition = [spec.name, spec.query.strip(), dict(spec.parameters), spec.reward, reward(spec.reward).sql]
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True, default=str).encode())
    for ids in rewarded.select("trajectory_id").iter_slices(100_000):
        digest.update("\n".join(["", *ids["trajectory_id"]]).encode())
    digest.update(rewarded["reward"].to_numpy().astype("<f8").tobytes())
    return digest.hexdigest()


def compute_statistics(rewarded: pl.DataFrame, *, left_out: int) -> dict[str, Any]:
    """Counts of rows by origin and verdict and by language, number of problems, mean reward, and the number
    of rows left out without a reward.
    """
    by_origin: dict[str, dict[str, int]] = {}
    for origin, verdict, count in (
        rewarded.group_by("origin", "verdict").len().sort("origin", "verdict").iter_rows()
    ):
        by_origin.setdefault(origin, {})[verdict] = count
    return {
        "rows": rewarded.height,
        "problems": rewarded["problem_id"].n_unique(),
        "origins": by_origin,
        "languages": dict(rewarded.group_by("language").len().sort("language").iter_rows()),
        "mean_reward": rewarded["reward"].mean(),
        "left_out_without_reward": left_out,
    }


def corpus_row(corpus: Corpus) -> pl.DataFrame:
    values = {
        name: getattr(corpus, name)
        for name in ("corpus_id", "name", "query", "reward", "published_at", "description")
    }
    texts = {
        name: json.dumps(getattr(corpus, name), sort_keys=True)
        for name in ("pins", "parameters", "statistics")
    }
    return pl.DataFrame(
        {**values, **texts, "rows": [corpus.rows.to_list()]}, schema_overrides={"description": pl.String}
    )
