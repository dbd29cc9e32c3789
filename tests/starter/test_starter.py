"""The starter problems: the committed files are what the generator writes, and what they claim is true."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

STARTER = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture(scope="module", autouse=True)
def generator_importable() -> Iterator[None]:
    sys.path.insert(0, str(STARTER))
    yield
    sys.path.remove(str(STARTER))


def rows(name: str) -> list[dict]:
    with gzip.open(STARTER / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def problems() -> dict[str, dict]:
    return {row["problem_id"]: row for row in rows("problems.jsonl.gz")}


@pytest.fixture(scope="module")
def solutions() -> list[dict]:
    return rows("solutions.jsonl.gz")


def test_the_generator_writes_the_committed_rows(tmp_path: Path) -> None:
    command = [sys.executable, str(STARTER / "generate.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for name in ("problems.jsonl.gz", "solutions.jsonl.gz"):
        committed, again = (STARTER / name).read_bytes(), (tmp_path / name).read_bytes()
        # The compressed bytes depend on the zlib build too, so the rows are compared, and the header's time
        # must be 0.
        assert gzip.decompress(committed) == gzip.decompress(again)
        assert committed[4:8] == again[4:8] == b"\0\0\0\0"


def test_size_and_splits(problems: dict[str, dict], solutions: list[dict]) -> None:
    splits = Counter(row["split"] for row in problems.values())
    assert splits["train"] >= 600 and splits["valid"] >= 40 and 100 <= splits["test"] <= 125
    tested = Counter(row["tags"][0] for row in problems.values() if row["split"] == "test")
    families = {row["tags"][0] for row in problems.values()}
    assert len(families) >= 36 and all(tested[family] >= 2 for family in families)
    assert (
        len({row["statement"] for row in problems.values()})
        == len(problems)
        == len(rows("problems.jsonl.gz"))
    )
    assert len({row["source_key"] for row in solutions}) == len(solutions)
    assert (
        sum((STARTER / name).stat().st_size for name in ("problems.jsonl.gz", "solutions.jsonl.gz"))
        < 1_500_000
    )


def test_every_problem_has_tests_and_programs(problems: dict[str, dict], solutions: list[dict]) -> None:
    correct, wrong = defaultdict(set), defaultdict(set)
    for row in solutions:
        kind = correct if row["claimed_verdict"] == "accepted" else wrong
        if row["language"] == "python3":
            kind[row["problem_id"]].add(row["program"])
    assert set(correct) == set(problems)
    for problem_id, row in problems.items():
        assert [test["kind"] for test in row["tests"]] == ["public"] * 2 + ["private"] * 7
        assert len({test["input"] for test in row["tests"]}) == 9
        assert len({test["expected_output"] for test in row["tests"]}) > 1, f"{problem_id}: a constant passes"
        assert len(row["statement"]) <= 220
        assert len(correct[problem_id]) >= 3 and len(wrong[problem_id]) >= 3
        assert not correct[problem_id] & wrong[problem_id]


def test_parts_of_held_out_problems_occur_in_training(problems: dict[str, dict]) -> None:
    from families.catalogue import FAMILIES
    from generate import chosen_tasks

    for family in FAMILIES:
        tasks = chosen_tasks(family)
        split = {
            task.parts: problems[f"starter/{family.name}/{'-'.join(task.parts)}"]["split"] for task in tasks
        }
        trained = {part for parts, name in split.items() if name == "train" for part in enumerate(parts)}
        for parts, name in split.items():
            assert name == "train" or set(enumerate(parts)) <= trained, (family.name, parts)
            assert len(parts) >= 2


# Worked out by hand: family, parts, stdin, stdout.
BY_HAND = [
    ("sum-of-list", ("sum", "even", "squares"), "5\n1 2 3 4 -2\n", "24"),
    ("second-of-list", ("second-largest", "odd", "plain"), "4\n7 2 9 7\n", "7"),
    ("digits", ("largest", "below-5", "doubles"), "94027\n", "8"),
    ("divisors", ("sum", "multiple-3", "plain"), "12\n", "21"),
    ("neighbours", ("gaps", "smallest", "negative", "plain"), "4\n5 2 8 1\n", "-7"),
    ("grid", ("rows", "count", "above-5", "plain"), "2 2\n1 2\n3 4\n", "1"),
    ("either-condition", ("count", "odd", "above-10"), "5\n1 2 12 13 10\n", "3"),
    ("runs", ("longest", "even"), "7\n2 4 1 6 8 10 3\n", "3"),
    ("runs", ("count", "even"), "7\n2 4 1 6 8 10 3\n", "2"),
    ("position-of", ("last", "negative"), "4\n-1 3 -2 5\n", "3"),
    ("compare-totals", ("sum", "even", "odd"), "4\n2 3 4 1\n", "FIRST"),
    ("running-totals", ("maxima", "plain"), "4\n3 1 5 2\n", "3 3 5 5"),
    ("counted-pairs", ("pairs", "even-sum"), "4\n1 2 3 4\n", "2"),
    ("branch", ("even", "squares", "doubles"), "3\n", "6"),
    ("chain", ("squares", "successors"), "4\n", "25"),
    ("repeat", ("doubles", "7", "all"), "3 3\n", "6 5 3"),
    ("countdown", ("0", "halve", "steps"), "10\n", "4"),
    ("three-numbers", ("middle", "squares"), "-3 1 2\n", "4"),
    ("two-numbers", ("distance", "squares", "triples"), "2 5\n", "11"),
    ("pick-word", ("longest", "with-e"), "sky eel stone tree\n", "stone"),
    ("word-lengths", ("increasing", "with-a", "lengths"), "banana sky pear a\n", "1 4 6"),
    ("keep-letters", ("backwards", "vowels", "plain"), "ocean\n", "aeo"),
    ("text-steps", ("without-first", "reversed"), "abcd\n", "dcb"),
]


@pytest.mark.parametrize(("family", "parts", "stdin", "stdout"), BY_HAND, ids=lambda value: str(value)[:40])
def test_reference_solutions_give_what_was_worked_out_by_hand(
    family: str, parts: tuple[str, ...], stdin: str, stdout: str
) -> None:
    from families.catalogue import FAMILIES

    catalogued = next(entry for entry in FAMILIES if entry.name == family)
    task = next(task for task in catalogued.tasks() if task.parts == parts)
    assert task.answer(stdin) == stdout


def verdict_in_a_process(command: list[str], problem: dict) -> str:
    """A second of CPU time a test; whatever else the machine does is not the program's."""
    limited = ["sh", "-c", 'ulimit -t 1 && exec "$@"', "sh", *command]
    for test in problem["tests"]:
        run = subprocess.run(limited, input=test["input"], capture_output=True, text=True)
        if run.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return "time_limit_exceeded"
        if run.returncode != 0:
            return "runtime_error"
        if run.stdout.split() != test["expected_output"].split():
            return "wrong_answer"
    return "accepted"


def sample_of(solutions: list[dict], verdict: str, count: int) -> list[dict]:
    python = [row for row in solutions if row["claimed_verdict"] == verdict and row["language"] == "python3"]
    return Random(7).sample(python, count)


@pytest.mark.parametrize(
    ("verdict", "count"),
    [("accepted", 15), ("wrong_answer", 15), ("runtime_error", 10), ("time_limit_exceeded", 2)],
)
def test_claims_hold_in_real_processes(
    problems: dict[str, dict], solutions: list[dict], verdict: str, count: int
) -> None:
    for row in sample_of(solutions, verdict, count):
        actual = verdict_in_a_process(
            [sys.executable, "-I", "-c", row["program"]], problems[row["problem_id"]]
        )
        assert actual == verdict, row["source_key"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here: apt-get install g++")
def test_cpp_programs_pass(problems: dict[str, dict], solutions: list[dict], tmp_path: Path) -> None:
    written = [row for row in solutions if row["language"] == "cpp"]
    assert len(written) >= 15 and all(row["claimed_verdict"] == "accepted" for row in written)
    for row in Random(7).sample(written, 3):
        (tmp_path / "main.cpp").write_text(row["program"])
        subprocess.run(["g++", "-o", str(tmp_path / "main"), str(tmp_path / "main.cpp")], check=True)
        assert verdict_in_a_process([str(tmp_path / "main")], problems[row["problem_id"]]) == "accepted"


def test_verdict_of_tells_the_four_verdicts_apart() -> None:
    from families.trial import verdict_of

    tests = [{"input": "1\n", "expected_output": "1\n"}, {"input": "2\n", "expected_output": "4\n"}]
    assert verdict_of("print(int(input()) ** 2)", tests) == "accepted"
    assert verdict_of("print(input())", tests) == "wrong_answer"
    assert verdict_of("print(1 // (2 - int(input())))", tests) == "runtime_error"
    assert verdict_of("while True:\n    pass", tests) == "time_limit_exceeded"
