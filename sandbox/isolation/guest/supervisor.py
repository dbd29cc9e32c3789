"""The supervisor: process 1 in a jail. It forks a child per test, watches the child, and cleans up after it.

It imports modules in C only: `os`, `re`, `signal` or `struct` would cost every program more than its tests.
bubblewrap starts it as `python supervisor.pyc DESCRIPTOR`; every other process in this namespace is a program
under test.
"""

import _signal
import _socket
import gc
import posix
import sys
import time

GUEST_FOLDER = sys.argv[0].rpartition("/")[0]
sys.path.insert(0, GUEST_FOLDER)
import children  # noqa: E402
import protocol  # noqa: E402
from protocol import OK, REFUSED, pack, unpack  # noqa: E402

if len(sys.argv) == 3:
    import confine
sys.path.remove(GUEST_FOLDER)

SCRATCH = ("/tmp", "/dev/shm")
CORES = posix.cpu_count() or 1
NO_SOCKET = -1
FILE_TYPE, REGULAR_FILE, FOLDER = 0o170000, 0o100000, 0o040000


class Supervisor:
    """The state between requests: the limits, the program, and the clean state of the scratch folders."""

    def __init__(self, control, confinement=None):
        self.control = control
        self.confinement = confinement  # of a Landlock jail
        self.folder = confinement.scratch if confinement else SCRATCH[0]
        self.program = None
        self.environment = {}
        self.memory_kb = 0
        self.watch_s = 0.01
        self.clean_scratch = None
        self.native = None
        self.plain = None

    def serve(self):
        """Answer requests until the judge closes its end.

        With this process all others of the namespace end.
        """
        handlers = {
            protocol.SETUP: self.set_up,
            protocol.PROGRAM: self.take_command,
            protocol.ENVIRONMENT: self.take_environment,
            protocol.ARGUMENTS: self.take_arguments,
            protocol.CHECK: self.check_python,
            protocol.PYTHON: self.take_python,
            protocol.SHARED: self.share,
            protocol.FILE: self.take_file,
            protocol.COLLECT: self.collect,
            protocol.LIST: self.list_files,
            protocol.TEST: self.test,
        }
        space = _socket.CMSG_SPACE(4 * protocol.MAX_DESCRIPTORS)
        while True:
            message, ancillary, _, _ = self.control.recvmsg(protocol.MAX_MESSAGE, space)
            if not message:
                posix._exit(0)
            descriptors = [
                int.from_bytes(data[i : i + 4], sys.byteorder)
                for _, _, data in ancillary
                for i in range(0, len(data), 4)
            ]
            handlers[message[:1]](message[1:], descriptors)
            close_all(descriptors)

    def answer(self, what, status=0, cpu_us=0, wall_us=0, peak_kb=0, ending=0, flags=0):
        self.control.send(pack(what, status, cpu_us, wall_us, peak_kb, ending, flags, 0, 0))

    def set_up(self, body, _):
        try:
            self.native = children.Native("/guest/supervisor.so")
        except OSError:
            self.set_up_alone(body)
        else:
            if not self.native.prepare(body):
                posix._exit(1)
        self.answer(OK)

    def set_up_alone(self, body):
        """What the library in C does, where it is missing.

        Importing the modules takes each jail a millisecond.
        """
        global resource, select, usage
        import resource
        import select

        usage = children.guest_module("usage")
        self.poller = select.poll()
        self.poller.register(self.control, 0)  # only to notice that the judge has closed its end
        setup = dict(zip(protocol.SETUP_FIELDS, unpack(body), strict=True))
        self.memory_kb, self.watch_s = setup["memory_kb"], setup["watch_ms"] / 1000
        processes = setup["processes"]
        if setup["uid"]:
            children.become(setup["uid"])
        children.hide_from_children()
        if self.confinement:
            self.confinement.check()
            processes += confine.tasks_of_user() - 1
        for name, value in (
            (resource.RLIMIT_FSIZE, setup["file_bytes"]),
            (resource.RLIMIT_NPROC, processes + 1),
            (resource.RLIMIT_NOFILE, setup["open_files"]),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
        ):
            resource.setrlimit(name, (value, value))
        self.clean_scratch = None if self.confinement else scratch_state()

    def take_environment(self, body, _):
        self.environment = dict(word.split("=", 1) for word in decoded(body).split("\0") if word)
        self.answer(OK)

    def take_arguments(self, body, _):
        sys.argv[1:] = decoded(body).split("\0")
        self.answer(OK)

    def take_command(self, body, _):
        argv = decoded(body).split("\0")
        self.program = lambda: children.run_command(argv, self.environment)
        self.answer(OK)

    def check_python(self, body, descriptors):
        """Compile one of many sources, for a supervisor that runs none of them."""
        children.warm_up_messages()
        *limits, says_plain = unpack(body)
        if says_plain and self.plain is None:
            self.plain = children.guest_module("plain").is_plain
        source, is_plain = read_all(descriptors[0]), self.plain if says_plain else None
        self.answer(*self.try_to_compile(source, descriptors, *limits, is_plain))

    def take_python(self, body, descriptors):
        source = read_all(descriptors[0])
        children.import_what_is_used(source)
        *limits, function, compiles = unpack(body)
        outcome = ()
        if not compiles:
            what, *outcome = self.try_to_compile(source, descriptors, *limits)
            if what != OK:
                self.answer(what, *outcome)
                return
        children.warm_up_streams()
        code = children.compile_program(source)
        runner = children.guest_module(protocol.RUNNERS[function]).run if function else None
        self.program = children.python_program(code, runner)
        gc.freeze()
        self.answer(OK, *outcome)

    def share(self, body, _):
        """Run what each test brings. From here on this process holds nothing of any program."""
        self.program = children.shared_program(body)
        self.answer(OK)

    def try_to_compile(self, source, descriptors, cpu_us, wall_us, is_plain=None):
        """Compile in a child, so that a crash of the compiler does not end the supervisor.

        Returns the answer's numbers.
        """
        children.warm_up_compiler()
        self.program = lambda: children.try_to_compile(source, is_plain)
        outcome = self.run_alone(descriptors, cpu_us, wall_us)
        status, *_, ending, _ = outcome
        what = (
            protocol.COMPILE_KILLED
            if ending or status not in (0, 256, protocol.NOT_PLAIN << 8)
            else protocol.COMPILE_FAILED
            if status == 256
            else OK
        )
        return what, *outcome

    def take_file(self, body, descriptors):
        *folders, name = decoded(body).split("/")
        path = self.folder
        for folder in folders:
            path = f"{path}/{folder}"
            try:  # noqa: SIM105 (importing contextlib would slow down every jail)
                posix.mkdir(path)
            except FileExistsError:
                pass
        with open(f"{path}/{name}", "wb", buffering=0) as file:
            posix.sendfile(file.fileno(), descriptors[0], 0, posix.fstat(descriptors[0]).st_size)
        self.answer(OK)

    def list_files(self, body, _):
        folder = f"{self.folder}/{decoded(body)}"
        names = [name + is_folder(f"{folder}/{name}") * "/" for name in sorted(posix.listdir(folder))[:500]]
        self.control.send("\0".join(names).encode("utf-8", "surrogateescape") or b"\0")  # never empty

    def collect(self, body, _):
        try:
            descriptor = open_inside(self.folder, decoded(body).split("/"))
        except OSError:
            self.answer(REFUSED)
            return
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
        self.control.sendmsg([pack(OK, 0, 0, 0, 0, 0, 0, 0, 0)], [rights])
        posix.close(descriptor)

    def test(self, body, descriptors):
        """Run the tests one after the other, up to the first after which the next could be judged wrongly."""
        if self.native:
            self.fork_tests(self.control.fileno(), body, descriptors)
            return
        cpu_us, wall_us, per_test = unpack(body)
        answers, written = [], 0
        while descriptors:
            own = descriptors[:per_test]
            pipes = [descriptor for descriptor in own if not is_file(descriptor)]
            outcome = self.run(own, cpu_us, wall_us, pipes)
            sizes = [0 if descriptor in pipes else posix.fstat(descriptor).st_size for descriptor in own[1:3]]
            answers.append(pack(OK, *outcome, *sizes))
            written += sum(sizes)
            close_all(descriptor for descriptor in own if descriptor not in pipes)
            del descriptors[:per_test]
            status, *_, ending, flags = outcome
            if status or ending or flags or written > protocol.MUCH_OUTPUT_BYTES:
                break
        self.control.send(b"".join(answers))

    def run_alone(self, descriptors, cpu_us, wall_us):
        """Run the program once, on files. Returns what `run` returns."""
        if not self.native:
            return self.run(descriptors, cpu_us, wall_us)
        self.fork_tests(NO_SOCKET, pack(cpu_us, wall_us, len(descriptors)), descriptors)
        return [self.native.number(index) for index in range(1, 7)]

    def fork_tests(self, socket, body, descriptors):
        """What `test` does, in C. The answers go to `socket`."""
        given = b"".join([descriptor.to_bytes(4, sys.byteorder) for descriptor in descriptors])
        if self.native.fork_tests(socket, body, given, len(descriptors)):
            try:
                self.program()
            finally:
                children.exit_now(protocol.EXEC_FAILED)
        descriptors.clear()

    def run(self, descriptors, cpu_us, wall_us, pipes=()):
        """Fork, watch, clean up.

        Returns wait status, CPU and wall time in us, peak memory in KiB, ending, flags.

        Closes `pipes` once the child has them: those between two programs end only when nobody else holds
        them.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        pid = posix.fork()
        if pid == 0:
            children.enter(self.program, descriptors, cpu_us, self.confinement)
        close_all(pipes)
        ending, peak_kb = self.watch(pid, cpu_us / 1e6, wall_us / 1e6)
        wall_s = time.monotonic() - started
        status, child_peak_kb = clean_up(pid)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak_kb = max(peak_kb, child_peak_kb)
        changed = not self.confinement and scratch_state() != self.clean_scratch
        flags = protocol.SCRATCH_CHANGED if changed else 0
        return status, int(cpu * 1e6), int(wall_s * 1e6), peak_kb, ending, flags

    def watch(self, pid, cpu_s, wall_s):
        """Wait for the main process to exit or to exceed a limit. Returns how it ended and its peak memory.

        Ends the supervisor where the judge's worker is killed meanwhile: see supervisor.c.
        """
        pidfd = posix.pidfd_open(pid)
        self.poller.register(pidfd, select.POLLIN)
        used = usage.Usage(pid, self.memory_kb, own_namespace=not self.confinement)
        try:
            while True:
                wait_s = min((cpu_s - used.cpu_s) / CORES, wall_s - used.slept_s, self.watch_s)
                if ready := self.poller.poll(max(wait_s * 1000, 1)):
                    if any(descriptor != pidfd for descriptor, _ in ready):
                        posix._exit(0)
                    return protocol.ENDED, used.peak_kb
                used.look()
                if used.cpu_s > cpu_s:
                    return protocol.CPU_EXCEEDED, used.peak_kb
                if used.peak_kb > self.memory_kb:
                    return protocol.MEMORY_EXCEEDED, used.peak_kb
                if used.slept_s > wall_s:
                    return protocol.WALL_EXCEEDED, used.peak_kb
                if used.wall_s > protocol.STARVED_FACTOR * wall_s:
                    return protocol.STARVED, used.peak_kb
        finally:
            self.poller.unregister(pidfd)
            posix.close(pidfd)


def open_inside(folder, names):
    """Open a file below a folder without following any link: the program may have put it there."""
    descriptor = posix.open(folder, posix.O_RDONLY)
    for depth, name in enumerate(names, start=1):
        flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK
        if depth < len(names):
            flags |= posix.O_DIRECTORY
        try:
            below = posix.open(name, flags, dir_fd=descriptor)
        finally:
            posix.close(descriptor)
        descriptor = below
    return descriptor


def is_file(descriptor):
    return posix.fstat(descriptor).st_mode & FILE_TYPE == REGULAR_FILE


def is_folder(path):
    return posix.lstat(path).st_mode & FILE_TYPE == FOLDER


def close_all(descriptors):
    for descriptor in descriptors:
        posix.close(descriptor)


def clean_up(pid):
    """Kill and reap all other processes.

    Returns the wait status of the main process and the largest peak in KiB.
    """
    status, peak_kb = 0, 0
    try:  # noqa: SIM105 (importing contextlib would slow down every jail)
        posix.kill(-1, _signal.SIGKILL)
    except ProcessLookupError:
        pass
    while True:
        try:
            reaped, reaped_status, usage = posix.wait4(-1, 0)
        except ChildProcessError:
            return status, peak_kb
        peak_kb = max(peak_kb, usage.ru_maxrss)
        if reaped == pid:
            status = reaped_status


def scratch_state():
    """What changes when anything is written, linked or removed in the scratch folders.

    None where they cannot be read.
    """
    state = []
    try:
        for folder in SCRATCH:
            status = posix.stat(folder)
            state.append((status.st_ctime_ns, status.st_mode, status.st_nlink, tuple(posix.listdir(folder))))
    except OSError:
        return None
    return state


def decoded(name):
    return name.decode("utf-8", "surrogateescape")


def read_all(descriptor):
    return posix.pread(descriptor, posix.fstat(descriptor).st_size, 0)


if __name__ == "__main__":
    gc.disable()  # the supervisor leaves little to collect; programs switch it on again
    sys.set_int_max_str_digits(0)  # a limit against attacks on servers; contest programs print long integers
    children.default_signals()
    children.use_packages()
    children.forget_own_environment()
    channel = _socket.socket(fileno=int(sys.argv.pop()))
    confinement = confine.Confinement(sys.argv.pop()) if len(sys.argv) == 2 else None
    channel.send(protocol.HELLO)
    Supervisor(channel, confinement).serve()
