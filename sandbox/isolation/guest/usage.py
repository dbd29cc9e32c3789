"""What all processes of a program have used so far, sampled from /proc."""

import posix
import time

PAGE_KB = posix.sysconf("SC_PAGE_SIZE") // 1024
TICKS_PER_S = posix.sysconf("SC_CLK_TCK")


class Usage:
    """CPU time, memory, and time asleep. `look` takes a sample.

    Only time asleep counts against the wall limit: the machine is to blame for waiting for a processor. A
    program that sleeps for a share of the time is asleep in that share of the samples. Processes that start
    and exit between two samples can hide what they use (their parent only has to ignore SIGCHLD), so they
    excuse nothing.
    """

    def __init__(self, main_pid, memory_limit_kb, own_namespace=True):
        self.memory_limit_kb = memory_limit_kb
        self.own_namespace = (
            own_namespace  # in a namespace of its own: all processes but this one belong to the program
        )
        self.cpu_s, self.peak_kb, self.slept_s, self.wall_s = 0.0, 0, 0.0, 0.0
        self.newest_pid = main_pid
        self.cpu_s_of = {}  # each process ever seen
        self.least_shared_kb = machine_shared_kb()
        self.started = time.monotonic()

    def look(self):
        """Sample every process but this one, the first of its namespace."""
        cpu_before_s, wall_before_s, newest_before = self.cpu_s, self.wall_s, self.newest_pid
        self.newest_pid = int(read_text("/proc/loadavg").split()[4])
        cpu_s, resident_kb, runnable, pids = 0.0, {}, False, []
        for name in posix.listdir("/proc"):
            if not name.isdigit() or not (name != "1" if self.own_namespace else is_reached(int(name))):
                continue
            try:
                fields = read_text(f"/proc/{name}/stat").rpartition(")")[2].split()
            except OSError:
                continue
            pids.append(int(name))
            user, system, children_user, children_system = map(int, fields[11:15])
            own_s = precise_cpu_s(int(name), (user + system) / TICKS_PER_S)
            self.cpu_s_of[name] = max(own_s, self.cpu_s_of.get(name, 0.0))
            cpu_s += own_s + (children_user + children_system) / TICKS_PER_S
            resident_kb[int(name)] = int(fields[21]) * PAGE_KB
            if not resident_kb[int(name)] and fields[17] != "1":
                resident_kb[int(name)] = threads_kb(name)
            runnable = runnable or fields[0] == "R" or (fields[17] != "1" and has_runnable_thread(name))
        self.peak_kb = max(self.peak_kb, self.memory_kb(resident_kb))
        self.cpu_s = max(self.cpu_s, cpu_s, sum(self.cpu_s_of.values()))
        self.wall_s = time.monotonic() - self.started
        new = sum(newest_before < pid <= self.newest_pid for pid in pids)
        if not runnable or (self.own_namespace and new != self.newest_pid - newest_before):
            self.slept_s += max(0.0, self.wall_s - wall_before_s - (self.cpu_s - cpu_before_s))

    def memory_kb(self, resident_kb):
        """Memory of all processes, by their own counts, and with shared memory that no page table holds."""
        memory_kb = sum(resident_kb.values())
        if len(resident_kb) > 1 and memory_kb > self.memory_limit_kb:
            memory_kb = sum(proportional_kb(pid, kb) for pid, kb in resident_kb.items())
        shared_kb = machine_shared_kb()
        self.least_shared_kb = min(self.least_shared_kb, shared_kb)
        grown_kb = shared_kb - self.least_shared_kb
        if grown_kb > self.memory_limit_kb / 4:
            memory_kb = max(memory_kb, with_shared_kb(list(resident_kb), grown_kb))
        return memory_kb


def is_reached(pid):
    """Whether this process, whose signals stay in its jail, can signal another one."""
    try:
        posix.kill(pid, 0)
    except OSError:
        return False
    return pid != posix.getpid()


def has_runnable_thread(pid):
    """Whether a thread runs or waits for a processor."""
    try:
        for thread in posix.listdir(f"/proc/{pid}/task"):
            if read_text(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split(None, 1)[0] == "R":
                return True
    except OSError:  # it has just exited, and so it was not asleep
        return True
    return False


def precise_cpu_s(pid, otherwise):
    """The process's CPU clock; `otherwise` where it has just exited."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return otherwise


def threads_kb(pid):
    """Resident memory as a thread that is still there sees it; a main thread that has left shows none."""
    try:
        for thread in posix.listdir(f"/proc/{pid}/task"):
            pages = int(read_text(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split()[21])
            if pages:
                return pages * PAGE_KB
    except OSError:
        pass
    return 0


def proportional_kb(pid, otherwise_kb):
    """Resident memory, with shared pages divided among their users, so that forks are not counted twice."""
    try:
        for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return otherwise_kb


def machine_shared_kb():
    """Shared memory of the whole machine."""
    for line in read_text("/proc/meminfo").splitlines():
        if line.startswith("Shmem:"):
            return int(line.split()[1])
    return 0


def with_shared_kb(pids, grown_kb):
    """Memory of all programs. Shared memory, which no page table need hold, counts by what they have mapped
    of it, as far as the machine's has grown.
    """
    own_kb, mapped_kb = 0, {}
    for pid in pids:
        try:
            _, pages, shared, *_ = read_text(f"/proc/{pid}/statm").split()
            own_kb += (int(pages) - int(shared)) * PAGE_KB
            for line in read_text(f"/proc/{pid}/maps", whole=True).splitlines():
                words = line.split()
                if len(words) > 5 and words[1][3] == "s" and words[4] != "0" and line.endswith("(deleted)"):
                    start, _, end = words[0].partition("-")
                    mapped_kb[words[4]] = max(
                        mapped_kb.get(words[4], 0), (int(end, 16) - int(start, 16)) // 1024
                    )
        except PermissionError:  # it hides them
            return own_kb + grown_kb
        except OSError:
            continue
    return own_kb + min(sum(mapped_kb.values()), grown_kb)


def read_text(path, whole=False):
    """The start of a small file, or all of a larger one."""
    descriptor = posix.open(path, posix.O_RDONLY)
    try:
        data = part = posix.read(descriptor, 65536)
        while whole and part:
            part = posix.read(descriptor, 65536)
            data += part
        return data.decode("ascii", "replace")
    finally:
        posix.close(descriptor)
