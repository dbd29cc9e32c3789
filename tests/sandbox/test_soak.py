"""Hostile and ordinary runs mixed: every verdict is right, and no process, group, mount or file is left."""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Limits, Pool, Submission, Test
from sandbox.isolation.kinds import program_uid

RUNS = int(os.environ.get("SPO_SOAK_RUNS", 100_000))
SHORT_RUNS = 600
DYING_S = 60  # at most, until the kernel of a busy machine has removed what was killed
TESTS = 50
ORDINARY = {
    "python3": "print(int(input()) * 2)",
    "c": '#include <stdio.h>\nint main(void) { long n; scanf("%ld", &n); printf("%ld\\n", 2 * n); }',
}
# Attacks that end at once: the short test has no time for sleepers.
QUICK = (
    "exit_at_once.py",
    "leave_files.py",
    "fork_chain.c",
    "kill_everything.py",
    "signal_the_judge.py",
    "daemon_writes.py",
)


def hostile_tests():
    spec = importlib.util.spec_from_file_location("hostile_tests", Path(__file__).parent / "test_hostile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attack_submissions(only: tuple[str, ...] = ()) -> list[tuple[Submission, list[str]]]:
    """Each attack between two ordinary tests, and the verdicts that are right for it."""
    hostile = hostile_tests()
    actual = []
    for path in hostile.ATTACKS:
        if only and path.name not in only:
            continue
        text = path.read_text()
        language, program = hostile.with_ordinary_branch(path)
        expected = secrets.token_hex(16) if "output: nonce" in text else "contained"
        cases = (("before", "21\n", "42\n"), ("attack", "attack\n", expected), ("after", "21\n", "42\n"))
        tests = tuple(Test(*case[:1], "stdin", *case[1:]) for case in cases)
        submission = Submission(
            program, language, tests, hostile.LIMITS, stop_at_first_failure=False, key=path.name
        )
        actual.append((submission, re.search(r"expect: (.+)", text).group(1).split()))
    return actual


def mixture(runs: int, attacks: list[tuple[Submission, list[str]]], every: int) -> Iterator[Submission]:
    """Submissions with `runs` runs in total; one of `every` submissions is an attack."""
    chance = random.Random(0)
    done = 0
    for number in itertools.count():
        if done >= runs:
            return
        if number % every == 0:
            submission = attacks[number // every % len(attacks)][0]
        else:
            language = chance.choice(list(ORDINARY))
            tests = tuple(Test(str(i), "stdin", f"{i}\n", f"{2 * i}\n") for i in range(TESTS))
            submission = Submission(
                ORDINARY[language] + "\n" * (number % 3), language, tests, Limits(), key="ordinary"
            )
        done += len(submission.tests)
        yield submission


def users_of(pool: Pool) -> set[int]:
    """The user ids that the programs of root's workers run as."""
    return {program_uid(worker.process.pid) for worker in pool.workers} if os.geteuid() == 0 else set()


def left_behind(folder: Path, users: set[int], groups: set[Path]) -> list[str]:
    """What is left of the sandbox: processes of its users, control groups, mounts, and files."""
    actual = [f"group {path}" for path in groups if path.exists()]
    actual += [f"file {path}" for path in folder.iterdir() if path.name != "programs"]
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            user, words = os.stat(f"/proc/{process}").st_uid, Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if user in users or (str(folder).encode() in words and int(process) != os.getpid()):
            actual.append(f"process {process} {words[:80]!r}")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return actual + [
        f"mount {line}" for line in mounts if str(folder) in line or "/newroot" in line or "/oldroot" in line
    ]


def soak(folder: Path, runs: int, only: tuple[str, ...], every: int) -> tuple[int, list[str]]:
    """The number of runs, and what went wrong."""
    attacks = attack_submissions(only)
    allowed = {submission.key: verdicts for submission, verdicts in attacks}
    wrong, done, users, groups = [], 0, set(), set()
    with Pool(cache=folder / "programs") as pool:
        for judgement in pool.stream(mixture(runs, attacks, every)):
            users |= users_of(pool)
            groups.update(*(worker.groups for worker in pool.workers))
            done += len(judgement.tests)
            verdicts = [test.verdict for test in judgement.tests]
            if judgement.key in allowed:
                right = verdicts[::2] == ["accepted", "accepted"] and verdicts[1] in allowed[judgement.key]
            else:
                right = judgement.verdict == "accepted" and len(verdicts) == TESTS
            if not right:
                wrong.append(f"{judgement.key}: {verdicts}")
    deadline = time.monotonic() + DYING_S
    while (left := left_behind(folder, users, groups)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return done, wrong + left


def test_nothing_is_left_after_a_short_mixture(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done, wrong = soak(tmp_path, SHORT_RUNS, QUICK, every=3)
    assert done >= SHORT_RUNS and not wrong, wrong


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_nothing_is_left_after_a_hundred_thousand_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done, wrong = soak(tmp_path, RUNS, (), every=12)
    with capsys.disabled():
        print(f"\n{done} runs; wrong or left behind: {wrong or 'nothing'}")
    assert done >= RUNS and not wrong
