"""A program and an interactor at either end of two pipes, so that the outcome does not depend on who is
faster.

When one of them ends, the other must not see it at once: the end of a pipe would be the end of it, too, and
whose failure came first would be chance. The judge keeps the pipes open until the other has ended by itself,
or waits for what will not come. What happens before the pipes close, each has done by itself; what happens
afterwards is a consequence.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass

from sandbox.isolation import Run, StartedRuns

LOOK_S = 0.004
QUIET_LOOKS = 8  # in a row, without a process that runs or CPU time spent
BOTH_QUIET_S, BOTH_LOOK_S = (
    0.3,
    0.05,
)  # of program and interactor, before one may miss the other's end of file
BLIND_S = 0.25  # where the processes of a jail cannot be seen


@dataclass(frozen=True)
class Ends:
    """How the two runs ended, whether each ended before the pipes were closed, and whether the interactor was
    the first of them.
    """

    program: Run
    interactor: Run
    program_by_itself: bool
    interactor_by_itself: bool
    interactor_first: bool


class Pipes:
    """A pipe each way, of which the judge holds all ends. A context manager."""

    def __init__(self) -> None:
        self.to_interactor, self.to_program = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self.open = [*self.to_interactor, *self.to_program]

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the end of one side show on the other."""
        while self.open:
            os.close(self.open.pop())


def wait_for_first(
    program: StartedRuns, interactor: StartedRuns, pipes: Pipes, limit_s: float
) -> tuple[bool, bool, bool]:
    """Wait until one has ended and the other has, too, or waits in vain; then close the pipes.

    Returns whether the program and the interactor had ended by then, and whether the interactor alone was
    seen to end first.
    """
    both = [program, interactor]
    ended = select.select(both, [], [], BOTH_QUIET_S)[0] or await_first(both, pipes, limit_s)
    if not pipes.open:
        # Who ended first cannot be told any more: a failure of the program counts as its own.
        select.select(both, [], [], limit_s)
        return True, False, False
    interactor_first = ended == [interactor]
    if len(ended) == 1:
        other = interactor if ended == [program] else program
        ended += await_end_or_quiet(other, limit_s)
    pipes.close()
    return program in ended, interactor in ended, interactor_first


def await_first(both: list[StartedRuns], pipes: Pipes, limit_s: float) -> list[StartedRuns]:
    """The runs that end first; none where the pipes were closed, because both wait: one may have closed its
    end without exiting, which the other sees only when the judge closes it, too.
    """
    quiet, before, begun = 0.0, None, time.monotonic()
    while time.monotonic() - begun < limit_s:
        if ended := select.select(both, [], [], BOTH_LOOK_S)[0]:
            return ended
        seen = [activity(started.supervisor_pid) for started in both]
        is_idle = None not in seen and not any(one[0] for one in seen if one) and seen == before
        quiet = quiet + BOTH_LOOK_S if is_idle else 0.0
        if quiet > BOTH_QUIET_S:
            pipes.close()
            return []
        before = seen
    return []


def await_end_or_quiet(started: StartedRuns, limit_s: float) -> list[StartedRuns]:
    """The runs where they end within the limit; empty where they go quiet before."""
    quiet, before, begun = 0, None, time.monotonic()
    while not select.select([started], [], [], LOOK_S)[0]:
        seen = activity(started.supervisor_pid)
        waited_s = time.monotonic() - begun
        if seen is None:
            quiet = QUIET_LOOKS if waited_s > BLIND_S else 0
        else:
            quiet = quiet + 1 if not seen[0] and seen == before else 0
        if quiet >= QUIET_LOOKS or waited_s > limit_s:
            return []
        before = seen
    return [started]


def activity(supervisor_pid: int) -> tuple[bool, int] | None:
    """Whether a thread of a jail's programs runs or waits for a processor or a disk, and their CPU time in
    ticks.

    None where that cannot be seen.
    """
    runs, ticks = False, 0
    try:
        programs = descendants(supervisor_pid)
        for pid in programs:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                runs = runs or fields[0] not in (b"S", b"Z", b"T", b"t", b"X")
                ticks += int(fields[11]) + int(fields[12])
    except OSError:
        return True, -1  # one that has just gone was not quiet
    return (runs, ticks) if programs else None


def descendants(pid: int) -> list[int]:
    """The processes below one. Raises OSError."""
    process_ids, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        for thread in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{thread}/children", "rb") as file:
                children = [int(word) for word in file.read().split()]
            process_ids += children
            waiting += children
    return process_ids
