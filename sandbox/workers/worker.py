"""One worker of the pool: a process of its own that judges submissions from a connection until it closes."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import tiers
from sandbox.judging.judge import Judge


def main(descriptor: int, cache: str) -> None:
    """Work until the connection closes or the pool says stop, then end in peace."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool ends its workers itself
    signal.signal(signal.SIGTERM, stop)
    try:
        serve(Connection(descriptor), Path(cache))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def stop(*_: object) -> None:
    """Leave through every `with`, so that the jail comes down; only once, because the way out must not be interrupted."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def serve(connection: Connection, cache: Path) -> None:
    """First message out: the tier and the control groups' folders, or why there is none. Then one judgement per submission."""
    try:
        tier = tiers.require()
        groups = filter(None, (tiers.group(), tiers.syntax_group()))
        connection.send((tier, tuple(folder for group in groups for folder in group.folders)))
    except SandboxUnavailable as error:
        connection.send(error)
        return
    with Judge(cache) as judge:
        while True:
            try:
                submission = connection.recv()
            except EOFError:
                return
            connection.send(judge.judge(submission))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
