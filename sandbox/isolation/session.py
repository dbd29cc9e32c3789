"""One jail from outside: start it, hand it a program, run tests in it, end it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
from dataclasses import dataclass
from itertools import chain

from sandbox.contracts import MIB, Limits, SandboxUnavailable
from sandbox.isolation import jail
from sandbox.isolation.cgroups import Group
from sandbox.isolation.guest import protocol
from sandbox.isolation.guest.protocol import pack, unpack

START_S = 60.0  # for a jail to stand, on an overloaded machine
CLOSE_S = 10.0
GRACE_S = 30.0  # beyond the longest a run may take, for the supervisor to kill and answer
READ_ONLY_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
OPEN_FILES = 256
WATCH_MS, WATCH_BESIDE_CGROUP_MS = 10, 50  # a page-faulting program takes some 50 MB in 10 ms
CREDENTIALS = struct.Struct("3i")


class JailDied(RuntimeError):
    """The jail or its supervisor ended, or stopped answering. Says nothing about the program."""


@dataclass(frozen=True)
class Run:
    """How one run ended. Times in seconds, memory in MB, what it wrote in bytes."""

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
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    @property
    def exit_code(self) -> int | None:
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None


class Session:
    """A standing jail. A context manager; everything inside is dead when it closes."""

    def __init__(self, spec: jail.JailSpec, limits: Limits, group: Group | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.messages = os.memfd_create("messages")
        self.socket = ours
        ours.settimeout(START_S)
        self.standing = jail.start(spec, theirs.fileno(), self.messages)
        self.process = self.standing.process
        theirs.close()
        try:
            self._set_up(limits, group)
        except (JailDied, OSError) as error:
            self.close()
            raise SandboxUnavailable(f"the sandbox does not start: {error}") from error

    def _set_up(self, limits: Limits, group: Group | None) -> None:
        supervisor_pid = self._await_supervisor()
        if group:
            group.set_limits(limits.memory_mb, limits.processes)
            group.add(supervisor_pid)
        setup = {
            "uid": jail.program_uid(os.getpid()) if jail.as_root() else 0,
            "memory_kb": limits.memory_mb * 1024,
            "file_bytes": limits.output_bytes + 1,
            "processes": limits.processes,
            "open_files": OPEN_FILES,
            "watch_ms": WATCH_BESIDE_CGROUP_MS if group else WATCH_MS,
        }
        self._ask(protocol.SETUP + pack(*(setup[field] for field in protocol.SETUP_FIELDS)))

    def _await_supervisor(self) -> int:
        """The supervisor's process id as this side of the jail sees it; the kernel vouches for it."""
        hello, ancillary, _, _ = self.socket.recvmsg(64, socket.CMSG_SPACE(CREDENTIALS.size))
        if not hello or not ancillary:
            raise JailDied(self.complaint() or "the supervisor ended")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        pid: int = CREDENTIALS.unpack(ancillary[0][2])[0]
        return pid

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Return when everything inside is dead: the supervisor, process 1 of its namespace, ends when the socket closes."""
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        pidfd = os.pidfd_open(self.process.pid)
        ended = select.select([pidfd], [], [], CLOSE_S)[0]
        os.close(pidfd)
        if not ended:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.standing.cleared()
        os.close(self.messages)

    def set_command(self, argv: list[str], environment: dict[str, str]) -> None:
        words = [f"{name}={value}" for name, value in (environment | self.standing.environment()).items()]
        self._ask(protocol.ENVIRONMENT + os.fsencode("\0".join(words)))
        self._ask(protocol.PROGRAM + os.fsencode("\0".join(argv)))

    def check_python(self, source: bytes, limits: Limits) -> tuple[int, Run, str]:
        """Have Python source compiled and forgotten. Gives OK, COMPILE_FAILED or COMPILE_KILLED, the run and its messages."""
        return self._compile(protocol.CHECK, source, limits)

    def set_python(
        self, source: bytes, limits: Limits, function: bool, compiles: bool = False
    ) -> tuple[int, Run, str]:
        """Hand over Python source, which may be known to compile. Gives what `check_python` gives."""
        return self._compile(protocol.PYTHON, source, limits, function, compiles)

    def _compile(self, request: bytes, source: bytes, limits: Limits, *modes: int) -> tuple[int, Run, str]:
        source_file, messages = sealed(source), os.memfd_create("compile")
        try:
            self.socket.settimeout(limits.wall_s * protocol.STARVED_FACTOR + GRACE_S)
            body = pack(int(limits.time_s * 1e6), int(limits.wall_s * 1e6), *modes)
            answer = self._ask(request + body, (source_file, messages), expect=None)
            return answer[0], _run(answer), os.pread(messages, 4096, 0).decode("utf-8", "replace")
        finally:
            os.close(source_file)
            os.close(messages)

    def set_arguments(self, words: tuple[str, ...]) -> None:
        """The command line of a Python program, behind its name."""
        self._ask(protocol.ARGUMENTS + os.fsencode("\0".join(words)))

    def put_file(self, name: str, contents: bytes) -> None:
        file = sealed(contents)
        try:
            self._ask(protocol.FILE + os.fsencode(name), (file,))
        finally:
            os.close(file)

    def list_files(self) -> list[str]:
        """Names in the scratch folder, 500 at most."""
        self.socket.send(protocol.LIST)
        return [name for name in os.fsdecode(self._receive()).split("\0") if name]

    def take_file(self, name: str) -> int | None:
        """A descriptor for a file in the scratch folder; None where the supervisor could not open it."""
        self.socket.send(protocol.COLLECT + os.fsencode(name))
        answer, descriptors, _, _ = socket.recv_fds(self.socket, protocol.MAX_MESSAGE, 1)
        if not answer or answers(answer, 1)[0][0] != protocol.OK or not descriptors:
            return None
        return descriptors[0]

    def run(self, descriptors: tuple[int, ...], cpu_s: float, wall_s: float) -> Run:
        """Run the program once: standard input, output, error, and for functions job and result."""
        return self.run_all([descriptors], cpu_s, wall_s)[0]

    def run_all(self, tests: list[tuple[int, ...]], cpu_s: float, wall_s: float) -> list[Run]:
        """Run the program once per entry, up to the first run that does not end with status 0 or leaves something behind."""
        self.start_all(tests, cpu_s, wall_s)
        return self.finish_all(len(tests))

    def start_all(self, tests: list[tuple[int, ...]], cpu_s: float, wall_s: float) -> None:
        """Set the runs going. The caller may close the descriptors."""
        self.socket.settimeout(len(tests) * wall_s * protocol.STARVED_FACTOR + GRACE_S)
        body = pack(int(cpu_s * 1e6), int(wall_s * 1e6), len(tests[0]))
        self._send(protocol.TEST + body, tuple(chain.from_iterable(tests)))

    def finish_all(self, most: int = 1) -> list[Run]:
        """How the runs ended: at least one of them, `most` at most."""
        return [_run(answer) for answer in answers(self._receive(), most)]

    def complaint(self) -> str:
        """The last line bubblewrap or the supervisor wrote about itself."""
        lines = os.pread(self.messages, 8192, 0).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _ask(
        self, message: bytes, descriptors: tuple[int, ...] = (), expect: int | None = protocol.OK
    ) -> tuple[int, ...]:
        self._send(message, descriptors)
        answer = answers(self._receive(), 1)[0]
        if expect is not None and answer[0] != expect:
            raise JailDied(f"the supervisor refused {message[:1]!r}")
        return answer

    def _send(self, message: bytes, descriptors: tuple[int, ...]) -> None:
        try:
            if descriptors:
                socket.send_fds(self.socket, [message], descriptors)
            else:
                self.socket.send(message)
        except OSError as error:
            raise JailDied(self.complaint() or str(error)) from error

    def _receive(self) -> bytes:
        try:
            answer = self.socket.recv(protocol.MAX_MESSAGE)
        except OSError as error:
            raise JailDied(self.complaint() or f"no answer from the supervisor: {error}") from error
        if not answer:
            raise JailDied(self.complaint() or "the supervisor ended")
        return answer


def answers(message: bytes, most: int) -> list[tuple[int, ...]]:
    """The supervisor's answers, one to `most`. Raises JailDied for anything else, which the supervisor does not send."""
    size = 8 * len(protocol.ANSWER_FIELDS)
    if not message or len(message) % size or len(message) > most * size:
        raise JailDied("an answer the supervisor does not give")
    found = unpack(message)
    numbers = len(protocol.ANSWER_FIELDS)
    return [found[i : i + numbers] for i in range(0, len(found), numbers)]


def _run(answer: tuple[int, ...]) -> Run:
    """Raises JailDied for a run that says more about the machine than about the program."""
    found = dict(zip(protocol.ANSWER_FIELDS, answer, strict=True))
    cpu_s, wall_s = found["cpu_us"] / 1e6, found["wall_us"] / 1e6
    if found["ending"] == protocol.STARVED:
        raise JailDied(f"no processor was free: {cpu_s:.1f} s of CPU time in {wall_s:.0f} s of wall time")
    return Run(
        status=found["status"],
        cpu_s=cpu_s,
        wall_s=wall_s,
        memory_mb=found["peak_kb"] / 1024,
        ending=found["ending"],
        scratch_changed=bool(found["flags"] & protocol.SCRATCH_CHANGED),
        output_bytes=found["output_bytes"],
        error_bytes=found["error_bytes"],
    )


def sealed(contents: bytes) -> int:
    """A memory file nobody can change any more; seekable, with its true size."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    written = os.pwrite(descriptor, contents, 0)  # leaves the position where it is
    while written < len(contents):
        written += os.pwrite(descriptor, memoryview(contents)[written:], written)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, READ_ONLY_SEALS)
    return descriptor


def stack_bytes(limits: Limits) -> int:
    """The stack may take the whole memory limit."""
    return limits.memory_mb * MIB
