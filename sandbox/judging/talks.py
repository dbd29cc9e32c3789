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
BLIND_S = 0.25  # where the processes of a jail cannot be seen


@dataclass(frozen=True)
class Ends:
    """How the two runs ended, and whether each ended before the pipes were closed."""

    program: Run
    interactor: Run
    program_by_itself: bool
    interactor_by_itself: bool


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
) -> tuple[bool, bool]:
    """Wait until one has ended and the other has, too, or waits in vain; then close the pipes.

    Returns whether the program and the interactor had ended by then.
    """
    both = [program, interactor]
    ended = select.select(both, [], [], limit_s)[0]
    if len(ended) == 1:
        other = interactor if ended == [program] else program
        ended += await_end_or_quiet(other, limit_s)
    pipes.close()
    return program in ended, interactor in ended


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
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        for thread in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{thread}/children", "rb") as file:
                children = [int(word) for word in file.read().split()]
            found += children
            waiting += children
    return found
