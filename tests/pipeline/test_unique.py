"""One of each program: what a representative is chosen from, in views, corpora and mixtures alike."""

import random
from pathlib import Path

import pytest

from pipeline.corpora.publication import publish, read_spec
from pipeline.store import connect, query
from pipeline.store.store import Store

CORPORA = Path(__file__).parents[2] / "data" / "corpora"
ORIGINS = ("human", "other_policy", "online")


def fill(store, rows, seed):
    """Programs of three problems in random clusters, of random origins and verdicts."""
    draw = random.Random(seed)
    trajectories, verdicts, duplicates = [], [], []
    for number in range(60):
        name, problem = f"t{number:03}", f"src/{draw.choice('abc')}"
        trajectories.append(rows.trajectory(name, problem, origin=draw.choice(ORIGINS)))
        verdicts.append(rows.verdict(name, draw.choice(["accepted", "wrong_answer"]), problem))
        if number % 5:  # every fifth row has not been seen by deduplication
            cluster = f"{problem}-{draw.randrange(4)}"
            duplicates.append({
                "trajectory_id": name, "algorithm": "v1", "pass_number": 1, "problem_id": problem,
                "cluster_id": cluster, "representative_id": name, "level": "near", "cluster_size": 2,
            })  # fmt: skip
    problems = [rows.problem(f"src/{name}") for name in "abc"]
    for table, values in (("problems", problems), ("trajectories", trajectories), ("verdicts", verdicts),
                          ("duplicates", duplicates)):  # fmt: skip
        store.append(table, rows.frame(table, values), producer="test", sequence=1)
    return store


SOLVED = "select distinct problem_id from judged where verdict = 'accepted' and {where}"


@pytest.mark.parametrize("seed", range(5))
def test_no_problem_loses_its_last_accepted_program(tmp_path, rows, seed):
    store = fill(Store(tmp_path / "store"), rows, seed)
    for name, where in (("humans.sql", "origin = 'human'"), ("offline.toml", "origin <> 'online'")):
        retained = publish(store, read_spec(CORPORA / name)).rows
        with connect(store) as connection:
            solved = query(connection, SOLVED.format(where=where))
            remaining = query(connection, SOLVED.format(where="list_contains($rows, trajectory_id)"),
                          {"rows": retained.to_list()})  # fmt: skip
        assert set(remaining["problem_id"]) == set(solved["problem_id"])


@pytest.mark.parametrize("seed", range(3))
def test_the_view_retains_one_of_each_cluster_verdict_and_origin(tmp_path, rows, seed):
    store = fill(Store(tmp_path / "store"), rows, seed)
    with connect(store) as connection:
        retained = query(connection, "select trajectory_id from deduplicated")["trajectory_id"].to_list()
        groups = query(
            connection,
            "select min(j.trajectory_id) as first from judged j left join clusters c using (trajectory_id)"
            " group by coalesce(c.cluster_id, j.trajectory_id), j.verdict, j.origin",
        )
    assert sorted(retained) == sorted(groups["first"])


def test_a_corpus_does_not_shrink_because_rollouts_came_in(tmp_path, rows):
    store = fill(Store(tmp_path / "store"), rows, 1)
    before = publish(store, read_spec(CORPORA / "humans.sql")).rows.to_list()
    members = store.read("duplicates").with_columns(
        trajectory_id="a-" + store.read("duplicates")["trajectory_id"]
    )
    twins = store.read("trajectories").filter(origin="human")
    twins = twins.with_columns(
        trajectory_id="a-" + twins["trajectory_id"], origin=twins["origin"].replace("human", "online")
    )
    verdicts = store.read("verdicts").with_columns(
        trajectory_id="a-" + store.read("verdicts")["trajectory_id"]
    )
    verdicts = verdicts.join(twins.select("trajectory_id"), on="trajectory_id", how="semi")
    for table, values in (("trajectories", twins), ("verdicts", verdicts), ("duplicates", members)):
        store.append(table, values, producer="rollouts", sequence=1)
    assert publish(store, read_spec(CORPORA / "humans.sql")).rows.to_list() == before


def test_rows_without_a_verdict_collapse_only_if_their_tokens_are_equal(tmp_path, rows):
    """`x % 3 == 0` and `x % 3 == 1` are near-duplicates."""
    store = Store(tmp_path / "store")
    programs = {"a": "print(x % 3 == 0)", "b": "print(x % 3 == 0)  # again", "c": "print(x % 3 == 1)"}
    trajectories = [rows.trajectory(name, program=text) for name, text in programs.items()]
    signature = {"algorithm": "v1", "problem_id": "src/a", "language": "python3", "raw_hash": "r",
                 "abstract_hash": "a", "token_count": 9, "shingles": b"", "minhash": b""}  # fmt: skip
    signatures = [
        signature | {"trajectory_id": name, "token_hash": name.replace("b", "a")} for name in programs
    ]
    cluster = {"algorithm": "v1", "pass_number": 1, "problem_id": "src/a", "cluster_id": "a",
               "representative_id": "a", "level": "near", "cluster_size": 3}  # fmt: skip
    for table, values in (
        ("problems", [rows.problem("src/a")]),
        ("trajectories", trajectories),
        ("program_signatures", signatures),
        ("duplicates", [cluster | {"trajectory_id": name} for name in programs]),
    ):
        store.append(table, rows.frame(table, values), producer="test", sequence=1)
    with connect(store) as connection:
        retained = query(connection, "select trajectory_id from deduplicated order by all")
    assert retained["trajectory_id"].to_list() == ["a", "c"]
