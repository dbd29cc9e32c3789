"""The supervisors in C and in Python give the same results, and so do several tests in one message."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from sandbox import Judgement, Limits, Submission, Test
from sandbox.isolation import native
from sandbox.judging import batches, runs
from sandbox.judging.judge import Judge

CC = shutil.which("cc")
pytestmark = pytest.mark.skipif(CC is None, reason="no C compiler")
# What a program does depends on its input: doubles it, or misbehaves.
PROGRAM = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    char word[20];
    if (scanf("%19s", word) != 1) return 9;
    if (!strcmp(word, "exit")) return 3;
    if (!strcmp(word, "signal")) raise(SIGSEGV);
    if (!strcmp(word, "spin")) for (volatile int i = 0;; i++);
    if (!strcmp(word, "sleep")) sleep(60);
    if (!strcmp(word, "hoard")) for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    if (!strcmp(word, "flood")) for (;;) puts(word);
    if (!strcmp(word, "litter")) close(open("/tmp/left", O_CREAT | O_WRONLY, 0600));
    if (!strcmp(word, "descriptors"))
        for (int fd = 0; fd < 256; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
    if (!strcmp(word, "look")) return printf("%d", access("/tmp/left", F_OK)), 0;
    printf("%d\n", 2 * atoi(word));
}
"""
IN_PYTHON = """
import fcntl, os, sys, time
word = input()
if word == "exit": sys.exit(3)
if word == "signal": os.kill(os.getpid(), 11)
while word == "spin": pass
if word == "sleep": time.sleep(60)
held = []
while word == "hoard": held.append(bytearray(1 << 20))
while word == "flood": print(word)
if word == "litter": os.close(os.open("/tmp/left", os.O_CREAT | os.O_WRONLY, 0o600))
if word == "descriptors":
    for descriptor in range(256):
        try:
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
            print(descriptor)
        except OSError:
            pass
print(os.path.exists("/tmp/left") - 1 if word == "look" else 2 * int(word) if word.isdigit() else 0)
"""
PROGRAMS = {"c": PROGRAM, "python3": IN_PYTHON}
WORDS = [
    *map(str, range(9)),
    "exit",
    "signal",
    "1",
    "spin",
    "sleep",
    "2",
    "hoard",
    "flood",
    "litter",
    "look",
    "descriptors",
    "3",
]
EXPECTED = {"litter": "0", "look": "-1", "descriptors": "0 1 2 0"}
LIMITS = Limits(time_s=0.3, memory_mb=64, output_bytes=1 << 16, wall_limit_s=1.0)


def submission(words, language="c", **fields) -> Submission:
    tests = (
        Test(
            word,
            "stdin",
            word,
            EXPECTED[word] if word in EXPECTED else str(2 * int(word) if word.isdigit() else 0),
        )
        for word in words
    )
    return Submission(PROGRAMS[language], language, tuple(tests), LIMITS, **fields)


def outcome(judgement: Judgement) -> list:
    return [
        (test.test_id, test.verdict, test.exit_code, test.signal, test.output_digest, test.detail)
        for test in judgement.tests
    ]


@pytest.fixture(scope="module")
def judges(isolation, cache):
    """One with the supervisor in C, one without it."""
    assert isolation.supervisor is not None and isolation.library is not None
    in_python = replace(isolation, supervisor=None, library=None)
    with Judge(isolation, cache) as with_c, Judge(in_python, cache) as without:
        yield with_c, without


@pytest.mark.parametrize("language", PROGRAMS)
def test_both_supervisors_give_the_same_results(judges, language):
    """Executables: the supervisor in C and in Python. Python programs: with and without the library in C."""
    in_c, in_python = (
        judge.judge(submission(WORDS, language, stop_at_first_failure=False)) for judge in judges
    )
    assert outcome(in_c) == outcome(in_python)
    verdicts = dict(zip(WORDS, (test.verdict for test in in_c.tests), strict=True))
    failures = {word: verdict for word, verdict in verdicts.items() if verdict != "accepted"}
    assert failures == {
        "exit": "runtime_error", "signal": "runtime_error", "spin": "time_limit_exceeded", "sleep":
        "time_limit_exceeded", "hoard": "memory_limit_exceeded", "flood": "output_limit_exceeded",
    }  # fmt: skip


@pytest.mark.parametrize("language", PROGRAMS)
def test_several_at_a_time_change_nothing(judges, monkeypatch, language):
    words = [*map(str, range(30)), "exit", "31"]
    work = submission(words, language)
    several = judges[0].judge(work)
    monkeypatch.setattr(runs, "next_size", lambda results: 1)
    assert outcome(judges[0].judge(work)) == outcome(several)
    assert (several.first_failure, several.passed, len(several.tests)) == ("exit", 30, 31)


def test_the_first_wrong_answer_ends_the_judging_within_a_message(judges):
    tests = tuple(Test(str(i), "stdin", str(i), str(2 * i) if i != 20 else "x") for i in range(40))
    judgement = judges[0].judge(Submission(PROGRAM, "c", tests, LIMITS))
    assert (judgement.verdict, judgement.first_failure, judgement.passed, len(judgement.tests)) == (
        "wrong_answer",
        "20",
        20,
        21,
    )


def test_batches_grow_and_stay_small():
    tests = [Test(str(i), "stdin", "x" * (3 << 20) if i > 4 else "", "") for i in range(9)] + [
        Test("f", "call", "1", "1")
    ]
    assert [len(batches.take_batch(tests, start, 8)) for start in range(10)] == [7, 6, 5, 4, 3, 2, 2, 2, 1, 1]
    quick, slow = (
        runs.make_result(tests[0], "accepted", runs.Run(0, cpu_s, 0, 0, 0, False), b"", "")
        for cpu_s in (0.0, 0.06)
    )
    assert [batches.next_size([quick] * count) for count in (1, 2, 4, 8)] == [2, 4, 8, 16]
    assert batches.next_size([quick] * 16) == 19
    assert batches.next_size([quick, slow]) == 3 and batches.next_size([slow]) == 1


def test_it_is_built_once_per_source_and_flags(cache, tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    first = native.build(CC, folder)
    assert first == native.build(CC, folder) and len(list(folder.iterdir())) == 1
    assert native.build(CC, folder, native.LIBRARY) not in (first, None)
    monkeypatch.setattr(native, "FLAGS", ("-O0", "-w", "-std=gnu17"))
    assert native.build(CC, folder) != first
    monkeypatch.setattr(native, "FLAGS", ("--no-such-flag",))
    assert native.build(CC, folder) is None
    assert len(list(folder.iterdir())) == 3
