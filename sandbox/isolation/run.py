"""One run of a program: how it ended, as the supervisor's numbers say."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

from sandbox.bounds import MIB
from sandbox.contracts import Limits
from sandbox.isolation.guest import protocol
from sandbox.isolation.guest.protocol import unpack

READ_ONLY_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class JailDied(RuntimeError):
    """The jail or its supervisor exited, or stopped answering. Says nothing about the program."""


@dataclass(frozen=True)
class Run:
    """How one run ended. `status` is the wait status, `ending` one of the protocol's constants."""

    status: int
    cpu_s: float
    wall_s: float
    memory_mb: float
    ending: int
    scratch_changed: bool
    output_bytes: int = 0
    error_bytes: int = 0

    @property
    def signal(self) -> int | None:
        """The signal that ended the program; None where it exited."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    @property
    def exit_code(self) -> int | None:
        """The program's exit status; None where a signal ended it."""
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None


def answers(message: bytes, most: int) -> list[tuple[int, ...]]:
    """The supervisor's answers, one to `most`.

    Raises JailDied for anything else, which the supervisor does not send.
    """
    numbers = len(protocol.ANSWER_FIELDS)
    if not message or len(message) % (8 * numbers) or len(message) > most * 8 * numbers:
        raise JailDied(f"{len(message)} bytes are not an answer of the supervisor")
    answer = unpack(message)
    return [answer[i : i + numbers] for i in range(0, len(answer), numbers)]


def to_run(answer: tuple[int, ...]) -> Run:
    """The run that an answer describes.

    Raises JailDied for one that says more about the machine than about the program.
    """
    fields = dict(zip(protocol.ANSWER_FIELDS, answer, strict=True))
    cpu_s, wall_s = fields["cpu_us"] / 1e6, fields["wall_us"] / 1e6
    if fields["ending"] == protocol.STARVED:
        raise JailDied(f"no processor was free: {cpu_s:.1f} s of CPU time in {wall_s:.0f} s of wall time")
    return Run(
        status=fields["status"],
        cpu_s=cpu_s,
        wall_s=wall_s,
        memory_mb=fields["peak_kb"] / 1024,
        ending=fields["ending"],
        scratch_changed=bool(fields["flags"] & protocol.SCRATCH_CHANGED),
        output_bytes=fields["output_bytes"],
        error_bytes=fields["error_bytes"],
    )


def sealed(contents: bytes) -> int:
    """A descriptor of a memory file that nobody can change; seekable, with its true size."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    written = os.pwrite(descriptor, contents, 0)  # leaves the position where it is
    while written < len(contents):
        written += os.pwrite(descriptor, memoryview(contents)[written:], written)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, READ_ONLY_SEALS)
    return descriptor


def stack_bytes(limits: Limits) -> int:
    """The stack may take the whole memory limit."""
    return limits.memory_mb * MIB
