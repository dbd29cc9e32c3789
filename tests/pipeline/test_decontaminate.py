"""Decontamination: n-grams against Python sets, marks by hand, refused corpora, and real benchmarks that
overlap.
"""

import gzip
import itertools
import json
import os
import random
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipeline.corpora.publication import Spec, load, publish
from pipeline.dedup import decontamination as module
from pipeline.dedup.decontamination import (
    COMMON_NGRAM,
    NGRAM_WORDS,
    LeakError,
    decontaminate,
    leaks,
    refuse_leaks,
)
from pipeline.store import sql
from pipeline.store.appender import Appender
from pipeline.store.store import Store, StoreError

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")

ANIMALS = (
    "ant bee cat dog eel fox gnu hen ibis jay kite lark mole newt owl pig quail rat seal toad urchin"
    " vole wren yak zebu"
)


def story(seed, words=60):
    return " ".join(random.Random(seed).choices(ANIMALS.split(), k=words))


def problem(problem_id, statement, split="train"):
    return {
        "problem_id": problem_id,
        "source": problem_id.split("/")[0],
        "split": split,
        "title": "",
        "statement": statement,
        "input_mode": "stdin",
        "checker": "tokens",
        "case_sensitive": False,
        "tags": ["x"],
        "test_set_hash": "h",
        "test_count": 1,
        "batch_id": "b",
        "source_file": "f",
        "source_line": 1,
    }


def trajectory(name, problem_id, **columns):
    return {
        "trajectory_id": name,
        "problem_id": problem_id,
        "origin": "human",
        "policy_id": "human",
        "source_key": name,
        "prompt": None,
        "completion": None,
        "program": "print(1)",
        "extraction": "given",
        "language": "python3",
        "created_at": datetime.now(UTC),
        "batch_id": "b",
        "source_file": "f",
        "source_line": 1,
        **columns,
    }


def verdict(name, problem_id):
    return {
        "trajectory_id": name,
        "test_set_hash": "h",
        "judge_version": "j",
        "attempt": 1,
        "problem_id": problem_id,
        "verdict": "accepted",
        "passed": 1,
        "total": 1,
        "first_failure": None,
        "tests": [],
        "cpu_s": 0.1,
        "memory_mb": 1.0,
        "tier": "t",
        "judged_at": datetime.now(UTC),
    }


SECRET = story(1)


@pytest.fixture
def store(tmp_path):
    """An evaluation problem, one that quotes it, one that is the same elsewhere, and clean ones; a
    trajectory or two of each.
    """
    store = Store(tmp_path / "store")
    problems = [
        problem("codeforces/1/A", SECRET, "test"),
        problem("taco/codeforces/1_A/00000000", "The same, told with other words."),
        problem("quoting/1", story(2) + " " + " ".join(SECRET.split()[10:40]) + " " + story(3)),
        problem("clean/1", story(4)),
        # Twelve words in a row are no n-gram.
        problem("clean/2", " ".join(SECRET.split()[:12]) + " " + story(5)),
    ]
    store.append_next("problems", pl.DataFrame(problems), producer="test")
    prompts = {
        "t6": "Here is an example. " + SECRET.upper().replace(" ", ",\n") + " Now: " + story(4),
        "t7": story(4),
    }
    rows = [
        trajectory("t1", "codeforces/1/A"),
        trajectory("t2", "taco/codeforces/1_A/00000000"),
        trajectory("t3", "quoting/1"),
        trajectory("t4", "clean/1"),
        trajectory("t5", "clean/2"),
        trajectory("t6", "clean/1", prompt=prompts["t6"], completion="no"),
        trajectory("t7", "clean/1", prompt=prompts["t7"]),
        trajectory("t8", "clean/2", completion=f"# {SECRET}\nprint(1)"),
    ]
    store.append_next("trajectories", pl.DataFrame(rows), producer="test")
    store.append_next(
        "verdicts",
        pl.DataFrame([verdict(row["trajectory_id"], row["problem_id"]) for row in rows]),
        producer="test",
    )
    return store


def marks(store):
    with sql.connect(store) as connection:
        actual = sql.query(
            connection,
            "SELECT kind, subject_id, evidence, round(overlap, 4) AS overlap, example FROM contaminated"
            " ORDER BY ALL",
        )
        clean = sql.query(connection, "SELECT trajectory_id FROM clean_trajectories ORDER BY ALL")[
            "trajectory_id"
        ].to_list()
    return actual.rows(), clean


def test_marks_by_hand(store):
    summary = decontaminate(store)
    actual, clean = marks(store)
    # 60 words are 48 n-grams of 13, and 30 words of them 18.
    quoted = " ".join(SECRET.split()[10:30])
    assert actual == [
        ("problem", "codeforces/1/A", "itself", 1.0, None),
        ("problem", "quoting/1", "ngrams", round(18 / 48, 4), quoted),
        ("problem", "taco/codeforces/1_A/00000000", "same", 1.0, None),
        ("trajectory", "t6", "ngrams", 1.0, " ".join(SECRET.split()[:20])),
        ("trajectory", "t8", "ngrams", 1.0, " ".join(SECRET.split()[:20])),
    ]
    assert clean == ["t4", "t5", "t7"]
    assert summary.problems == {"itself": 1, "ngrams": 1, "same": 1} and summary.trajectories_marked == 2
    assert (summary.trajectories_contaminated, summary.trajectories, summary.evaluation_problems) == (5, 8, 1)
    assert [row["subject_id"] for row in summary.examples] == [
        "taco/codeforces/1_A/00000000",
        "t6",
        "t8",
        "quoting/1",
    ]


def test_questions(store):
    decontaminate(store)
    with sql.connect(store) as connection:
        assert sql.query(connection, "@leaks").rows() == [
            ("clean", "trajectory", "ngrams", 2, 1, 2, "t6 ~ codeforces/1/A"),
            ("quoting", "problem", "ngrams", 1, 1, 1, "quoting/1 ~ codeforces/1/A"),
            ("taco", "problem", "same", 1, 1, 1, "taco/codeforces/1_A/00000000 ~ codeforces/1/A"),
        ]
        assert sql.query(connection, "@same_problem_elsewhere").rows() == [
            ("codeforces", "taco", "identity", 1, "codeforces/1/A = taco/codeforces/1_A/00000000")
        ]


def test_a_second_pass_is_looked_up_and_another_set_replaces_the_marks(store):
    first = decontaminate(store)
    assert not first.was_finished
    again = decontaminate(store)
    assert again.was_finished and again.pass_number == first.pass_number == 1
    other = decontaminate(store, "problem_id = 'clean/2'")
    assert other.pass_number == 2 and other.problems == {"itself": 1} and other.trajectories_contaminated == 2
    store.append_next("trajectories", pl.DataFrame([trajectory("t9", "clean/2")]), producer="test")
    assert decontaminate(store, "problem_id = 'clean/2'").trajectories_contaminated == 3
    assert store.read("trajectories").height == 9


def test_a_pass_killed_between_its_two_tables_counts_for_nothing(store, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "datetime", None)
        patch.setattr(Appender, "append", interrupted_after(Appender.append, "contaminations"))
        decontaminate(store, "problem_id = 'clean/2'")
    assert store.read("contaminations").height == 1 and marks(store)[0] == []
    decontaminate(store)
    assert {row[1] for row in marks(store)[0]} >= {"codeforces/1/A", "t8"} and "t5" in marks(store)[1]


def test_of_two_passes_at_once_one_ends_with_an_error(store, monkeypatch):
    others = []

    def overtaken(*arguments):
        if not others:
            others.append(None)
            others[0] = decontaminate(Store(store.location), "problem_id = 'clean/2'")
        return found_marks(*arguments)

    found_marks = module.found_marks
    monkeypatch.setattr(module, "found_marks", overtaken)
    with pytest.raises(StoreError, match="another process appended as decontaminate at the same time"):
        decontaminate(store)
    assert store.read("decontaminations")["pass_number"].to_list() == [1]
    assert set(store.read("contaminations")["pass_number"]) == {1} and others[0].pass_number == 1


def interrupted_after(append, table):
    def stopping(self, name, rows):
        append(self, name, rows)
        if name == table:
            raise KeyboardInterrupt

    return stopping


def test_no_evaluation_set(store):
    with pytest.raises(ValueError, match="no problem where split = 'valid'"):
        decontaminate(store, "split = 'valid'")
    with pytest.raises(sql.SqlError):
        decontaminate(store, "nonsense(")


def test_a_corpus_that_gives_the_evaluation_set_away_is_refused(store):
    dirty = publish(store, Spec("dirty", "SELECT trajectory_id FROM judged WHERE split = 'train'"))
    decontaminate(store)
    clean = publish(
        store,
        Spec("clean", "SELECT trajectory_id FROM judged SEMI JOIN clean_trajectories USING (trajectory_id)"),
    )
    assert {"contaminations", "decontaminations"} <= set(clean.pins)
    dirty, clean = load(store, dirty.corpus_id).rows, load(store, clean.corpus_id).rows
    actual = leaks(store, dirty, "split = 'test'")
    assert sorted(actual["trajectory_id"]) == ["t2", "t3", "t6", "t8"]
    with pytest.raises(
        LeakError, match=r"4 rows to train on leak 1 problems .*ngrams 3, same 1.*allow_leaks"
    ):
        refuse_leaks(store, pl.concat([dirty, clean]), "split = 'test'")
    with pytest.raises(LeakError, match=r"1 rows to train on leak .*same 1"):
        refuse_leaks(store, dirty, "split = 'test'", ["ngrams"])
    with pytest.raises(LeakError, match=r"3 rows to train on leak .*; ngrams 3\)"):
        refuse_leaks(store, dirty, "split = 'test'", ["same", "itself"])
    refuse_leaks(store, dirty, "split = 'test'", ["ngrams", "same", "itself"])
    refuse_leaks(store, clean, "split = 'test'")
    with pytest.raises(ValueError, match="unknown evidence 'some'"):
        refuse_leaks(store, clean, "split = 'test'", ["some"])


def test_problems_that_a_run_would_sample_are_refused_too(store):
    none = pl.Series([], dtype=pl.String)
    with pytest.raises(
        LeakError,
        match=r"0 rows to train on and 1 problems to sample leak 1 .*e\.g\. codeforces/1/A leaks",
    ):
        refuse_leaks(store, none, "split = 'test'", sampled=["codeforces/1/A", "clean/2"])
    refuse_leaks(store, none, "split = 'test'", sampled=["clean/2"])


def brute_force(problems, chosen):
    """{(problem, evaluation problem): share of telling n-grams} by sets of word tuples."""
    grams = {}
    for name, statement in problems.items():
        words = re.findall(r"[^\W_]+", statement.lower())
        size = min(NGRAM_WORDS, len(words))
        grams[name] = (
            {tuple(words[place : place + size]) for place in range(len(words) - size + 1)} if words else set()
        )
    wanted = set().union(*(grams[name] for name in chosen))
    held = Counter(itertools.chain.from_iterable(one & wanted for one in grams.values()))
    shares = {}
    for target in chosen:
        telling = {gram for gram in grams[target] if held[gram] <= COMMON_NGRAM}
        for name, one in grams.items():
            shared = len(one & telling)
            if name not in chosen and telling and (shared / len(telling) >= 0.1 or shared >= 50):
                shares[name, target] = shared / len(telling)
    return shares


@needs_bundle
def test_real_benchmarks_against_brute_force(tmp_path):
    with gzip.open(DATA / "problems.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    problems = {
        row["problem_id"]: row["statement"]
        for row in rows
        if row["source"] in ("mbpp", "mbpp-typed", "humaneval", "apps")
    }
    chosen = [row["problem_id"] for row in rows if row["problem_id"] in problems and row["split"] == "test"]
    store = Store(tmp_path / "store")
    frame = pl.DataFrame(
        [problem(name, text, "test" if name in set(chosen) else "train") for name, text in problems.items()]
    )
    store.append_next("problems", frame, producer="test")
    decontaminate(store)
    expected = brute_force(problems, chosen)
    with sql.connect(store) as connection:
        actual = sql.query(
            connection,
            "SELECT subject_id, evaluation_problem_id, overlap, evidence FROM contaminated"
            " WHERE evidence <> 'itself'",
        )
    ngrams = {row[:2]: row[2] for row in actual.rows() if row[3] == "ngrams"}
    same = {row[:2] for row in actual.rows() if row[3] == "same"}
    assert {pair for pair in expected if pair not in same} == set(ngrams) and len(ngrams) > 20
    assert all(abs(expected[pair] - share) < 1e-9 for pair, share in ngrams.items())
    # Two tasks of MBPP with the same words, one to train on and one to test with.
    assert ngrams["mbpp/602", "mbpp/217"] == 1.0
    by_evidence = defaultdict(set)
    for subject, _, _, evidence in actual.rows():
        by_evidence[evidence].add(subject)
    assert len(by_evidence["ngrams"]) < len(problems) / 20
