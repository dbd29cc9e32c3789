"""Adapters: from a source (a file, a folder, a data set on the Hub) to a stream of problems, trajectories and
refused rows.

An adapter is any object with the two methods of `Adapter`. Built-in ones are found by name; one of your own
lives in a file of yours that calls `register`, and is named `path/to/file.py:name`. Where every row of a
JSON, Parquet or Arrow file stands for itself, `pipeline/adapters/rows.py:RowAdapter` streams, refuses and
samples, and leaves the translation:

    from pipeline.adapters import ReadTrajectory, register
    from pipeline.adapters.rows import RowAdapter

    class Mine(RowAdapter):
        name = "mine"

        def items(self, row, file):
            columns = {"problem_id": row.value["task"], ...}
            yield ReadTrajectory(row.line, row.raw, columns, row.size)

    register(Mine())

An adapter translates; it does not judge. It hands on a row in the columns of `pipeline/store/contracts.py`,
or a `Refused` where it cannot make sense of one. Types, allowed values, duplicates and unknown problems are
looked after by `pipeline/ingest/admission.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipeline.adapters.source_policy import (
    SourceError,
    SourceRefused,
    fingerprint,
    places_of,
    printable,
)

# Name and what it reads, in a line each, for `spo ingest --help`.
BUILT_IN = {
    "plain": "our own JSON lines: problems and trajectories",
    "bundle": "the contest bundle: problems, human solutions, model samples",
    "code_contests": "DeepMind CodeContests, Parquet or Hub",
    "code_contests_plus": "ByteDance CodeContests+, with checkers, Parquet or Hub",
    "apps": "APPS, JSON lines, Parquet or Hub",
    "taco": "TACO, Parquet, Arrow or Hub",
    "livecodebench": "LiveCodeBench problems, JSON lines or Hub",
    "livecodebench_results": "LiveCodeBench result files: outputs and grades of a model",
    "codeforces": "open-r1 Codeforces: problems with official tests and checkers",
    "codeforces_cots": "open-r1 Codeforces-CoTs: answers of DeepSeek-R1",
    "leetcode": "LeetCodeDataset: function problems and canonical solutions",
    "mbpp": "MBPP, whole or sanitized, and MBPP+",
    "humaneval": "HumanEval and HumanEval+",
    "evalplus": "EvalPlus results and HumanEval results: samples of a model",
    "kattis": "Kattis/ICPC problem packages, with judges' submissions",
    "folders": "human solutions in folders: PROBLEM/VERDICT/FILE",
    "trl": "TRL: logged completions (completions_*.parquet)",
    "verl": "verl: rollout and validation dumps (STEP.jsonl)",
    "prime_rl": "prime-rl: rollouts and verifiers' traces",
    "openrlhf": "OpenRLHF: outputs of batch inference",
    "trinity": "Trinity-RFT: experiences in JSON lines",
    "openai_batch": "vLLM or OpenAI batch: output files with their request files",
}

# The bytes of a row, or how to get them: rows that are not text are written out only when they are refused.
Raw = bytes | Callable[[], bytes]


@dataclass(slots=True)
class ReadProblem:
    """A problem in the columns of `problems`, and its tests, in order, in the columns of `tests`.

    Left out are columns that ingestion adds: test_set_hash, test_count, position, and all lineage.
    """

    line: int
    raw: Raw
    row: dict[str, Any]
    tests: list[dict[str, Any]]
    size: int = 0


@dataclass(slots=True)
class ReadTrajectory:
    """A trajectory in the columns of `trajectories`, without trajectory_id, created_at and lineage."""

    line: int
    raw: Raw
    row: dict[str, Any]
    size: int = 0
    # Where the source names no problem that the store has: a text that holds the problem's statement.
    asked: str | None = None
    # Where its problem is an earlier item of the same file: the line of that item. If that is refused, so is
    # this one.
    problem_line: int | None = None


@dataclass(slots=True)
class Refused:
    """A row that cannot be read. Line 0 stands for the file as a whole."""

    line: int
    raw: Raw
    reason: str
    field: str | None = None
    size: int = 0


ReadItem = ReadProblem | ReadTrajectory | Refused


@dataclass
class SourceFile:
    """One file of a source: what a batch is made of. `name` is its folder's name and its path below it."""

    path: str
    name: str
    sha256: str
    size_bytes: int
    options: dict[str, Any] = field(default_factory=dict)
    # Draws the 1-based lines of a bounded sample; None: every line. Called when reading begins: a finished
    # batch never draws.
    draw: Callable[[], frozenset[int]] | None = None
    # Other files of the source that reading this one needs; their content is named in `options`.
    beside: tuple[str, ...] = ()
    # Folders that no link may lead out of; none where the user named this very file.
    places: tuple[str, ...] = ()
    # Why the file is not read at all, in one line: `kind: name; what to do`.
    fault: str = ""
    # What the adapter passed over beside this file, by kind.
    skipped: Counter[str] = field(default_factory=Counter)
    # Set while reading: how far into the file, and how many rows it holds, chosen or not.
    bytes_read: int = 0
    rows_in_file: int = 0


class Adapter(Protocol):
    name: str

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        """The files of a source in the order to read them: problems before the trajectories that need them.

        `limit` bounds the number of problems taken; `pipeline/adapters/sample.py` says which. Raises
        SourceError.
        """
        ...

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        """The rows of one file, in the same order at every call."""
        ...


@runtime_checkable
class Rereader(Protocol):
    """An adapter whose refused rows can be tried again from what the quarantine keeps; `RowAdapter` is one."""

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """The items of a refused row. The file has the name that it had then, and nothing else."""
        ...


_registered: dict[str, Adapter] = {}
# Adapters of files that the user named in this process: `path/to/file.py:name` -> name.
_loaded: dict[str, str] = {}


def register(adapter: Adapter) -> Adapter:
    """Make an adapter known by its name. Raises SourceError where another one has that name."""
    held = _registered.get(adapter.name)
    if held is not None and type(held).__qualname__ != type(adapter).__qualname__:
        raise SourceError(f"adapter {adapter.name!r} is there already: {type(held).__module__}")
    _registered[adapter.name] = adapter
    return adapter


def find(name: str) -> Adapter:
    """The adapter of that name: a built-in one, or one that `register` or `load` made known. Runs no file.
    Raises SourceError.
    """
    if name in BUILT_IN:
        importlib.import_module(f"pipeline.adapters.{name}")
    name = _loaded.get(name, name)
    if name in _registered:
        return _registered[name]
    if ".py:" in name:
        raise SourceError(
            f"adapter {printable(name)} is in a file, and a file of code runs only where the user names it on the"
            " command line: `spo ingest FILE.py:NAME`, `spo quarantine retry --adapter FILE.py:NAME`"
        )
    known = ", ".join(sorted({*BUILT_IN, *_registered}))
    raise SourceError(f"no adapter {printable(name)!r}; there are: {known}, or path/to/file.py:name")


def load(name: str) -> Adapter:
    """The adapter that a user named on the command line; `path/to/file.py:name` runs that file. Raises
    SourceError.
    """
    if ".py:" in name:
        path, _, own_name = name.rpartition(":")
        _run_file(Path(path))
        find(own_name)
        _loaded[name] = own_name
    return find(name)


def _run_file(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"spo_adapter_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SourceError(f"no adapter file {path}")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def local_file(path: Path, root: Path) -> SourceFile:
    """Describe a file on disk; `root` is the source it belongs to: the file itself, or a folder above it.

    A file that the policy for sources does not read is described with its `fault`.
    """
    folder = root if root.is_dir() else root.parent
    name = printable((Path(folder.resolve().name) / path.relative_to(folder)).as_posix())
    places = places_of(root) if root.is_dir() else ()
    try:
        return SourceFile(str(path), name, *fingerprint(str(path), places, name), places=places)
    except SourceRefused as refusal:
        return refused_file(str(path), name, str(refusal))


def refused_file(path: str, name: str, fault: str) -> SourceFile:
    """A file that is not read: a batch with one line in the quarantine, named by the reason in place of
    its content.
    """
    return SourceFile(path, name, hashlib.sha256(fault.encode()).hexdigest(), 0, fault=fault)
