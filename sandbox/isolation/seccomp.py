"""The system-call filter every program runs under, assembled by hand as classic BPF (man 2 seccomp).

It lists what is refused, not what is allowed: language run times need some 250 calls, which differ by
version. It refuses what reaches outside the namespaces, what has had many kernel bugs, and what could touch
the supervisor, which runs as the same user. Calls newer than this file get "no such call", so that nothing
unknown is open.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping
from types import MappingProxyType

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
NEWEST_KNOWN_CALL = 462  # mseal, Linux 6.10

RET_ALLOW = 0x7FFF0000
RET_ERRNO = 0x00050000
RET_KILL_PROCESS = 0x80000000

# Offsets in struct seccomp_data; arguments are 64 bits wide, low half first on little-endian machines.
OFFSET_CALL, OFFSET_ARCH, OFFSET_ARGS = 0, 4, 16

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; CLONE_NEWTIME is no flag of clone
AF_UNIX = 1

# x86-64 numbers, by what they would allow.
REFUSED = {
    "other processes": dict(
        ptrace=101, process_vm_readv=310, process_vm_writev=311, kcmp=312, pidfd_getfd=438,
        process_madvise=440, process_mrelease=448, migrate_pages=256, move_pages=279,
    ),
    "kernel interfaces with a record": dict(
        io_uring_setup=425, io_uring_enter=426, io_uring_register=427, bpf=321, userfaultfd=323,
        perf_event_open=298, add_key=248, request_key=249, keyctl=250, modify_ldt=154, vmsplice=278,
        personality=135, uselib=134, mbind=237, set_mempolicy=238, set_mempolicy_home_node=450,
        lookup_dcookie=212, nfsservctl=180, sysfs=139,
    ),
    "namespaces and mounts": dict(
        unshare=272, setns=308, mount=165, umount2=166, pivot_root=155, chroot=161, open_tree=428,
        move_mount=429, fsopen=430, fsconfig=431, fsmount=432, fspick=433, mount_setattr=442, statmount=457,
        listmount=458, name_to_handle_at=303, open_by_handle_at=304, fanotify_init=300, fanotify_mark=301,
    ),
    "the machine": dict(
        swapon=167, swapoff=168, reboot=169, sethostname=170, setdomainname=171, create_module=174,
        init_module=175, delete_module=176, finit_module=313, kexec_load=246, kexec_file_load=320,
        quotactl=179, quotactl_fd=443, acct=163, settimeofday=164, clock_settime=227, adjtimex=159,
        clock_adjtime=305, iopl=172, ioperm=173, syslog=103, vhangup=153, lsm_set_self_attr=460,
    ),
    # A program of the lowest priority waits for a processor as long as the machine is busy.
    "scheduling": dict(setpriority=141, ioprio_set=251, sched_setscheduler=144, sched_setparam=142,
    sched_setattr=314),
    # These outlive the process that made them, and so the test.
    "inter-process communication": dict(
        socket=41, shmget=29, shmat=30, shmctl=31, shmdt=67, semget=64, semop=65, semctl=66, semtimedop=220,
        msgget=68, msgsnd=69, msgrcv=70, msgctl=71, mq_open=240, mq_unlink=241, mq_timedsend=242,
        mq_timedreceive=243, mq_notify=244, mq_getsetattr=245,
    ),
    # Memory that counts for no process while it is not mapped.
    "unaccounted memory": dict(memfd_create=319, memfd_secret=447),
}  # fmt: skip

# Allowed only on the calling process itself (process id 0): {call: (number, index of the argument)}.
ONLY_ON_SELF = dict(
    prlimit64=(302, 0), sched_setaffinity=(203, 0),
)  # fmt: skip
CLONE, CLONE3, SOCKETPAIR = 56, 435, 53
CLONE_THREAD = 0x10000

# What Landlock leaves open, for a jail without namespaces: attributes of files that cannot be opened, and
# watches.
FILE_ATTRIBUTES = dict(
    chmod=90, fchmod=91, chown=92, fchown=93, lchown=94, fchownat=260, fchmodat=268, fchmodat2=452, utime=132,
    utimes=235, futimesat=261, utimensat=280, setxattr=188, lsetxattr=189, fsetxattr=190, removexattr=197,
    lremovexattr=198, fremovexattr=199, inotify_init=253, inotify_init1=294, inotify_add_watch=254, flock=73,
)  # fmt: skip
FORKS = dict(fork=57, vfork=58)


def supported() -> bool:
    """Whether the filter knows this machine's system calls."""
    return platform.machine() == "x86_64"


def filter_program(extra: Mapping[str, int] = MappingProxyType({}), may_fork: bool = True) -> bytes:
    """The filter as an array of struct sock_filter, which `bwrap --seccomp` reads.

    It refuses the calls `extra`, {name: number}, too. Without `may_fork`, `clone` makes threads only.
    """
    program = [
        *_unless(LOAD, OFFSET_ARCH, JUMP_EQUAL, AUDIT_ARCH_X86_64, RET_KILL_PROCESS),
        _instruction(LOAD, OFFSET_CALL),
        *_when(JUMP_AT_LEAST, X32_BIT, RET_KILL_PROCESS),
        *_when(JUMP_AT_LEAST, NEWEST_KNOWN_CALL + 1, RET_ERRNO | errno.ENOSYS),
        # Without clone3 the C library falls back to clone, whose flags can be looked at.
        *_when(JUMP_EQUAL, CLONE3, RET_ERRNO | errno.ENOSYS),
    ]
    for number in sorted(number for group in (*REFUSED.values(), extra) for number in group.values()):
        program += _when(JUMP_EQUAL, number, RET_ERRNO | errno.EPERM)
    for number, argument in ONLY_ON_SELF.values():
        program += _argument_rule(number, argument, JUMP_EQUAL, 0, refuse_if_true=False)
    program += _argument_rule(SOCKETPAIR, 0, JUMP_EQUAL, AF_UNIX, refuse_if_true=False)
    if may_fork:
        program += _argument_rule(CLONE, 0, JUMP_ANY_BIT, NAMESPACE_FLAGS, refuse_if_true=True)
    else:  # a thread cannot have namespaces of its own: the kernel refuses the two flags together
        program += _argument_rule(CLONE, 0, JUMP_ANY_BIT, CLONE_THREAD, refuse_if_true=False)
    program.append(_instruction(RETURN, RET_ALLOW))
    return b"".join(program)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(test: int, value: int, result: int) -> list[bytes]:
    """If the accumulator passes `test`, end with `result`."""
    return [_instruction(test, value, 0, 1), _instruction(RETURN, result)]


def _unless(load: int, offset: int, test: int, value: int, result: int) -> list[bytes]:
    return [_instruction(load, offset), _instruction(test, value, 1, 0), _instruction(RETURN, result)]


def _argument_rule(number: int, argument: int, test: int, value: int, refuse_if_true: bool) -> list[bytes]:
    """For call `number`: test the low half of an argument; refuse with EPERM or allow."""
    low_half = OFFSET_ARGS + 8 * argument
    refuse, permit = (0, 1) if refuse_if_true else (1, 0)
    return [
        _instruction(JUMP_EQUAL, number, 0, 4),
        _instruction(LOAD, low_half),
        _instruction(test, value, refuse, permit),
        _instruction(RETURN, RET_ERRNO | errno.EPERM),
        _instruction(RETURN, RET_ALLOW),
    ]
