"""Memory without a control group: what a program holds is counted, wherever it hides it; what it only
reserves is not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox import Limits, Submission, Test
from sandbox.judging import Judge

HEAD = """
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#define STEP (40ul << 20)
static char *shared(size_t size) {
    return mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
static void *grow(void *unused) {
    for (int i = 0; i < 20; i++) {
        memset(mmap(0, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, STEP);
        usleep(40000);
    }
    puts("held");
    fflush(stdout);
    _exit(0);
}
"""
LEADER_GONE = "int main(void) { pthread_t thread; pthread_create(&thread, 0, grow, 0); pthread_exit(0); }"
CHILD_AND_LEADER_GONE = LEADER_GONE.replace("pthread_t", "if (!fork()) pause(); pthread_t")
TOUCHED_BY_CHILDREN = """int main(void) {
    char *all = shared(20 * STEP);
    for (int i = 0; i < 20; i++) {
        if (!fork()) { memset(all + i * STEP, 1, STEP); _exit(0); }
        wait(0);
        usleep(20000);
    }
    puts("held");
}"""
DROPPED = """int main(void) {
    char *all = shared(20 * STEP);
    for (int i = 0; i < 20; i++) {
        memset(all + i * STEP, 1, STEP);
        madvise(all + i * STEP, STEP, MADV_DONTNEED);
        usleep(20000);
    }
    puts("held");
}"""
HIDDEN = DROPPED.replace("char *all", "prctl(PR_SET_DUMPABLE, 0); char *all")
RESERVED = 'int main(void) { char *all = shared(200 * STEP); all[0] = 1; usleep(100000); puts("held"); }'
LIMITS = Limits(time_s=5, memory_mb=200)
TOO_MUCH = {
    "leader gone": LEADER_GONE,
    "child, and leader gone": CHILD_AND_LEADER_GONE,
    "touched by children": TOUCHED_BY_CHILDREN,
    "dropped": DROPPED,
    "hidden": HIDDEN,
}


@pytest.fixture(scope="module", params=["supervisor in C", "supervisor in Python"])
def judged(request, isolation, cache):
    """judged(program) -> its judgement, by a judge without a control group."""
    without = replace(isolation, group=None, syntax_group=None)
    if request.param.endswith("Python"):
        without = replace(without, supervisor=None, library=None)
    assert without.tier.endswith("+rlimits")
    with Judge(without, cache) as judge:
        yield lambda program: judge.judge(Submission(HEAD + program, "c", (Test("1", "stdin", ""),), LIMITS))


@pytest.mark.parametrize("name", TOO_MUCH)
def test_held_memory_is_counted(judged, name):
    judgement = judged(TOO_MUCH[name])
    assert judgement.verdict == "memory_limit_exceeded", judgement
    assert judgement.memory_mb < 500  # of the 800 that it would take


def test_reserved_memory_is_not(judged):
    assert judged(RESERVED).verdict == "accepted"
