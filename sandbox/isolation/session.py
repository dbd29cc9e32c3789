"""One jail from outside: start it, give it a program, run tests in it, end it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from itertools import chain

from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation.cgroups import Group
from sandbox.isolation.guest import protocol
from sandbox.isolation.guest.protocol import pack
from sandbox.isolation.jail import ENVIRONMENT, JailSpec
from sandbox.isolation.kinds import Isolation
from sandbox.isolation.run import JailDied, Run, answers, sealed, to_run

START_S = 60.0  # for a jail to start, on an overloaded machine
CLOSE_S = 10.0
LONGEST_S = 1e6  # that a socket can be told to wait
GRACE_S = 30.0  # beyond the longest time a run may take, for the supervisor to kill and answer
OPEN_FILES = 256
WATCH_MS, WATCH_BESIDE_CGROUP_MS = 10, 50  # a program that touches new pages takes some 50 MB in 10 ms
CREDENTIALS = struct.Struct("3i")
MESSAGE_BYTES, CODE_BYTES = 4096, 1 << 20


class Session:
    """A running jail. A context manager: when it closes, everything inside is dead.

    `group` is the control group that the jail joins. Raises SandboxUnavailable where the jail does not start.
    """

    def __init__(
        self, isolation: Isolation, spec: JailSpec, limits: Limits, group: Group | None = None
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.messages = os.memfd_create("messages")
        self.code: int | None = None  # of the present program, in a jail that several share
        self.is_undisturbed = True
        self.socket = ours
        ours.settimeout(START_S)
        self.jail = isolation.start(spec, theirs.fileno(), self.messages)
        theirs.close()
        try:
            self._set_up(isolation.uid, limits, group)
        except (JailDied, OSError) as error:
            self.close()
            raise SandboxUnavailable(f"the sandbox does not start: {error}") from error

    def _set_up(self, uid: int, limits: Limits, group: Group | None) -> None:
        supervisor_pid = self.supervisor_pid = self._await_supervisor()
        if group:
            group.set_limits(limits.memory_mb, limits.processes)
            group.add(supervisor_pid)
        setup = {
            "uid": uid,
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
            raise JailDied(self.complaint() or "the supervisor exited")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        pid: int = CREDENTIALS.unpack(ancillary[0][2])[0]
        return pid

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Return when everything inside is dead: the supervisor, process 1 of its namespace, exits when
        the socket closes.
        """
        self.take_back()
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        self.jail.end(CLOSE_S)
        os.close(self.messages)

    def set_command(self, argv: list[str], environment: dict[str, str]) -> None:
        """Make a command the program, with `environment` beside what every jail sets."""
        everything = ENVIRONMENT | environment | self.jail.scratch_environment
        words = [f"{name}={value}" for name, value in everything.items()]
        self._ask(protocol.ENVIRONMENT + os.fsencode("\0".join(words)))
        self._ask(protocol.PROGRAM + os.fsencode("\0".join(argv)))

    def check_python(self, source: bytes, limits: Limits) -> tuple[int, Run, str]:
        """Compile Python source and forget it. Returns OK, COMPILE_FAILED or COMPILE_KILLED, the run, and
        its messages.
        """
        what, run, messages = self._compile(protocol.CHECK, source, limits, False)
        return what, run, shown(messages)

    def compile_plain(self, source: bytes, limits: Limits) -> tuple[int, Run, str, bytes]:
        """The same, and the compiled code, which is as little to be trusted as the source; b"" for a program
        that may share no jail.
        """
        what, run, written = self._compile(protocol.CHECK, source, limits, True)
        is_code = what == protocol.OK and run.exit_code == 0 and len(written) < CODE_BYTES
        return what, run, shown(written), written if is_code else b""

    def share(self, modules: Iterable[str]) -> None:
        """Make the jail one that runs many Python programs, which all import these modules. `give` says which
        program is next.
        """
        self._ask(protocol.SHARED + " ".join(modules).encode())

    def give(self, code: bytes) -> None:
        """Make a program of `compile_plain` that of the next runs."""
        self.take_back()
        self.code = sealed(code)

    def take_back(self) -> None:
        """End what `give` began."""
        if self.code is not None:
            os.close(self.code)
            self.code = None

    def set_python(
        self,
        source: bytes,
        limits: Limits,
        function: int,
        compiles: bool = False,
        arguments: tuple[str, ...] = (),
    ) -> tuple[int, Run, str]:
        """Make Python source the program, with `arguments` behind its name. Returns what `check_python`
        returns.

        `function`: 0 for a whole program, a key of `protocol.RUNNERS` for function tests; `compiles`: it is
        known to compile.
        """
        what, run, messages = self._compile(protocol.PYTHON, source, limits, function, compiles)
        if arguments and what == protocol.OK:
            self._ask(protocol.ARGUMENTS + os.fsencode("\0".join(arguments)))
        return what, run, shown(messages)

    def _compile(self, request: bytes, source: bytes, limits: Limits, *modes: int) -> tuple[int, Run, bytes]:
        source_file, messages = sealed(source), os.memfd_create("compile")
        try:
            self.socket.settimeout(min(limits.wall_s * protocol.STARVED_FACTOR + GRACE_S, LONGEST_S))
            body = pack(int(limits.time_s * 1e6), int(limits.wall_s * 1e6), *modes)
            answer = self._ask(request + body, (source_file, messages), expect=None)
            return answer[0], to_run(answer), os.pread(messages, CODE_BYTES, 0)
        finally:
            os.close(source_file)
            os.close(messages)

    def put_file(self, name: str, contents: bytes) -> None:
        """Put a file into the scratch folder."""
        file = sealed(contents)
        try:
            self._ask(protocol.FILE + os.fsencode(name), (file,))
        finally:
            os.close(file)

    def list_files(self, folder: str = "") -> list[str]:
        """Names in the scratch folder, or in a folder of it, 500 at most; a slash ends those of folders."""
        self.socket.send(protocol.LIST + os.fsencode(folder))
        return [name for name in os.fsdecode(self._receive()).split("\0") if name]

    def open_file(self, name: str) -> int | None:
        """A descriptor of a file in the scratch folder; None where the supervisor could not open it."""
        self.socket.send(protocol.COLLECT + os.fsencode(name))
        answer, descriptors, _, _ = socket.recv_fds(self.socket, protocol.MAX_MESSAGE, 1)
        if not answer or answers(answer, 1)[0][0] != protocol.OK or not descriptors:
            return None
        return descriptors[0]

    def run(self, descriptors: tuple[int, ...], cpu_s: float, wall_s: float) -> Run:
        """Run the program once: standard input, output, error, and for functions job and result."""
        return self.start([descriptors], cpu_s, wall_s).finish()[0]

    def run_all(self, tests: list[tuple[int, ...]], cpu_s: float, wall_s: float) -> list[Run]:
        """Run the program per entry, up to the first run that does not exit with status 0 or leaves
        something behind.
        """
        return self.start(tests, cpu_s, wall_s).finish()

    def start(self, tests: list[tuple[int, ...]], cpu_s: float, wall_s: float) -> StartedRuns:
        """Start what `run_all` runs. The caller may close the descriptors."""
        if self.code is not None:
            tests = [(*descriptors, self.code) for descriptors in tests]
        self.socket.settimeout(min(len(tests) * wall_s * protocol.STARVED_FACTOR + GRACE_S, LONGEST_S))
        body = pack(int(cpu_s * 1e6), int(wall_s * 1e6), len(tests[0]))
        self._send(protocol.TEST + body, tuple(chain.from_iterable(tests)))
        return StartedRuns(self, len(tests))

    def complaint(self) -> str:
        """The last line that bubblewrap or the supervisor wrote about itself."""
        lines = os.pread(self.messages, 2 * MESSAGE_BYTES, 0).decode("utf-8", "replace").strip().splitlines()
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
            raise JailDied(self.complaint() or "the supervisor exited")
        return answer


def shown(messages: bytes) -> str:
    """The start of a compiler's messages."""
    return messages[:MESSAGE_BYTES].decode("utf-8", "replace")


class StartedRuns:
    """Runs that a session has started. `select` can wait for their end."""

    def __init__(self, session: Session, count: int) -> None:
        self.session, self.count = session, count

    def fileno(self) -> int:
        """The descriptor that is readable when the answer is there."""
        return self.session.socket.fileno()

    @property
    def supervisor_pid(self) -> int:
        """The supervisor of the runs, as this side of the jail sees it; the programs are below it."""
        return self.session.supervisor_pid

    def finish(self) -> list[Run]:
        """Wait, and return how the runs ended: at least the first of them. Raises JailDied."""
        runs = [to_run(answer) for answer in answers(self.session._receive(), self.count)]
        self.session.is_undisturbed &= not any(
            run.signal or run.ending or run.scratch_changed for run in runs
        )
        return runs
