"""An overloaded machine changes no verdict: CPU time decides, and the wall-clock limit only ends sleepers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox import Limits, Pool, Submission, Test

SPINNERS = 6
# Not for longer than the tests live.
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
WORK = "import time\nwhile time.process_time() < 0.25: pass\nprint('done')"
THREADED = f"import threading\nt = threading.Thread(target=lambda: exec({WORK!r}))\nt.start()\nt.join()"
IN_A_CHILD = f"import os\npid = os.fork()\nif pid == 0:\n    exec({WORK!r})\nelse:\n    os.waitpid(pid, 0)"
LIMITS = Limits(time_s=1.0, wall_limit_s=0.5)


@pytest.fixture(scope="module")
def crowded_pool(cache):
    """One worker on one processor, together with processes that never let go of it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    spinners = []
    try:
        with Pool(1, cache=cache) as pool:
            # A session each, so that a kernel which shares out the processor by session counts them one by
            # one.
            spinners += [
                subprocess.Popen([sys.executable, "-S", "-c", SPIN], start_new_session=True)
                for _ in range(SPINNERS)
            ]
            yield pool
    finally:
        os.sched_setaffinity(0, before)
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def judged(pool, program):
    return pool.judge(Submission(program, "python3", (Test("1", "stdin", "", "done"),), LIMITS))


@pytest.mark.parametrize("program", [WORK, THREADED, IN_A_CHILD], ids=["alone", "threaded", "in a child"])
def test_waiting_for_a_processor_is_not_sleep(crowded_pool, program):
    judgement = judged(crowded_pool, program)
    assert judgement.tests[0].wall_s > LIMITS.wall_s, (
        "the processor was not crowded enough for this test to say anything"
    )
    assert judgement.verdict == "accepted", judgement


def test_a_sleeper_is_ended_on_a_busy_machine(crowded_pool):
    judgement = judged(crowded_pool, "import time\ntime.sleep(3600)\nprint('done')")
    assert (judgement.verdict, judgement.tests[0].detail) == ("time_limit_exceeded", "slept for 0.5 s")


def test_a_program_without_a_processor_gets_no_verdict(crowded_pool):
    """Ten times the wall-clock limit without sleep is the machine's failure: not a reward, not a time-out."""
    limits = Limits(time_s=30.0, wall_limit_s=0.05)
    submission = Submission("while True: pass", "python3", (Test("1", "stdin", "", ""),), limits)
    judgement = crowded_pool.judge(submission)
    assert judgement.verdict == "judge_error" and "no processor" in judgement.tests[0].detail, judgement
