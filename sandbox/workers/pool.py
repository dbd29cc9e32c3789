"""The pool: worker processes that judge in parallel, replaced when they die."""

from __future__ import annotations

import math
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from sandbox.bounds import LARGEST
from sandbox.building import is_asked_for
from sandbox.contracts import Checker, Judgement, Limits, SandboxUnavailable, Submission, Test
from sandbox.isolation import Kind, remove_groups, remove_left_over_groups, requested_kind
from sandbox.judging import JUDGE_VERSION, judge_error
from sandbox.processors import usable_processors

IN_FLIGHT_PER_WORKER = 2
PATIENCE_S = 5.0  # for a worker to clear up after itself
ATTEMPTS = 2  # per submission, where a worker dies under it
Result = Judgement | BaseException


def default_cache() -> Path:
    """The folder of built programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spo" / "programs"


class Worker:
    """One worker process and the connection to it. Raises SandboxUnavailable where no jail can start."""

    def __init__(self, cache: Path, kind: Kind | None, shared_jails: bool = False) -> None:
        ours, theirs = socket.socketpair()
        search_path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search_path))}
        words = [str(theirs.fileno()), str(cache), kind or "any", str(int(shared_jails))]
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


class Ticket:
    """One submission on its way through a pool. `done` is called once with what came of it, in a thread of
    the pool.
    """

    def __init__(self, submission: Submission, done: Callable[[Result], None]) -> None:
        self.submission, self.done = submission, done
        self.lock = threading.Lock()
        self.cancelled = False
        self.worker: Worker | None = None  # while it is judged

    def cancel(self, patience_s: float = 0.0) -> None:
        """Cancel: a waiting submission does not start; a running one is ended after `patience_s`."""
        with self.lock:
            self.cancelled = True
            running = self.worker is not None
        if running and patience_s > 0:
            timer = threading.Timer(patience_s, self.cancel)
            timer.daemon = True
            timer.start()
        elif running:
            with self.lock:
                if self.worker:
                    self.worker.process.terminate()

    def give_to(self, worker: Worker | None) -> bool:
        """Say which worker judges it now. False where nobody waits for it."""
        with self.lock:
            self.worker = None if self.cancelled else worker
            return not self.cancelled


class Pool:
    """Judges submissions on `workers` processes. A context manager; safe to use from threads.

    By default there are three workers per two CPUs, because a jail also waits for the kernel. `time_factor`
    multiplies every time limit, for a machine that is slower than the one that the limits were made on;
    judgements then carry it in their version. `shared_jails`: plain Python programs run one after the other
    in one jail per worker (`building/shared.py`), and their tier ends with `+shared`; the default is what
    SPO_SANDBOX_SHARED_JAILS says, else a jail for each program. Raises SandboxUnavailable at once where this
    machine cannot isolate programs.
    """

    def __init__(
        self,
        workers: int | None = None,
        cache: Path | None = None,
        time_factor: float = 1.0,
        shared_jails: bool | None = None,
    ) -> None:
        self.time_factor, self.judge_version = time_factor, judge_version(time_factor)
        count = workers or math.ceil(1.5 * usable_processors())
        self.cache = cache or default_cache()
        self.work: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self.closed = False
        remove_left_over_groups()
        self.kind = requested_kind()
        self.shared_jails = is_asked_for() if shared_jails is None else shared_jails
        self.workers = [Worker(self.cache, self.kind, self.shared_jails)]
        self.tier = self.workers[0].tier
        self.workers += [Worker(self.cache, self.kind, self.shared_jails) for _ in range(count - 1)]
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

    def submit(self, submission: Submission, done: Callable[[Result], None]) -> Ticket:
        """Queue one submission. `done` gets its judgement or the error, in a thread of the pool."""
        ticket = Ticket(submission, done)
        self.work.put(ticket)
        return ticket

    def judge_all(
        self, programs: Iterable[str], language: str, tests: Iterable[Test], limits: Limits | None = None,
        checker: Checker | None = None,
    ) -> list[Judgement]:  # fmt: skip
        """Judge programs on the same tests. The judgements are in the order of the programs."""
        shared = Submission("", language, tuple(tests), limits or Limits(), checker or Checker())
        work = (replace(shared, program=program, key=str(number)) for number, program in enumerate(programs))
        return sorted(self.stream(work), key=lambda judgement: int(judgement.key))

    def stream(self, submissions: Iterable[Submission]) -> Iterator[Judgement]:
        """Judge submissions as they arrive; yield results when ready. Reads two ahead per worker."""
        results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        source = iter(submissions)
        in_flight, exhausted = 0, False
        while True:
            while not exhausted and in_flight < IN_FLIGHT_PER_WORKER * len(self.threads):
                submission = next(source, None)
                if submission is None:
                    exhausted = True
                else:
                    self.submit(submission, results.put)
                    in_flight += 1
            if not in_flight:
                return
            result = results.get()
            in_flight -= 1
            if isinstance(result, BaseException):
                raise result
            yield result

    def _serve(self, index: int) -> None:
        """One thread per worker: hands over a submission, waits for its judgement."""
        while (ticket := self.work.get()) is not None:
            try:
                result: Result = self._judge_in_version(index, ticket)
            except BaseException as error:
                result = error
            ticket.done(result)

    def _judge_in_version(self, index: int, ticket: Ticket) -> Judgement:
        limits = ticket.submission.limits
        longest_s = LARGEST["time_s"][1]
        limits = replace(limits, time_s=min(limits.time_s * self.time_factor, longest_s))
        return replace(
            self._judge_or_try_again(index, replace(ticket.submission, limits=limits), ticket),
            judge_version=self.judge_version,
        )

    def _judge_or_try_again(self, index: int, submission: Submission, ticket: Ticket) -> Judgement:
        for _ in range(ATTEMPTS):
            if not ticket.give_to(self.workers[index]):
                return judge_error(submission, "nobody waits for it any more", self.tier)
            try:
                judgement = self.workers[index].judge(submission)
                ticket.give_to(None)
                return judgement
            except (EOFError, OSError):
                ticket.give_to(None)
                self.workers[index].close()
                if self.closed:
                    break
                self.workers[index] = Worker(self.cache, self.kind, self.shared_jails)
        return judge_error(submission, f"the worker died {ATTEMPTS} times under this submission", self.tier)


def judge_version(time_factor: float = 1.0) -> str:
    """The version of the judging semantics. Results of different versions must not be mixed.

    Raises ValueError for a factor that is not positive.
    """
    if not 0 < time_factor < math.inf:
        raise ValueError(f"time_factor must be positive, not {time_factor!r}")
    return JUDGE_VERSION if time_factor == 1 else f"{JUDGE_VERSION} time x{time_factor:g}"
