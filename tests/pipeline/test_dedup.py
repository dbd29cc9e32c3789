"""Deduplication against brute force: hashes and clusters by hand, near duplicates by comparing every pair."""

import gzip
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.dedup import deduplication as dedup
from pipeline.dedup import index as problem_index
from pipeline.dedup.clusters import Programs, components, jaccard, merge_clusters, near_pairs
from pipeline.dedup.deduplication import deduplicate, sign_part
from pipeline.dedup.incremental import current_of
from pipeline.dedup.signatures import PERMUTATIONS, sign
from pipeline.store.store import Store, StoreError

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")

SUM = """n = int(input())
values = list(map(int, input().split()))
total = 0
for value in values:
    if value % 2 == 0:
        total += value
print(total)
"""
SAME_TOKENS = "# sum of even\n" + SUM.replace("    ", "\t").replace(" = ", "=").replace(
    "print(", "\n\nprint(  "
)
RENAMED = SUM.replace("values", "a").replace("value", "x").replace("total", "s")
NEAR = SUM + "import sys\n"
OTHER = (
    "import math\na, b = [int(x) for x in input().split()]\nprint(math.gcd(a, b), a * b // math.gcd(a, b))\n"
)


def rows(programs, problem_id="p/1", language="python3", prefix="t"):
    """Trajectories of programs given as a list or as {trajectory_id: program}."""
    if not isinstance(programs, dict):
        programs = {f"{prefix}{number:05}": program for number, program in enumerate(programs)}
    return [
        {
            "trajectory_id": name,
            "problem_id": problem_id,
            "origin": "human",
            "policy_id": "human",
            "source_key": name,
            "program": program,
            "extraction": "given",
            "language": language,
            "created_at": datetime.now(UTC),
            "batch_id": "b",
            "source_file": "f",
            "source_line": 1,
        }
        for name, program in programs.items()
    ]


def add(store, *groups):
    store.append_next(
        "trajectories", pl.DataFrame([row for group in groups for row in group]), producer="test"
    )


def current(store):
    return current_of(store.snapshot("duplicates").scan())


def state(store):
    columns = ["trajectory_id", "cluster_id", "representative_id", "level", "cluster_size"]
    return (
        current_of(store.snapshot("duplicates").scan()).select(columns).sort("trajectory_id").collect().rows()
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_levels_and_clusters_by_hand(store):
    add(store, rows({"b": SUM, "a": SAME_TOKENS, "c": SUM, "d": NEAR, "e": OTHER, "f": RENAMED}))
    summary = deduplicate(store)
    assert state(store) == [
        ("a", "a", "a", "token", 4),
        ("b", "a", "a", "exact", 4),
        ("c", "a", "a", "exact", 4),
        ("d", "a", "a", "near", 4),
        ("e", "e", "e", "unique", 1),
        ("f", "f", "f", "unique", 1),
    ]
    assert (summary.signed, summary.problems_clustered, summary.rows_changed, summary.clusters) == (
        6,
        1,
        6,
        3,
    )
    assert summary.levels == {"exact": 2, "near": 1, "token": 1, "unique": 2} and summary.programs == 6


def test_problems_and_languages_are_apart(store):
    add(store, rows({"a": SUM, "b": SUM}), rows({"c": SUM}, "p/2"), rows({"d": SUM}, language="python2"))
    deduplicate(store)
    assert [row[:2] for row in state(store)] == [("a", "a"), ("b", "a"), ("c", "c"), ("d", "d")]


def test_a_new_program_joins_and_links_what_was_there(store):
    # Each next program has one more line: neighbours are near, the ends are not.
    chain = [SUM + "".join(f"x{n} = y{n} + z{n}\n" for n in range(k)) for k in range(0, 16, 2)]
    names = {f"{name}": program for name, program in zip("hgfedcba", chain, strict=True)}
    left_out = {"d": names.pop("d"), "e": names.pop("e")}
    add(store, rows(names))
    first = deduplicate(store)
    before = state(store)
    assert first.clusters == 2 and {row[1] for row in before} == {"a", "f"}
    add(store, rows(left_out), rows({"z": SUM}, "p/2"))
    second = deduplicate(store)
    assert (second.signed, second.pass_number, second.problems_clustered, second.clusters) == (3, 2, 2, 2)
    assert {row[1:3] for row in state(store) if row[0] != "z"} == {("a", "a")}
    # Only rows that changed were appended: everyone is in a larger cluster now, and one is new.
    assert second.rows_changed == 9 and store.read("duplicates").height == 6 + 9
    again = deduplicate(store)
    assert (again.signed, again.problems_clustered, again.rows_changed) == (0, 0, 0) and again.clusters == 2


def mutants(program, count, generator):
    """Programs near and less near to one: lines doubled, dropped and changed, names changed in places."""
    made = []
    for _ in range(count):
        lines = program.split("\n")
        for _ in range(generator.randrange(0, max(2, len(lines) // 2))):
            place = generator.randrange(len(lines))
            change = generator.randrange(4)
            if change == 0:
                lines.insert(place, lines[generator.randrange(len(lines))])
            elif change == 1 and len(lines) > 2:
                del lines[place]
            elif change == 2:
                lines[place] = lines[place].replace("1", "2").replace("+", "-")
            else:
                lines[place] = re.sub(r"\b[a-z]\b", generator.choice("xyzuvw"), lines[place])
        made.append("\n".join(lines))
    return made


def brute_force(programs, groups, language):
    """Clusters by comparing every pair of shingle sets: {frozenset of members}, and the pairs at or above
    the threshold.
    """
    signatures = sign(pl.Series(programs), language)
    cuts = signatures.shingle_offsets
    sets = [set(signatures.shingles[a:b].tolist()) for a, b in itertools.pairwise(cuts)]
    leader, pairs = list(range(len(programs))), set()

    def root(place):
        while leader[place] != place:
            place = leader[place]
        return place

    by_group = defaultdict(list)
    for number, group in enumerate(groups):
        by_group[group].append(number)
    for members in by_group.values():
        for one, other in itertools.combinations(members, 2):
            union = len(sets[one] | sets[other])
            equal = signatures.token_hash[one] == signatures.token_hash[other]
            if equal or (union and len(sets[one] & sets[other]) / union >= 0.7):
                pairs.add((one, other))
                leader[max(root(one), root(other))] = min(root(one), root(other))
    return np.array([root(number) for number in range(len(programs))]), pairs


def compared(programs, groups, language="python3"):
    """(recall, precision) of pairs in one cluster, against pairs in one cluster by brute force."""
    expected, _ = brute_force(programs, groups, language)
    signatures = sign(pl.Series(programs), language)
    token = np.unique(signatures.token_hash, return_inverse=True)[1].astype(np.int64)
    group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    arrays = Programs(group, token, signatures.minhash, signatures.shingles, signatures.shingle_offsets)
    actual = components(arrays)
    assert (actual <= np.arange(len(actual))).all()
    together = [
        {
            (a, b)
            for cluster in np.unique(labels)
            for a, b in itertools.combinations(np.flatnonzero(labels == cluster), 2)
        }
        for labels in (expected, actual)
    ]
    both = len(together[0] & together[1])
    return both / max(1, len(together[0])), both / max(1, len(together[1]))


def test_clusters_of_mutated_programs_are_those_of_brute_force():
    generator = random.Random(7)
    seeds = [SUM, OTHER, "\n".join(f"v{n} = v{n - 1} * {n} + int(input())" for n in range(30))]
    programs = [mutant for seed in seeds for mutant in mutants(seed, 120, generator)]
    groups = [generator.choice(["one", "two"]) for _ in programs]
    recall, precision = compared(programs, groups)
    assert recall > 0.99 and precision == 1.0


@needs_bundle
@pytest.mark.parametrize("language", ["python3", "cpp"])
def test_clusters_of_real_programs_are_those_of_brute_force(language):
    programs, groups = [], []
    with gzip.open(DATA / "human_solutions.jsonl.gz", "rt") as lines:
        for line in itertools.islice(lines, 0, None, 3):
            row = json.loads(line)
            if row["language"] == language and len(programs) < 1_500:
                programs.append(row["source"])
                groups.append(row["problem_id"])
    recall, precision = compared(programs, groups, language)
    assert recall > 0.99 and precision == 1.0


def pairs_with(common, own, pairs, generator):
    """Programs of which 2i and 2i + 1 are a group, share `common` shingles and have `own` more each.

    The signature of a program is made here: in each permutation its shingle with the smallest random rank.
    """
    union = common + 2 * own
    left, right = np.arange(common + own), np.r_[np.arange(common), np.arange(common + own, union)]
    minhash = np.empty((2 * pairs, 125), np.uint32)
    for number in range(pairs):
        ranks = generator.permuted(np.tile(np.arange(union, dtype=np.uint32), (125, 1)), axis=1)
        ranks += np.uint32(number * union)
        minhash[2 * number], minhash[2 * number + 1] = ranks[:, left].min(axis=1), ranks[:, right].min(axis=1)
    names = np.arange(2 * pairs)
    shingles = np.tile(np.concatenate([left, right]), pairs).astype(np.uint32)
    return Programs(names // 2, names, minhash, shingles, np.arange(2 * pairs + 1) * (common + own))


def test_pairs_at_the_threshold_are_found_and_pairs_below_are_not():
    """Jaccard 0.70 and 0.696. One of 25 bands of 5 agrees with probability 1 - (1 - 0.7^5)^25 = 0.990."""
    generator = np.random.default_rng(11)
    at, below = pairs_with(84, 18, 1000, generator), pairs_with(78, 17, 1000, generator)
    assert [jaccard(one, np.array([0]), np.array([1]))[0] for one in (at, below)] == [84 / 120, 78 / 112]
    assert (components(at)[1::2] == np.arange(0, 2000, 2)).mean() > 0.97
    assert len(near_pairs(at)[0]) > 970
    assert (components(below) == np.arange(2000)).all() and len(near_pairs(below)[0]) == 0


def test_exact_jaccard_against_sets():
    generator = np.random.default_rng(3)
    sets = [
        np.unique(generator.integers(0, 300, generator.integers(1, 400))).astype(np.uint32) for _ in range(60)
    ]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in sets])])
    empty = np.zeros(len(sets), np.int64)
    programs = Programs(empty, empty, np.zeros((60, PERMUTATIONS), np.uint32), np.concatenate(sets), offsets)
    left, right = np.triu_indices(60, 1)
    expected = [
        len(np.intersect1d(sets[a], sets[b])) / len(np.union1d(sets[a], sets[b]))
        for a, b in zip(left, right, strict=True)
    ]
    assert np.allclose(jaccard(programs, left, right), expected, atol=0)


def test_joining_gives_the_smallest_member():
    generator = np.random.default_rng(5)
    left, right = generator.integers(0, 500, (2, 300))
    labels = merge_clusters(np.arange(500), left, right)
    parent = list(range(500))

    def root(place):
        while parent[place] != place:
            place = parent[place]
        return place

    for one, other in zip(left, right, strict=True):
        parent[max(root(one), root(other))] = min(root(one), root(other))
    assert labels.tolist() == [root(number) for number in range(500)]


def population(seed=11):
    generator = random.Random(seed)
    made = []
    for problem in range(6):
        program = "\n".join(f"q{generator.randrange(9)} = q{n} + {generator.randrange(5)}" for n in range(12))
        made += rows(mutants(program, 25, generator), f"p/{problem}", prefix=f"{problem}-")
    return made


def test_the_same_clusters_in_any_order_and_in_any_portions(tmp_path, monkeypatch):
    everything = population()
    whole = Store(tmp_path / "whole")
    add(whole, everything)
    deduplicate(whole)
    monkeypatch.setattr(dedup, "SIGNED_AT_ONCE", 17)
    monkeypatch.setattr(dedup, "CLUSTERED_AT_ONCE", 30)
    for seed in (1, 2):
        shuffled = random.Random(seed).sample(everything, len(everything))
        store = Store(tmp_path / f"store-{seed}")
        for begin in range(0, len(shuffled), 60):
            add(store, shuffled[begin : begin + 60])
            deduplicate(store)
        assert state(store) == state(whole)


class Resident(Store):
    """A real store in which no table of deduplication may be scanned, however small."""

    def snapshot(self, name, version=None):
        assert name not in ("trajectories", "program_signatures", "duplicates"), f"{name} was read again"
        return super().snapshot(name, version)


def test_a_new_batch_reads_nothing_again(tmp_path):
    everything = population()
    whole = Store(tmp_path / "whole")
    add(whole, everything)
    deduplicate(whole)
    store = Store(tmp_path / "store")
    shuffled = random.Random(5).sample(everything, len(everything))
    add(store, shuffled[:80])
    deduplicate(store)
    for begin in range(80, len(shuffled), 35):
        add(store, shuffled[begin : begin + 35])
        summary = deduplicate(Resident(store.location))
        assert summary.signed == len(shuffled[begin : begin + 35])
        held = current(store).collect()
        assert summary.levels == dict(sorted(held["level"].value_counts().iter_rows()))
        assert summary.clusters == held["cluster_id"].n_unique() and summary.programs == held.height
    assert deduplicate(Resident(store.location)).rows_changed == 0
    assert state(store) == state(whole)


def test_of_stored_programs_a_batch_reads_those_that_share_a_band_and_their_clusters(store, monkeypatch):
    generator = random.Random(4)
    likes, others = mutants(SUM * 3, 20, generator), mutants(OTHER * 3, 40, generator)
    add(
        store,
        rows(likes, prefix="like"),
        rows(others, prefix="other"),
        rows(["# nothing", "", "# no more"], prefix="empty"),
    )
    deduplicate(store)
    before = {name: cluster for name, cluster, *_ in state(store)}
    read, related = [], dedup.related

    def observed(*arguments):
        read.append(related(*arguments))
        return read[-1]

    monkeypatch.setattr(dedup, "related", observed)
    fresh = {"fresh-a": likes[0], "fresh-b": "  # also nothing"}
    add(store, rows(fresh))
    summary = deduplicate(store)
    [(signatures, held)] = read
    by_name = {
        row["trajectory_id"]: np.frombuffer(row["minhash"], "<u4")
        for row in store.read("program_signatures").to_dicts()
    }

    def share(one, other):
        return any(
            (by_name[one][a : a + 5] == by_name[other][a : a + 5]).all() for a in range(0, PERMUTATIONS, 5)
        )

    near = {name for name in before if any(share(name, new) for new in fresh)}
    expected = {name for name in before if before[name] in {before[other] for other in near}}
    assert set(held["trajectory_id"]) == expected and set(signatures["trajectory_id"]) == expected | set(
        fresh
    )
    assert "like00000" in expected and any(name.startswith("empty") for name in expected)
    assert not any(name.startswith("other") for name in expected) and summary.programs == 65
    whole = {name: cluster for name, cluster, *_ in state(store)}
    assert whole["fresh-a"] == whole["like00000"] and whole["fresh-b"] == whole["empty00000"]


def test_signatures_of_another_algorithm_are_left_alone(tmp_path):
    everything = population(13)
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "store")
    add(whole, everything)
    deduplicate(whole)
    add(store, everything[::2])
    deduplicate(store)
    # Of another width, of stored programs and of one that is still to come.
    older = store.read("program_signatures").with_columns(
        pl.lit("older").alias("algorithm"), pl.lit(b"1234").alias("minhash")
    )
    late = older.head(1).with_columns(pl.lit(everything[1]["trajectory_id"]).alias("trajectory_id"))
    store.append_next("program_signatures", pl.concat([older, late]), producer="test")
    add(store, everything[1::2])
    summary = deduplicate(store)
    assert summary.signed == len(everything[1::2]) and state(store) == state(whole)


@pytest.mark.parametrize("loss", ["everything", "note", "run", "state damaged", "tables ahead", "compacted"])
def test_a_lost_index_is_built_again(tmp_path, loss):
    everything = population()
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "store")
    add(whole, everything)
    deduplicate(whole)
    add(store, everything[::2])
    deduplicate(store)
    index = tmp_path / "store" / "_index"
    if loss == "everything":
        shutil.rmtree(index)
    elif loss == "note":
        (index / "deduplicated.json").write_text("{")
    elif loss == "run":
        next((index / "program_signatures").glob("*.arrow")).unlink()
    elif loss == "state damaged":
        (index / "duplicates" / "state.json").write_text('{"version": 1')
    elif loss == "compacted":
        for table in dedup.TABLES:
            store.maintain(table, retention_hours=0)
    else:
        shutil.copytree(index, tmp_path / "older")
        add(store, everything[1::4])
        deduplicate(store)
        shutil.rmtree(index)
        shutil.copytree(tmp_path / "older", index)
    add(store, everything[1::2][1::2] if loss == "tables ahead" else everything[1::2])
    deduplicate(store)
    assert state(store) == state(whole)


def test_a_store_without_a_local_folder_is_scanned(tmp_path, monkeypatch):
    everything = population()
    whole = Store(tmp_path / "whole")
    add(whole, everything)
    deduplicate(whole)
    # As for a store on object storage, which has no place for an index beside it.
    monkeypatch.setattr(dedup, "index_folder", lambda _: None)
    monkeypatch.setattr(problem_index, "index_folder", lambda _: None)
    store = Store(tmp_path / "store")
    for portion in (everything[::2], everything[1::2]):
        add(store, portion)
        deduplicate(store)
    assert state(store) == state(whole) and not (tmp_path / "store" / "_index").exists()


WORKER = """
import sys
import polars as pl
from pipeline.dedup.deduplication import deduplicate
from pipeline.store.store import Store
store = Store(sys.argv[1])
assert pl.thread_pool_size() == int(sys.argv[2])
deduplicate(store)
"""


def test_the_same_clusters_with_any_number_of_workers(tmp_path):
    everything = population(12)
    states = []
    for workers in (1, 2, 4):
        store = Store(tmp_path / f"store-{workers}")
        # As many writers, each with its share, in another order.
        for worker in reversed(range(workers)):
            add(store, everything[worker::workers])
        limits = {"POLARS_MAX_THREADS": str(workers), "RAYON_NUM_THREADS": str(workers)}
        subprocess.run(
            [sys.executable, "-c", WORKER, store.location, str(workers)],
            check=True,
            env={**os.environ, **limits},
        )
        states.append(state(store))
    assert states[0] == states[1] == states[2]


class Killed(BaseException):
    pass


class DyingStore(Store):
    """A real store that ends the run right after its next commit."""

    def append(self, *arguments, **options):
        super().append(*arguments, **options)
        raise Killed


def test_killed_after_each_commit_it_ends_in_the_same_state(tmp_path, monkeypatch):
    everything = population()
    whole = Store(tmp_path / "whole")
    add(whole, everything)
    deduplicate(whole)
    monkeypatch.setattr(dedup, "SIGNED_AT_ONCE", 50)
    monkeypatch.setattr(dedup, "CLUSTERED_AT_ONCE", 40)
    store = Store(tmp_path / "store")
    add(store, everything)
    deaths = 0
    while True:
        try:
            deduplicate(DyingStore(store.location))
            break
        except Killed:
            deaths += 1
    assert deaths >= 5 and state(store) == state(whole)
    for table in ("program_signatures", "duplicates"):
        assert store.read(table)["trajectory_id"].is_unique().all()


@pytest.mark.parametrize("stage", ["sign", "cluster"])
def test_of_two_passes_at_once_one_ends_with_an_error_and_nothing_is_written_twice(
    tmp_path, monkeypatch, stage
):
    everything = population()
    whole = Store(tmp_path / "whole")
    add(whole, everything)
    deduplicate(whole)
    monkeypatch.setattr(dedup, "SIGNED_AT_ONCE", 50)
    monkeypatch.setattr(dedup, "RELATED_AT_ONCE", 1)
    monkeypatch.setattr(dedup, "CLUSTERED_AT_ONCE", 40)
    store = Store(tmp_path / "store")
    add(store, everything)
    others = []

    def run_another_once(step):
        if step.stage == stage and not others:
            others.append(deduplicate(Store(store.location)))

    with pytest.raises(StoreError, match="another process appended as deduplicate at the same time"):
        deduplicate(store, run_another_once)
    assert others[0].programs == len(everything)
    assert deduplicate(store).rows_changed == 0 and state(store) == state(whole)
    for table in ("program_signatures", "duplicates"):
        assert store.read(table)["trajectory_id"].is_unique().all()


def test_of_two_spreads_at_once_one_ends_with_an_error(store, monkeypatch):
    monkeypatch.setattr(dedup, "SIGNED_AT_ONCE", 50)
    add(store, [{**row, "trajectory_id": f"{n:032x}"} for n, row in enumerate(population())])

    class Overtaken(Store):
        def append(self, *arguments, **options):
            if not others:
                others.append(sign_part(Store(self.location), 0, 1))
            return super().append(*arguments, **options)

    others = []
    with pytest.raises(StoreError, match="another process appended"):
        sign_part(Overtaken(store.location), 0, 1)
    assert others == [150] and store.read("program_signatures")["trajectory_id"].is_unique().all()


def test_progress_and_an_empty_store(store):
    assert deduplicate(store).programs == 0
    seen = []
    add(store, rows([SUM, OTHER]))
    deduplicate(store, seen.append)
    assert [(step.stage, step.done, step.total) for step in seen] == [("sign", 2, 2), ("cluster", 2, 2)]
