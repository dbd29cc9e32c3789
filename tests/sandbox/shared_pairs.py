"""Run pairs of programs in a shared jail: `python shared_pairs.py ROOT CACHE KIND`, by the interpreter of the
jails.

Each line of standard input is JSON {name, first, second}: sources. A pair begins in a shared jail that has
run other programs before. Each line of standard output is {name, first, second, alone, same_jail}: what the
programs wrote, `alone` what the second one writes as the first program of a new jail, and whether the second
one ran in the jail of the first.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from sandbox import Limits, SandboxUnavailable
from sandbox.building import SharedJails
from sandbox.isolation import JailDied, establish, sealed

LIMITS = Limits(time_s=0.5, memory_mb=128, output_bytes=1 << 20, processes=64, wall_limit_s=2.5)
ORDINARY = "print(int(input()) * 2)"


def run(jails: SharedJails, source: str) -> tuple[str, object]:
    """What a program wrote, and the jail that it ran in. The filter that keeps programs with such names out
    of shared jails is passed over.
    """
    code = marshal.dumps(compile(source, "/program/main.py", "exec", dont_inherit=True))
    session = jails.take(b"", code, LIMITS)
    files = sealed(b"21\n"), os.memfd_create("out"), os.memfd_create("errors")
    try:
        session.run(files, LIMITS.time_s, LIMITS.wall_s)
        written = os.pread(files[1], 1 << 16, 0).decode("utf-8", "replace")
    except JailDied as error:
        written = f"jail died: {error}"
        session.is_undisturbed = False
    finally:
        for file in files:
            os.close(file)
    jails.give_back(session)
    return written, session


def main() -> None:
    try:
        isolation = establish(Path(sys.argv[2]), sys.argv[3])
    except SandboxUnavailable as error:
        sys.exit(f"unavailable: {error}")
    try:
        for line in sys.stdin:
            pair = json.loads(line)
            with SharedJails(isolation) as jails:
                for _ in range(3):
                    assert run(jails, ORDINARY)[0] == "42\n"
                first, jail = run(jails, pair["first"])
                second, other = run(jails, pair["second"])
                after, _ = run(jails, ORDINARY)
            with SharedJails(isolation) as jails:
                alone, _ = run(jails, pair["second"])
            result = {"name": pair["name"], "first": first, "second": second, "alone": alone}
            print(json.dumps(result | {"same_jail": jail is other, "after": after}), flush=True)
    finally:
        isolation.close()


if __name__ == "__main__":
    main()
