"""Run a command where no namespace can be made: `no_namespaces.py SITUATION,... COMMAND...`, as root.

used_up      an ordinary user in a user namespace that allows no more of them (user.max_user_namespaces=0)
dropped      root without CAP_SYS_ADMIN, as Docker starts containers
no_landlock  a filter that answers Landlock's calls with "no such call", as older versions of Docker's do

Exits with 77 where this machine does not allow the situation. Needs only the standard library.
"""

import ctypes
import os
import struct
import sys

CLONE_NEWUSER, CAP_SYS_ADMIN = 0x10000000, 21
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 24, 38, 22, 2
LOAD, JUMP_AT_LEAST, RETURN, ALLOW, NO_SUCH_CALL = 0x20, 0x35, 0x06, 0x7FFF0000, 0x00050000 | 38
FIRST_LANDLOCK_CALL, NEXT_CALL = 444, 447
USER = 61234
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def use_up():
    """A user namespace with the ids of this one, which a process that stays outside writes."""
    maps = {}
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map") as file:
            extents = [line.split() for line in file]
        maps[kind] = "".join(f"{first} {first} {count}\n" for first, _, count in extents)
    main, (wait, tell) = os.getpid(), os.pipe()
    outside = os.fork()
    if outside == 0:
        try:
            os.read(wait, 1)
            for kind, text in maps.items():
                with open(f"/proc/{main}/{kind}_map", "w") as file:
                    file.write(text)
            os._exit(0)
        finally:
            os._exit(1)
    try:
        checked(libc.unshare(CLONE_NEWUSER))
    finally:
        os.write(tell, b"!")
        status = os.waitpid(outside, 0)[1]
    if status:
        raise OSError("the user namespace gets no ids")
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


def drop():
    checked(libc.prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0))


def refuse_landlock():
    instructions = (
        (LOAD, 0, 0, 0), (JUMP_AT_LEAST, 0, 2, FIRST_LANDLOCK_CALL), (JUMP_AT_LEAST, 1, 0, NEXT_CALL),
        (RETURN, 0, 0, NO_SUCH_CALL), (RETURN, 0, 0, ALLOW),
    )  # fmt: skip
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    program = struct.pack(
        "@HP", len(instructions), ctypes.addressof(held := ctypes.create_string_buffer(code))
    )
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0))
    del held


if __name__ == "__main__":
    try:
        for situation in sys.argv[1].split(","):
            {"used_up": use_up, "dropped": drop, "no_landlock": refuse_landlock}[situation]()
    except OSError as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(77)
    os.execv(sys.argv[2], sys.argv[2:])
