"""The resident loop: process 1 inside the wall. Forks a child per test, watches it, and sweeps up after it.

Runs on the standard library's C modules alone, so that it starts fast and forks cheaply. Started as
`python loop.pyc DESCRIPTOR` by bubblewrap; every other process in this namespace is a program under test.
"""

import _socket
import gc
import os
import resource
import select
import signal
import sys
import time

GUEST_FOLDER = "/guest"
sys.path.insert(0, GUEST_FOLDER)
import children  # noqa: E402
import protocol  # noqa: E402
from protocol import ANSWER_LAYOUT, OK, REFUSED, SETUP_LAYOUT, TEST_LAYOUT  # noqa: E402

sys.path.remove(GUEST_FOLDER)

SCRATCH = ("/tmp", "/dev/shm")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


class Loop:
    """State between requests: the limits, the program, and what the scratch folders looked like when clean."""

    def __init__(self, control):
        self.control = control
        self.program = None
        self.environment = {}
        self.memory_kb = 0
        self.watch_s = 0.01
        self.clean_scratch = None
        self.poller = select.poll()

    def serve(self):
        """Answer requests until the judge closes its end. Ending takes all other processes of the namespace along."""
        handlers = {
            protocol.SETUP: self.set_up,
            protocol.PROGRAM: self.take_command,
            protocol.ENVIRONMENT: self.take_environment,
            protocol.PYTHON: self.take_python,
            protocol.FILE: self.take_file,
            protocol.COLLECT: self.collect,
            protocol.LIST: self.list_files,
            protocol.TEST: self.test,
        }
        space = _socket.CMSG_SPACE(4 * protocol.MAX_DESCRIPTORS)
        while True:
            message, ancillary, _, _ = self.control.recvmsg(protocol.MAX_MESSAGE, space)
            if not message:
                os._exit(0)
            descriptors = [
                int.from_bytes(data[i : i + 4], sys.byteorder) for _, _, data in ancillary for i in range(0, len(data), 4)
            ]
            handlers[message[:1]](message[1:], descriptors)
            for descriptor in descriptors:
                os.close(descriptor)

    def answer(self, what, status=0, cpu_us=0, wall_us=0, peak_kb=0, ending=0, flags=0):
        self.control.send(ANSWER_LAYOUT.pack(what, status, cpu_us, wall_us, peak_kb, ending, flags))

    def set_up(self, body, _):
        uid, self.memory_kb, file_bytes, processes, open_files, watch_ms = SETUP_LAYOUT.unpack(body)
        self.watch_s = watch_ms / 1000
        if uid:
            children.become(uid)
        children.hide_from_children()
        for name, value in (
            (resource.RLIMIT_FSIZE, file_bytes),
            (resource.RLIMIT_NPROC, processes + 1),
            (resource.RLIMIT_NOFILE, open_files),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
        ):
            resource.setrlimit(name, (value, value))
        self.clean_scratch = scratch_state()
        self.answer(OK)

    def take_environment(self, body, _):
        self.environment = dict(word.split("=", 1) for word in os.fsdecode(body).split("\0") if word)
        self.answer(OK)

    def take_command(self, body, _):
        argv = os.fsdecode(body).split("\0")
        self.program = lambda descriptors: children.run_command(argv, self.environment, descriptors)
        self.answer(OK)

    def take_python(self, body, descriptors):
        """Compile in a child first: what breaks or bloats the compiler must not take the loop with it."""
        source = read_all(descriptors[0])
        children.import_what_is_used(source)
        cpu_us, wall_us, function = TEST_LAYOUT.unpack(body)
        outcome = self.run(lambda: children.try_to_compile(source, descriptors[1]), cpu_us, wall_us)
        if outcome[0] or outcome[4]:
            self.answer(protocol.COMPILE_KILLED if outcome[4] or outcome[0] != 256 else protocol.COMPILE_FAILED, *outcome)
            return
        code = children.compile_program(source)
        runner = children.load_function_runner() if function else None
        self.program = lambda descriptors: children.run_python(code, descriptors, runner)
        gc.collect()
        gc.freeze()
        self.answer(OK, *outcome)

    def take_file(self, body, descriptors):
        with open("/tmp/" + os.fsdecode(body), "wb", buffering=0) as file:
            os.sendfile(file.fileno(), descriptors[0], 0, os.fstat(descriptors[0]).st_size)
        self.answer(OK)

    def list_files(self, *_):
        self.control.send(os.fsencode("\0".join(sorted(os.listdir("/tmp"))[:500])))

    def collect(self, body, _):
        try:
            descriptor = os.open("/tmp/" + os.fsdecode(body), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            self.answer(REFUSED)
            return
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
        self.control.sendmsg([ANSWER_LAYOUT.pack(OK, 0, 0, 0, 0, 0, 0)], [rights])
        os.close(descriptor)

    def test(self, body, descriptors):
        cpu_us, wall_us, _ = TEST_LAYOUT.unpack(body)
        self.answer(OK, *self.run(lambda: self.program(descriptors), cpu_us, wall_us))

    def run(self, child, cpu_us, wall_us):
        """Fork, watch, sweep. Gives wait status, CPU and wall in us, peak memory in KiB, how it ended, flags."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            children.enter(child, self.control.fileno(), cpu_us)
        ending, peak_kb = self.watch(pid, cpu_us / 1e6, started + wall_us / 1e6)
        wall = time.monotonic() - started
        status, child_peak_kb = sweep(pid)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak_kb = max(peak_kb, child_peak_kb)
        flags = protocol.SCRATCH_CHANGED if scratch_state() != self.clean_scratch else 0
        return status, int(cpu * 1e6), int(wall * 1e6), peak_kb, ending, flags

    def watch(self, pid, cpu_s, deadline):
        """Wait for the main process to end or to go over a limit. Gives how it ended and the largest memory seen."""
        pidfd = os.pidfd_open(pid)
        self.poller.register(pidfd, select.POLLIN)
        used_s, peak_kb = 0.0, 0
        try:
            while True:
                wait_s = min((cpu_s - used_s) / CORES, deadline - time.monotonic(), self.watch_s)
                if self.poller.poll(max(wait_s * 1000, 1)):
                    return protocol.ENDED, peak_kb
                used_s, memory_kb = usage_of_all(pid, self.memory_kb)
                peak_kb = max(peak_kb, memory_kb)
                if used_s > cpu_s:
                    return protocol.CPU_EXCEEDED, peak_kb
                if memory_kb > self.memory_kb:
                    return protocol.MEMORY_EXCEEDED, peak_kb
                if time.monotonic() > deadline:
                    return protocol.WALL_EXCEEDED, peak_kb
        finally:
            self.poller.unregister(pidfd)
            os.close(pidfd)


def sweep(pid):
    """Kill everything but this process, reap it all. Gives the main process's wait status and the largest peak in KiB."""
    status, peak_kb = 0, 0
    try:  # noqa: SIM105 (importing contextlib would cost every wall)
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    while True:
        try:
            reaped, reaped_status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return status, peak_kb
        peak_kb = max(peak_kb, usage.ru_maxrss)
        if reaped == pid:
            status = reaped_status


def scratch_state():
    """What changes when anything is written, linked or removed in the scratch folders. None where they were closed to us."""
    state = []
    try:
        for folder in SCRATCH:
            found = os.stat(folder)
            state.append((found.st_ctime_ns, found.st_mode, found.st_nlink, tuple(os.listdir(folder))))
    except OSError:
        return None
    return state


def usage_of_all(main_pid, memory_limit_kb):
    """CPU seconds and resident KiB of all processes but this one, descendants they have reaped included."""
    cpu_s, memory_kb, pids = 0.0, 0, []
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":
            continue
        try:
            fields = read_text(f"/proc/{name}/stat").rpartition(")")[2].split()
        except OSError:
            continue
        pids.append(name)
        user, system, children_user, children_system = map(int, fields[11:15])
        cpu_s += (children_user + children_system) / TICKS_PER_S
        cpu_s += precise_cpu_s(int(name), (user + system) / TICKS_PER_S)
        memory_kb += int(fields[21]) * PAGE_KB
    if len(pids) > 1 and memory_kb > memory_limit_kb:
        memory_kb = sum(map(proportional_kb, pids))
    return cpu_s, memory_kb


def precise_cpu_s(pid, otherwise):
    """The process's CPU clock; the ticks of /proc where it has just gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return otherwise


def proportional_kb(pid):
    """Resident memory with shared pages divided among their users, so that forks are not counted twice."""
    try:
        for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    try:
        return int(read_text(f"/proc/{pid}/statm").split()[1]) * PAGE_KB
    except OSError:
        return 0


def read_text(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536).decode("ascii", "replace")
    finally:
        os.close(descriptor)


def read_all(descriptor):
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    channel = _socket.socket(fileno=int(sys.argv[1]))
    channel.send(protocol.HELLO)
    Loop(channel).serve()
