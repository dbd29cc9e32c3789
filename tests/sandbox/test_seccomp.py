"""The numbers of system calls equal the kernel's own table in the C library's headers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.isolation import seccomp, selftest
from sandbox.isolation.guest import confine

TABLE = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
OURS = {
    **{name: number for group in seccomp.REFUSED.values() for name, number in group.items()},
    **seccomp.FILE_ATTRIBUTES,
    **seccomp.FORKS,
    **{name: number for name, (number, _) in seccomp.ONLY_ON_SELF.items()},
    "clone": seccomp.CLONE,
    "clone3": seccomp.CLONE3,
    "socketpair": seccomp.SOCKETPAIR,
    "landlock_create_ruleset": confine.CREATE_RULESET,
    "landlock_add_rule": confine.ADD_RULE,
    "landlock_restrict_self": confine.RESTRICT_SELF,
}


@pytest.mark.skipif(not TABLE.exists(), reason="no table of system calls: apt-get install linux-libc-dev")
def test_the_numbers_are_those_of_the_kernel():
    table = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", TABLE.read_text())}
    known = OURS.keys() & table.keys()
    assert {name: OURS[name] for name in known} == {name: table[name] for name in known}
    assert all(OURS[name] > max(table.values()) for name in OURS.keys() - known)  # newer than the headers
    assert len(known) > 100


def test_the_self_test_tries_what_the_filter_refuses():
    """With the number of another call, the self-test would try nothing and pass."""
    tried = [int(number) for number in re.findall(rb"call\((\d+)", selftest.ESCAPES)]
    refused = {number: name for group in seccomp.REFUSED.values() for name, number in group.items()}
    assert [refused[number] for number in tried] == [
        "socket",
        "socket",
        "unshare",
        "mount",
        "ptrace",
        "io_uring_setup",
        "bpf",
    ]
