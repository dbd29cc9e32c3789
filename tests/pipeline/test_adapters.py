"""Adapters: the registry, a user's adapter, the contest bundle on its real rows, and the bounded sample."""

import gzip
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pytest

from pipeline import adapters
from pipeline.adapters import ReadProblem, ReadTrajectory, Refused, SourceError, bundle
from pipeline.adapters.sample import (
    PER_PROBLEM,
    PER_PROBLEM_AND_POLICY,
    SampleKey,
    select_problems,
    select_trajectories,
)
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")

OWN_ADAPTER = '''
from pathlib import Path
from pipeline.adapters import Adapter, ReadProblem, Refused, local_file, register

class Tasks(Adapter):
    """One task a line: name, tab, statement, tab, input, tab, output."""
    name = "tasks"

    def files(self, source, limit):
        return [local_file(Path(source), Path(source))]

    def read(self, file):
        for line, raw in enumerate(Path(file.path).read_bytes().splitlines(), start=1):
            try:
                name, statement, given, expected = raw.decode().split("\\t")
            except ValueError as error:
                yield Refused(line, raw, str(error))
                continue
            row = {"problem_id": f"tasks/{name}", "source": "tasks", "split": "none", "title": name,
                   "statement": statement, "input_mode": "stdin", "checker": "tokens",
                   "case_sensitive": True, "tags": []}
            test = {"test_id": "1", "kind": "public", "mode": "stdin", "input": given,
                    "expected_output": expected}
            yield ReadProblem(line, raw, row, [test])

register(Tasks())
'''


def test_an_adapter_of_ones_own_lives_in_a_file_of_ones_own(tmp_path):
    own = tmp_path / "tasks_of_mine.py"
    own.write_text(OWN_ADAPTER)
    source = tmp_path / "tasks.tsv"
    source.write_text("one\tPrint 1.\t\t1\nbroken\ntwo\tDouble it.\t2\t4\n")
    store = Store(tmp_path / "store")
    # A name that comes from a store, a schedule or a server runs no file; only the command line loads one.
    with pytest.raises(
        SourceError, match="in a file of code, which runs only if the user names it on the command line"
    ):
        ingest(store, f"{own}:tasks", str(source))
    adapters.load(f"{own}:tasks")
    (batch,) = ingest(store, f"{own}:tasks", str(source))
    assert (batch.adapter, batch.accepted, batch.quarantined) == ("tasks", 2, 1)
    assert sorted(store.read("problems")["problem_id"]) == ["tasks/one", "tasks/two"]
    assert store.read("quarantine")["raw"][0] == b"broken"
    # Once registered it goes by its name, and by the same file again.
    assert adapters.find("tasks").name == adapters.find(f"{own}:tasks").name == "tasks"


@pytest.mark.parametrize(
    ("name", "message"),
    [("nonsense", "no adapter 'nonsense'; there are: "), ("nowhere/x.py:y", "no adapter file nowhere/x.py")],
)
def test_an_adapter_that_is_not_there(name, message):
    with pytest.raises(SourceError, match=message):
        adapters.load(name)


def test_two_adapters_cannot_share_a_name():
    class Impostor:
        name = "plain"

    adapters.find("plain")
    with pytest.raises(SourceError, match="'plain' exists already"):
        adapters.register(Impostor())


def write_bundle(folder, problems=(), human=(), model=()):
    folder.mkdir()
    for name, rows in ((bundle.PROBLEMS, problems), (bundle.HUMAN, human), (bundle.MODEL, model)):
        (folder / name).write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    return folder


def read(folder):
    adapter = adapters.find("bundle")
    return [item for file in adapter.files(str(folder), None) for item in adapter.read(file)]


def test_a_row_of_another_shape_is_refused_with_the_key(tmp_path):
    wrong = [{"sampling": 3}, {"problem_id": "x/1", "model": "m", "sample_id": "s", "sampling": None}]
    folder = write_bundle(tmp_path / "b", [{"problem_id": "x/1"}], [{"problem_id": "x/1"}], wrong)
    items = read(folder)
    assert all(isinstance(item, Refused) for item in items)
    assert [item.field for item in items] == ["checker", "solution_id", "problem_id", None]


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(SourceError, match=r"no problems.jsonl.gz"):
        adapters.find("bundle").files(str(tmp_path), None)


@needs_bundle
def test_every_row_of_the_bundle_is_translated():
    kinds, checkers, modes, languages, claims = Counter(), Counter(), Counter(), Counter(), Counter()
    for item in read(DATA):
        kinds[type(item)] += 1
        if isinstance(item, ReadProblem):
            checkers[item.row["checker"]] += 1
            modes.update(test["mode"] for test in item.tests)
        elif isinstance(item, ReadTrajectory):
            languages[item.row["language"]] += 1
            claims[item.row["origin"], item.row["claimed_verdict"]] += 1
    counts = json.loads((DATA / "counts.json").read_text())
    assert kinds == {ReadProblem: counts["problems"], ReadTrajectory: counts["human"] + 36_127}
    assert checkers == {"custom": 38, "float": 65, "tokens": 1093, "function": 3713}
    assert (
        modes["stdin"] + modes["assert"] + modes["check"] + modes["call"]
        == counts["tests_public"] + counts["tests_hidden"]
    )
    assert languages["python2"] == 2 and languages["csharp"] == 21 + 315
    human = Counter()
    for name, count in counts["human_by_lang_verdict"].items():
        human[name.partition(":")[2]] += count
    assert {verdict: n for (origin, verdict), n in claims.items() if origin == "human"} == human
    assert claims["other_policy", None] == 16_400


@needs_bundle
def test_samples_of_one_prompt_are_counted_and_others_are_not(tmp_path):
    rows = {"lcb": None, "codet": None}
    with gzip.open(DATA / bundle.MODEL, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            rows["codet" if row["sample_id"].startswith("codet") else "lcb"] = row
    folder = write_bundle(tmp_path / "b", model=[rows["lcb"], rows["codet"]])
    one, many = (item.row for item in read(folder))
    assert one["sample_index"] is None
    assert (
        many["sample_index"] == int(rows["codet"]["sample_id"].split("#")[-1]) and many["temperature"] == 0.8
    )
    assert many["completion"] != many["program"]


def test_problems_are_taken_evenly_and_always_the_same():
    problems = (
        [("a", f"a/{n}") for n in range(100)]
        + [("b", f"b/{n}") for n in range(3)]
        + [("c", f"c/{n}") for n in range(50)]
    )
    selected = select_problems(problems, 13)
    assert Counter(name[0] for name in selected) == {"a": 5, "b": 3, "c": 5}
    assert select_problems(reversed(problems), 13) == selected
    assert selected < select_problems(problems, 20)
    assert select_problems(problems, 1000) == {name for _, name in problems}


def test_trajectories_are_capped_for_each_policy_and_problem():
    positions = [SampleKey(n, f"p{n % 2}", "", f"policy {n % 7}", f"key {n}") for n in range(1, 1001)]
    lines = select_trajectories(positions, {"p0"})
    chosen = [place for place in positions if place.line in lines]
    assert len(chosen) == PER_PROBLEM and {place.problem_id for place in chosen} == {"p0"}
    by_policy = Counter(place.policy for place in chosen)
    assert len(by_policy) == 7 and max(by_policy.values()) - min(by_policy.values()) <= 1
    single = select_trajectories([SampleKey(n, "p", "", "one", f"{n}") for n in range(99)], {"p"})
    assert len(single) == PER_PROBLEM_AND_POLICY


@needs_bundle
def test_the_bounded_bundle_holds_trajectories_of_its_problems_only(tmp_path):
    store = Store(tmp_path / "store")
    batches = ingest(store, "bundle", str(DATA), limit=40)
    assert [batch.limit for batch in batches] == [40] * 3 and batches[0].read == batches[0].accepted == 40
    assert [batch.rows_in_file for batch in batches] == [4909, 12126, 36127]
    problems, trajectories = store.read("problems"), store.read("trajectories")
    assert problems["source"].n_unique() == 16
    assert not trajectories.join(problems, on="problem_id", how="anti").height
    assert not store.read("quarantine").filter(pl.col("field") == "problem_id").height
    per = trajectories.group_by("problem_id", "policy_id").len()["len"]
    assert per.max() <= PER_PROBLEM_AND_POLICY
    # What the larger sample adds, it adds to the smaller one.
    more = ingest(store, "bundle", str(DATA), limit=60)
    assert (more[0].accepted, more[0].present) == (20, 40) and sum(
        batch.present for batch in more[1:]
    ) == trajectories.height
    again = ingest(store, "bundle", str(DATA), limit=60)
    assert all(batch.was_finished for batch in again)


def test_a_bounded_plain_folder_reads_problems_first_and_their_programs(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    test = {"input": "", "expected_output": ""}
    problems = [{"problem_id": f"s{n % 3}/{n}", "statement": "Do.", "tests": [test]} for n in range(30)]
    who = {"origin": "human", "policy_id": "human", "language": "python3"}
    programs = [
        {"problem_id": f"s{n % 3}/{n}", "program": f"print({k})", "source_key": f"{n}#{k}"} | who
        for n in range(30)
        for k in range(9)
    ]
    for name, rows in (("a_solutions", programs), ("problems", problems)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, 5]))
    batches = ingest(Store(tmp_path / "store"), "plain", str(folder), limit=6)
    assert [Path(batch.source_file).name for batch in batches] == ["problems.jsonl", "a_solutions.jsonl"]
    assert [(batch.accepted, batch.quarantined, batch.rows_in_file) for batch in batches] == [
        (6, 1, 31),
        (6 * 5, 1, 271),
    ]
    trajectories = Store(tmp_path / "store").read("trajectories")
    spread = defaultdict(set)
    for name in trajectories["problem_id"]:
        spread[name.split("/")[0]].add(name)
    assert {source: len(names) for source, names in spread.items()} == {"s0": 2, "s1": 2, "s2": 2}
