"""The pool: worker processes that judge in parallel, replaced when they die."""

from __future__ import annotations

import math
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from sandbox.contracts import Checker, Judgement, Limits, SandboxUnavailable, Submission, Test
from sandbox.isolation import Kind, remove_groups, remove_left_over_groups, requested_kind
from sandbox.judging import JUDGE_VERSION, judge_error

IN_FLIGHT_PER_WORKER = 2
PATIENCE_S = 5.0  # for a worker to clean up
ATTEMPTS = 2  # per submission, where its worker dies
Results = queue.SimpleQueue[Judgement | BaseException]


def default_cache() -> Path:
    """The folder of built programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spo" / "programs"


class Worker:
    """One worker process and the connection to it. Raises SandboxUnavailable where no jail can start."""

    def __init__(self, cache: Path, kind: Kind | None) -> None:
        ours, theirs = socket.socketpair()
        search_path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search_path))}
        words = [str(theirs.fileno()), str(cache), kind or "any"]
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-m", "sandbox.workers.worker", *words],
            pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        theirs.close()
        self.connection = Connection(ours.detach())
        self.groups: tuple[Path, ...] = ()
        try:
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise SandboxUnavailable("a sandbox worker exited at once; its message is above") from error
        if isinstance(answer, SandboxUnavailable):
            self.close()
            raise answer
        self.tier, self.groups = answer

    def judge(self, submission: Submission) -> Judgement:
        """Raises EOFError or OSError when the worker dies."""
        self.connection.send(submission)
        judgement: Judgement = self.connection.recv()
        return judgement

    def close(self) -> None:
        """End the process, and its jails with it."""
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        remove_groups(self.groups, PATIENCE_S)  # a killed worker could not do it


class Pool:
    """Judges submissions on `workers` processes. A context manager; safe to use from threads.

    By default there are three workers per two CPUs, because a jail also waits for the kernel. `time_factor`
    multiplies every time limit, for a machine that is slower than the one that the limits were made on;
    judgements then carry it in their version. Raises SandboxUnavailable at once where this machine cannot
    isolate programs.
    """

    def __init__(
        self, workers: int | None = None, cache: Path | None = None, time_factor: float = 1.0
    ) -> None:
        self.time_factor, self.judge_version = time_factor, judge_version(time_factor)
        count = workers or math.ceil(1.5 * len(os.sched_getaffinity(0)))
        self.cache = cache or default_cache()
        self.work: queue.SimpleQueue[tuple[Submission, Results] | None] = queue.SimpleQueue()
        self.closed = False
        remove_left_over_groups()
        self.kind = requested_kind()
        self.workers = [Worker(self.cache, self.kind)]
        self.tier = self.workers[0].tier
        self.workers += [Worker(self.cache, self.kind) for _ in range(count - 1)]
        self.threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. Submissions in flight are lost."""
        self.closed = True
        for worker in self.workers:
            worker.process.terminate()
        for _ in self.threads:
            self.work.put(None)
        for thread in self.threads:
            thread.join()
        for worker in self.workers:
            worker.close()

    def judge(self, submission: Submission) -> Judgement:
        """Judge one submission."""
        return next(self.stream([submission]))

    def judge_all(
        self, programs: Iterable[str], language: str, tests: Iterable[Test], limits: Limits | None = None,
        checker: Checker | None = None,
    ) -> list[Judgement]:  # fmt: skip
        """Judge programs on the same tests. The judgements are in the order of the programs."""
        shared = Submission("", language, tuple(tests), limits or Limits(), checker or Checker())
        work = (replace(shared, program=program, key=str(number)) for number, program in enumerate(programs))
        return sorted(self.stream(work), key=lambda judgement: int(judgement.key))

    def stream(self, submissions: Iterable[Submission]) -> Iterator[Judgement]:
        """Judge submissions as they come.

        Results are in the order in which they are ready; two submissions per worker are in flight.
        """
        results: Results = queue.SimpleQueue()
        source = iter(submissions)
        in_flight, exhausted = 0, False
        while True:
            while not exhausted and in_flight < IN_FLIGHT_PER_WORKER * len(self.threads):
                submission = next(source, None)
                if submission is None:
                    exhausted = True
                else:
                    self.work.put((submission, results))
                    in_flight += 1
            if not in_flight:
                return
            result = results.get()
            in_flight -= 1
            if isinstance(result, BaseException):
                raise result
            yield result

    def _serve(self, index: int) -> None:
        """The thread of one worker: sends a submission, waits for its judgement."""
        while (item := self.work.get()) is not None:
            submission, results = item
            try:
                results.put(self._judge_in_version(index, submission))
            except BaseException as error:
                results.put(error)

    def _judge_in_version(self, index: int, submission: Submission) -> Judgement:
        limits = replace(submission.limits, time_s=submission.limits.time_s * self.time_factor)
        return replace(
            self._judge_or_try_again(index, replace(submission, limits=limits)),
            judge_version=self.judge_version,
        )

    def _judge_or_try_again(self, index: int, submission: Submission) -> Judgement:
        for _ in range(ATTEMPTS):
            try:
                return self.workers[index].judge(submission)
            except (EOFError, OSError):
                self.workers[index].close()
                if self.closed:
                    break
                self.workers[index] = Worker(self.cache, self.kind)
        return judge_error(submission, f"the worker died {ATTEMPTS} times under this submission", self.tier)


def judge_version(time_factor: float = 1.0) -> str:
    """The version of the judging semantics. Results of different versions must not be mixed.

    Raises ValueError for a factor that is not positive.
    """
    if not 0 < time_factor < math.inf:
        raise ValueError(f"time_factor must be positive, not {time_factor!r}")
    return JUDGE_VERSION if time_factor == 1 else f"{JUDGE_VERSION} time x{time_factor:g}"
