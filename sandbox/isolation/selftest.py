"""Tries sixteen escapes from inside a jail before the jail is trusted."""

from __future__ import annotations

import os

from sandbox.contracts import Limits, SandboxUnavailable
from sandbox.isolation.run import sealed
from sandbox.isolation.session import Session

LIMITS = Limits()
# Runs in the jail. Prints the escapes that worked, and at the end their number, to show that all were tried.
# The call numbers are those of x86-64, as in `seccomp.py`; no jail is tried on other machines.
ESCAPES = b"""
import ctypes, os
call = ctypes.CDLL(None).syscall

def works(attempt):
    try:
        result = attempt()
    except OSError:
        return False
    return result is not False and result != -1

TRIED = {
    "reads /etc/passwd": lambda: open("/etc/passwd"),
    "lists /home": lambda: os.listdir("/home"),
    "writes to /usr/lib": lambda: open("/usr/lib/escape", "w"),
    "makes a folder in /": lambda: os.mkdir("/escape"),
    "sees other processes": lambda: len([name for name in os.listdir("/proc") if name.isdigit()]) > 2,
    "opens the supervisor's memory": lambda: open("/proc/1/mem", "rb"),
    "lists the supervisor's descriptors": lambda: os.listdir("/proc/1/fd"),
    "changes kernel settings": lambda: open("/proc/sys/kernel/hostname", "w"),
    "becomes root": lambda: os.setuid(0) if os.getuid() else False,
    "makes a network socket": lambda: call(41, 2, 1, 0),
    "makes a vsock socket": lambda: call(41, 40, 1, 0),
    "makes a user namespace": lambda: call(272, 0x10000000),
    "mounts": lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, 0),
    "traces": lambda: call(101, 0, 0, 0, 0),
    "makes an io_uring": lambda: call(425, 1, bytes(120)),
    "loads bpf": lambda: call(321, 0, bytes(120), 120),
}
for name, attempt in TRIED.items():
    if works(attempt):
        print(name)
print(len(TRIED))
"""
TRIED = ESCAPES.count(b": lambda: ")


def check(session: Session) -> None:
    """Raises SandboxUnavailable, naming the escapes that worked, or JailDied."""
    session.set_python(ESCAPES, LIMITS, False)
    files = (sealed(b""), os.memfd_create("stdout"), os.memfd_create("stderr"))
    try:
        session.run(files, LIMITS.time_s * 5, LIMITS.wall_s)
        lines = os.pread(files[1], 4096, 0).decode("utf-8", "replace").splitlines()
        complaint = os.pread(files[2], 4096, 0).decode("utf-8", "replace").strip().splitlines()[-1:]
    finally:
        for file in files:
            os.close(file)
    if lines[-1:] != [str(TRIED)]:
        raise SandboxUnavailable(
            f"the sandbox's self-test did not finish: {' '.join(complaint) or 'it printed nothing'}"
        )
    if len(lines) > 1:
        raise SandboxUnavailable(
            f"the sandbox does not hold on this machine; a program {', '.join(lines[:-1])}"
        )
