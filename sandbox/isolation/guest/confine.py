"""The Landlock jail, built from inside: by the supervisor around itself, by each child around its program.

Where no namespace can be made, the kernel's Landlock (https://docs.kernel.org/userspace-api/landlock.html)
closes the file system, and signals and tracing to processes outside; a system-call filter closes the rest.
Neither can be removed.
"""

import ctypes
import fcntl
import json
import posix
import signal
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
NEEDED_VERSION = 6  # Linux 6.12: the first that keeps signals in
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
EVERY_FILE_ACCESS = (1 << 16) - 1
FILE_ACCESS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14  # what a rule on a file may allow
EVERY_NETWORK_ACCESS, EVERY_SCOPE = 3, 3
READ = EXECUTE | READ_FILE | READ_DIR
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
SECCOMP_MODE_FILTER = 2

library = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("count", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def checked(result, what):
    """The result of a call. Raises OSError where it has failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {posix.strerror(ctypes.get_errno())}")
    return result


def version():
    """Landlock's version; 0 where the kernel has no Landlock, or a filter refuses the call."""
    return max(0, library.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION))


class Confinement:
    """What the supervisor and its children may reach. `spec` is JSON that `landlock.settings` writes."""

    def __init__(self, spec):
        asked = json.loads(spec)
        self.scratch = asked["scratch"]
        self.child_filter = bytes.fromhex(asked["child_filter"])
        programs = [(path, READ) for path in asked["read"]] + [
            (path, READ_FILE | WRITE_FILE) for path in asked["devices"]
        ]
        if self.scratch:
            programs.append((self.scratch, EVERY_FILE_ACCESS))
        self.parent = posix.getppid()
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.child_rules = ruleset(programs)
        restrict(ruleset([*programs, ("/proc", READ), (asked["guest"], READ)]))
        install(bytes.fromhex(asked["filter"]))

    def check(self):
        """Raises OSError if signals can leave the jail: the supervisor signals every process it can reach."""
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # only now, because a change of user resets it
        try:
            posix.kill(self.parent, 0)
        except PermissionError:
            return
        raise OSError("the judge can be signalled from inside")

    def enter_child(self):
        """The last steps before the program, in its process."""
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        restrict(self.child_rules)

    def close_child(self):
        """The last step: after it only the program's own calls follow."""
        install(self.child_filter)


def prctl(what, value):
    checked(
        library.prctl(what, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)),
        "prctl",
    )


def ruleset(rules):
    """A descriptor of a ruleset: (path, what is allowed there and below). Nothing else is allowed."""
    wanted = (EVERY_FILE_ACCESS, EVERY_NETWORK_ACCESS, EVERY_SCOPE)
    packed = b"".join(number.to_bytes(8, sys.byteorder) for number in wanted)
    made = checked(
        library.syscall(CREATE_RULESET, packed, ctypes.c_size_t(len(packed)), 0), "landlock_create_ruleset"
    )
    for path, allowed in rules:
        at = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
        if posix.fstat(at).st_mode & 0o170000 != 0o040000:
            allowed &= FILE_ACCESS
        rule = allowed.to_bytes(8, sys.byteorder) + at.to_bytes(4, sys.byteorder)
        checked(library.syscall(ADD_RULE, made, PATH_BENEATH, rule, 0), f"landlock_add_rule {path}")
        posix.close(at)
    # Above 0, 1, 2 and so on, which a child replaces first.
    moved = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, 100)
    posix.close(made)
    return moved


def restrict(rules):
    checked(library.syscall(RESTRICT_SELF, rules, 0), "landlock_restrict_self")


def install(instructions):
    program = Filter(len(instructions) // 8, instructions)
    checked(library.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


def tasks_of_user():
    """The number of processes and threads of this process's user: RLIMIT_NPROC counts them all."""
    count = 0
    for name in posix.listdir("/proc"):
        try:
            if name.isdigit() and posix.stat(f"/proc/{name}").st_uid == posix.getuid():
                count += len(posix.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count
