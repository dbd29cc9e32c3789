"""One worker of the pool: a process of its own that judges submissions from a connection until it closes."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from sandbox import tiers
from sandbox.contracts import SandboxUnavailable
from sandbox.judge import Judge


def main(descriptor: int, cache: str) -> None:
    """First message out: the tier, or the reason why there is none. Then one judgement per submission."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool ends its workers itself
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    connection = Connection(descriptor)
    try:
        connection.send(tiers.require())
    except SandboxUnavailable as error:
        connection.send(error)
        return
    judge = Judge(Path(cache))
    while True:
        try:
            submission = connection.recv()
        except EOFError:
            return
        connection.send(judge.judge(submission))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
