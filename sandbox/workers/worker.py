"""One worker of the pool: a process that judges submissions from a connection until the connection closes."""

from __future__ import annotations

import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import KINDS, Isolation, Kind, establish
from sandbox.judging import Judge, judge_error

MAX_CHARACTERS = 300  # of what an exception says


def main(descriptor: int, cache: Path, kind: Kind | None, shared_jails: bool) -> None:
    """Judge until the connection closes or the pool asks for an end, then exit without a message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool ends its workers itself
    signal.signal(signal.SIGTERM, stop)
    connection = Connection(descriptor)
    try:
        try:
            isolation = establish(cache, kind)
        except SandboxUnavailable as error:
            connection.send(error)
            return
        try:
            serve(connection, isolation, cache, shared_jails)
        finally:
            isolation.close()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def stop(*_: object) -> None:
    """Exit through every `with`, so that the jail ends.

    Later signals are ignored: they must not interrupt the way out.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def serve(connection: Connection, isolation: Isolation, cache: Path, shared_jails: bool) -> None:
    """Send the tier and the control groups' folders, then one judgement per submission."""
    connection.send((isolation.tier, tuple(folder for group in isolation.groups for folder in group.folders)))
    with Judge(isolation, cache, shared_jails) as judge:
        while True:
            try:
                submission = connection.recv()
            except EOFError:
                return
            try:
                judgement = judge.judge(submission)
            except SandboxUnavailable:
                raise
            except Exception as error:
                traceback.print_exc()
                reason = f"the judge failed: {type(error).__name__}: {error}"
                judgement = judge_error(submission, reason[:MAX_CHARACTERS], isolation.tier)
            connection.send(judgement)


if __name__ == "__main__":
    requested = next((kind for kind in KINDS if kind == sys.argv[3]), None)
    main(int(sys.argv[1]), Path(sys.argv[2]), requested, sys.argv[4] == "1")
