"""Decontamination: marks everything in the store that leaks a problem of the evaluation set, so that corpora
can leave it out.

An SQL condition selects the problems of the evaluation set (default: `split = 'test'`). Marked are
* problems: those of the set (`itself`), the same problems in other sources (`same`:
  `pipeline/dedup/same_problems.py`), and those whose statement shares n-grams with one of the set (`ngrams`);
* trajectories: those whose prompt or completion shares n-grams with an evaluation problem other than their
  own. A trajectory is contaminated if it or its problem is marked. The view `clean_trajectories` has the
  others.

N-grams are 13 lower-case words without punctuation; those in more than 10 problems are ignored, as in GPT-3
(Brown et al. 2020, arXiv:2005.14165, appendix C). One shared 13-gram is not a leak here, because problem
statements share phrases ("the first line of each test case contains ..."): a text is marked if it has at
least a tenth of the evaluation problem's distinctive n-grams, or 50 of them. A statement of fewer than 13
words is one n-gram and is matched as a whole.

Every pass reads everything and writes all marks; the latest pass is the current one. If evaluation set,
tables and rules are those of the last pass, a call only returns its summary.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from pipeline.dedup import same_problems
from pipeline.dedup.lexers import lex, text_hashes
from pipeline.dedup.same_problems import WORDS
from pipeline.dedup.signatures import windows_of
from pipeline.store import Appender, Store, connect, predicate, query

PRODUCER = "decontaminate"
EVALUATION = "split = 'test'"
NGRAM_WORDS = 13
COMMON_NGRAM = 10
LEAST_SHARE = 0.1
ENOUGH_NGRAMS = 50
ALGORITHM = (
    f"decontamination 1: {NGRAM_WORDS}-grams in at most {COMMON_NGRAM} problems, "
    f"share {LEAST_SHARE} or {ENOUGH_NGRAMS} n-grams; {same_problems.ALGORITHM}"
)
EVIDENCE = ("itself", "same", "ngrams")
READ_TABLES = ("problems", "tests", "trajectories")
TEXTS_AT_ONCE = 10_000
EXAMPLE_WORDS = 20
TELLING = {"gram": pl.UInt64, "evaluation_problem_id": pl.String, "telling": pl.UInt32}
SHARED = {
    "subject_id": pl.String,
    "evaluation_problem_id": pl.String,
    "overlap": pl.Float64,
    "example": pl.String,
}


class LeakError(ValueError):
    """The training data of a run leaks its evaluation set; the message counts the rows and names one."""


@dataclass(frozen=True)
class Decontaminated:
    """Summary of the current marks.

    `problems`: marked problems by evidence. `trajectories_contaminated`: those marked themselves or through
    their problem. `examples`: up to ten marks, the largest overlap first. `was_finished`: nothing had changed
    since the last pass.
    """

    pass_number: int
    evaluation: str
    evaluation_problems: int
    problems: dict[str, int]
    trajectories_marked: int
    trajectories_contaminated: int
    trajectories: int
    examples: list[dict]
    was_finished: bool


def decontaminate(store: Store, evaluation: str = EVALUATION) -> Decontaminated:
    """Mark everything that leaks the evaluation set; `evaluation` is an SQL condition on `problems`.

    Raises SqlError if the condition is not valid SQL, ValueError if it selects no problem, StoreError if
    another process decontaminates the store at the same time.
    """
    appender = Appender(store, PRODUCER, "contaminations", "decontaminations")
    pins = {name: store.version(name) for name in READ_TABLES}
    chosen = evaluation_problems(store, evaluation)
    last = latest(store)
    wanted = (ALGORITHM, evaluation, pins)
    same_pass = (
        last is not None and (last["algorithm"], last["evaluation"], json.loads(last["pins"])) == wanted
    )
    if last is None or not same_pass:
        same_problems.mark_same_problems(store)
        marks = found_marks(store, chosen)
        number = next_number(store, last)
        last = write_pass(appender, marks, evaluation, chosen, pins, number)
    return summary(store, last, was_finished=same_pass)


def evaluation_problems(store: Store, evaluation: str) -> list[str]:
    """Sorted problem_ids of an evaluation set."""
    with connect(store) as connection:
        selected = query(
            connection,
            f"SELECT DISTINCT problem_id FROM problems WHERE {predicate(evaluation, name='evaluation')}"
            " ORDER BY problem_id",
        )
    if not selected.height:
        raise ValueError(f"no problem where {evaluation}: choose a condition that selects problems")
    return selected["problem_id"].to_list()


def latest(store: Store) -> dict | None:
    """The latest pass, as its row of `decontaminations`; None if there is none."""
    rows = store.snapshot("decontaminations").scan().sort("pass_number").tail(1).collect()
    return rows.row(0, named=True) if rows.height else None


def found_marks(
    store: Store,
    chosen: list[str],
    trajectories: pl.LazyFrame | None = None,
    evidence: Collection[str] = EVIDENCE,
) -> pl.DataFrame:
    """Rows of `contaminations`, without a pass number, for all problems and for `trajectories` (default:
    all)."""
    problems = store.read("problems", ["problem_id", "statement"]).unique("problem_id").sort("problem_id")
    wanted = set(chosen)
    itself = pl.DataFrame({"subject_id": chosen, "evaluation_problem_id": chosen})
    clusters = same_problems.current(store).select("problem_id", "cluster_id")
    theirs = clusters.filter(pl.col("problem_id").is_in(wanted)).rename(
        {"problem_id": "evaluation_problem_id"}
    )
    same = clusters.join(theirs, on="cluster_id").select(
        pl.col("problem_id").alias("subject_id"), "evaluation_problem_id"
    )
    same = same.filter(~pl.col("subject_id").is_in(wanted))
    telling = telling_ngrams(problems, wanted if "ngrams" in evidence else set())
    shared = shared_ngrams(problems["problem_id"], problems["statement"], telling)
    known = pl.concat([itself, same]).rename({"subject_id": "problem_id"})
    shared = shared.filter(~pl.col("subject_id").is_in(wanted))
    of_problems = pl.concat(
        [
            marked(itself, "itself"),
            marked(same, "same"),
            marked(shared.join(same, on=same.columns, how="anti"), "ngrams"),
        ]
    ).with_columns(pl.lit("problem").alias("kind"), pl.col("subject_id").alias("problem_id"))
    parts = [of_problems]
    every = store.snapshot("trajectories").scan() if trajectories is None else trajectories
    # A trajectory that leaks its own problem, or one that its problem is marked for, adds nothing.
    given = pl.concat(
        [known, shared.select(pl.col("subject_id").alias("problem_id"), "evaluation_problem_id")]
    )
    for rows in texts_of(every) if telling.height else ():
        parts.append(trajectory_marks(rows, telling, given).select(of_problems.columns))
    key = ["kind", "subject_id", "evaluation_problem_id"]
    return (
        pl.concat(parts)
        .sort([*key, "overlap"], descending=[False] * 3 + [True])
        .unique(key, keep="first", maintain_order=True)
    )


def trajectory_marks(rows: pl.DataFrame, telling: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """Marks of trajectories that share n-grams with an evaluation problem, without those of `given` (columns
    problem_id, evaluation_problem_id). `rows` has trajectory_id, problem_id and text.
    """
    own = rows.select(pl.col("trajectory_id").alias("subject_id"), "problem_id").unique("subject_id")
    shared = shared_ngrams(rows["trajectory_id"], rows["text"], telling).join(own, on="subject_id")
    shared = shared.join(given, on=["problem_id", "evaluation_problem_id"], how="anti")
    return marked(shared, "ngrams", "problem_id").with_columns(pl.lit("trajectory").alias("kind"))


def marked(pairs: pl.DataFrame, evidence: str, *more: str) -> pl.DataFrame:
    whole = {"overlap": pl.lit(1.0), "example": pl.lit(None, pl.String)}
    missing = [value.alias(name) for name, value in whole.items() if name not in pairs.columns]
    columns = ["subject_id", "evaluation_problem_id", "evidence", "overlap", "example", *more]
    return pairs.with_columns(*missing, pl.lit(evidence).alias("evidence")).select(columns)


def ngrams_of(texts: pl.Series) -> pl.DataFrame:
    """Distinct n-grams of each text: row (index of the text), gram (64-bit hash), start (word index of its
    first occurrence)."""
    words = lex(texts.fill_null("").str.to_lowercase(), WORDS)
    hashes = text_hashes(words.texts)[words.codes] if len(words.codes) else np.zeros(0, np.uint64)
    rows, starts, values = windows_of(hashes, words.offsets, NGRAM_WORDS)
    starts = starts - words.offsets[rows.astype(np.int64)]
    return pl.DataFrame({"row": rows.astype(np.int64), "gram": values, "start": starts}).unique(
        ["row", "gram"], keep="first", maintain_order=True
    )


def telling_ngrams(problems: pl.DataFrame, wanted: set[str]) -> pl.DataFrame:
    """Distinctive n-grams of the evaluation problems, which at most COMMON_NGRAM problems have.

    Columns: gram, evaluation_problem_id, telling (the number of such n-grams of this problem).
    """
    if not wanted:
        return pl.DataFrame(schema=TELLING)
    parts = []
    for begin in range(0, problems.height, TEXTS_AT_ONCE):
        part = problems[begin : begin + TEXTS_AT_ONCE]
        parts.append(ngrams_of(part["statement"]).with_columns(pl.col("row") + begin))
    grams = pl.concat(parts)
    chosen = np.flatnonzero(problems["problem_id"].is_in(wanted).to_numpy())
    theirs = grams.filter(pl.col("row").is_in(chosen))
    counts = grams.join(theirs.select("gram").unique(), on="gram", how="semi").group_by("gram").len()
    rare = theirs.join(counts.filter(pl.col("len") <= COMMON_NGRAM), on="gram", how="semi")
    return rare.select(
        "gram",
        problems["problem_id"].gather(rare["row"]).alias("evaluation_problem_id"),
        pl.len().over("row").alias("telling"),
    )


def shared_ngrams(ids: pl.Series, texts: pl.Series, telling: pl.DataFrame) -> pl.DataFrame:
    """Texts that share enough n-grams with an evaluation problem: subject_id, evaluation_problem_id, overlap,
    example."""
    if not telling.height:
        return pl.DataFrame(schema=SHARED)
    grams = ngrams_of(texts)
    matches = (
        grams.join(telling, on="gram")
        .group_by("row", "evaluation_problem_id")
        .agg(pl.len().alias("shared"), pl.col("telling").first(), pl.col("start").min())
        .with_columns((pl.col("shared") / pl.col("telling")).alias("overlap"))
        .filter((pl.col("overlap") >= LEAST_SHARE) | (pl.col("shared") >= ENOUGH_NGRAMS))
        .sort("row", "evaluation_problem_id")
    )
    examples = [example(texts[row], start) for row, start in matches.select("row", "start").iter_rows()]
    return matches.select(
        ids.gather(matches["row"]).alias("subject_id"),
        "evaluation_problem_id",
        "overlap",
        pl.Series("example", examples, dtype=pl.String),
    )


def example(text: str, start: int) -> str:
    """EXAMPLE_WORDS words of a text, from word index `start` on."""
    words = pl.Series([text]).str.to_lowercase().str.extract_all(WORDS.pattern)[0]
    return " ".join(words[start : start + EXAMPLE_WORDS])


def texts_of(trajectories: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Trajectories in portions: trajectory_id, problem_id, text (the prompt, then the completion or else the
    program)."""
    text = pl.concat_str(pl.col("prompt").fill_null(""), pl.coalesce("completion", "program"), separator="\n")
    rows = trajectories.select("trajectory_id", "problem_id", text.alias("text"))
    yield from rows.collect_batches(chunk_size=TEXTS_AT_ONCE)


def next_number(store: Store, last: dict | None) -> int:
    """The number of the next pass. A pass killed before its row was written left marks with its number, which
    belong to no pass.
    """
    marks = store.snapshot("contaminations").scan().select(pl.col("pass_number").max()).collect()
    return 1 + max(last["pass_number"] if last else 0, marks.item() or 0)


def write_pass(
    appender: Appender,
    marks: pl.DataFrame,
    evaluation: str,
    chosen: list[str],
    pins: dict[str, int],
    number: int,
) -> dict:
    """Write the marks, then the row of the pass: a pass without its row does not count."""
    rows = marks.with_columns(pl.lit(number, pl.Int64).alias("pass_number"))
    appender.append("contaminations", rows)
    row = {
        "pass_number": number,
        "algorithm": ALGORITHM,
        "evaluation": evaluation,
        "evaluation_problems": chosen,
        "pins": json.dumps(pins),
        "marked": marks.height,
        "made_at": datetime.now(UTC),
    }
    appender.append("decontaminations", pl.DataFrame([row]))
    return row


def summary(store: Store, last: dict, *, was_finished: bool) -> Decontaminated:
    with connect(store) as connection:
        counts = query(
            connection,
            "SELECT kind, evidence, count(DISTINCT subject_id)::BIGINT AS subjects FROM contaminated"
            " GROUP BY ALL ORDER BY ALL",
        )
        totals = query(
            connection,
            "SELECT count(DISTINCT trajectory_id)::BIGINT AS rows,"
            " (SELECT count(DISTINCT trajectory_id) FROM clean_trajectories)::BIGINT AS clean"
            " FROM trajectories",
        ).row(0, named=True)
        examples = query(
            connection,
            "SELECT kind, subject_id, evaluation_problem_id, evidence, overlap, example FROM contaminated"
            " WHERE evidence <> 'itself' ORDER BY overlap DESC, kind, subject_id, evaluation_problem_id"
            " LIMIT 10",
        )
    of_problems = counts.filter(pl.col("kind") == "problem").select("evidence", "subjects")
    return Decontaminated(
        pass_number=last["pass_number"],
        evaluation=last["evaluation"],
        evaluation_problems=len(last["evaluation_problems"]),
        problems=dict(of_problems.iter_rows()),
        trajectories_marked=sum(counts.filter(pl.col("kind") == "trajectory")["subjects"].to_list()),
        trajectories_contaminated=totals["rows"] - totals["clean"],
        trajectories=totals["rows"],
        examples=examples.to_dicts(),
        was_finished=was_finished,
    )


def leaks(
    store: Store,
    rows: pl.Series,
    evaluation: str,
    evidence: Collection[str] = EVIDENCE,
    sampled: Collection[str] = (),
) -> pl.DataFrame:
    """Leaks of an evaluation set: trajectory_id, problem_id, evaluation_problem_id, evidence, overlap; empty
    if there are none.

    `rows` are trajectory_ids. `sampled` are ids of problems to sample; the trajectory_id of their leaks is
    null.

    The search runs again on these rows and uses no earlier pass: the marks of a pass may be older than a row.
    """
    chosen = evaluation_problems(store, evaluation)
    same_problems.mark_same_problems(store)
    ids = rows.unique().alias("trajectory_id").to_frame().lazy()
    trajectories = store.snapshot("trajectories").scan().join(ids, on="trajectory_id", how="semi")
    marks = found_marks(store, chosen, trajectories, evidence).filter(
        pl.col("evidence").is_in(list(evidence))
    )
    columns = ["trajectory_id", "problem_id", "evaluation_problem_id", "evidence", "overlap"]
    of_problems = marks.filter(pl.col("kind") == "problem").drop("problem_id")
    to_sample = pl.DataFrame({"problem_id": pl.Series(sorted(set(sampled)), dtype=pl.String)})
    tried = pl.concat(
        [
            trajectories.select("trajectory_id", "problem_id").collect(),
            to_sample.select(pl.lit(None, pl.String).alias(columns[0]), "problem_id"),
        ]
    )
    by_problem = tried.join(of_problems, left_on="problem_id", right_on="subject_id")
    of_rows = marks.filter(pl.col("kind") == "trajectory").rename({"subject_id": "trajectory_id"})
    return pl.concat([by_problem.select(columns), of_rows.select(columns)]).sort(columns)


def refuse_leaks(
    store: Store,
    rows: pl.Series,
    evaluation: str,
    allowed: Collection[str] = (),
    sampled: Collection[str] = (),
) -> None:
    """Raise LeakError if trajectories to train on, or problems to sample, leak an evaluation set by evidence
    not in `allowed`.

    Raises ValueError if `allowed` names an unknown kind of evidence.
    """
    if unknown := set(allowed) - set(EVIDENCE):
        raise ValueError(
            f"allow_leaks: unknown evidence {sorted(unknown)[0]!r}; known: {', '.join(EVIDENCE)}"
        )
    evidence = [name for name in EVIDENCE if name not in allowed]
    leaked = leaks(store, rows, evaluation, evidence, sampled) if evidence else pl.DataFrame()
    if leaked.height:
        worst = leaked.sort("overlap", "trajectory_id", descending=[True, False], nulls_last=True).row(
            0, named=True
        )
        counts = ", ".join(
            f"{name} {count}"
            for name, count in leaked.group_by("evidence").len().sort("evidence").iter_rows()
        )
        what = [f"{leaked['trajectory_id'].drop_nulls().n_unique()} rows to train on"]
        if count := leaked.filter(pl.col("trajectory_id").is_null())["problem_id"].n_unique():
            what.append(f"{count} problems to sample")
        example = (
            f"{worst['trajectory_id']} of {worst['problem_id']}"
            if worst["trajectory_id"]
            else worst["problem_id"]
        )
        raise LeakError(
            f"{' and '.join(what)} leak {leaked['evaluation_problem_id'].n_unique()} problems"
            f" of the evaluation set ({evaluation}; {counts}),"
            f" e.g. {example} leaks {worst['evaluation_problem_id']}: run"
            " `spo decontaminate` and select from clean_trajectories, or name the evidence in allow_leaks"
        )
