"""Adapters turn a source (a file, a folder, a data set on the Hub) into a stream of problems, trajectories
and refused rows.

An adapter is any object with the two methods of `Adapter`. Built-in adapters are found by name. Your own
adapter is in a file that calls `register`; its name is `path/to/file.py:name`. If the rows of a JSON, Parquet
or Arrow file do not depend on each other, `pipeline/adapters/rows.py:RowAdapter` does the streaming, refusing
and sampling, and you write the translation:

    from pipeline.adapters import ReadTrajectory, register
    from pipeline.adapters.rows import RowAdapter

    class Mine(RowAdapter):
        name = "mine"

        def items(self, row, file):
            columns = {"problem_id": row.value["task"], ...}
            yield ReadTrajectory(row.line, row.raw, columns, row.size)

    register(Mine())

An adapter only translates. It yields a row with the columns of `pipeline/store/contracts.py`, or `Refused` if
it cannot read one. `pipeline/ingest/admission.py` checks types, allowed values, duplicates and unknown
problems.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipeline.adapters.path_names import source_name
from pipeline.adapters.source_policy import (
    SourceError,
    SourceRefused,
    allowed_roots,
    fingerprint,
    printable,
)

# Name and what it reads, one line each, for `spo ingest --help`.
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
    "codeforces_submissions": "open-r1 Codeforces submissions: programs by people, with verdicts",
    "code_contests_o": "CodeContests-O: problems with iterated tests, Parquet or Hub",
    "robust_tests": "RobustTests: tests for problems of CodeContests+ in the store",
    "kodcode": "KodCode: function problems with pytest tests, solutions of GPT-4o",
    "codeforces_cots": "open-r1 Codeforces-CoTs: answers of DeepSeek-R1",
    "leetcode": "LeetCodeDataset: function problems and canonical solutions",
    "mbpp": "MBPP, whole or sanitized, and MBPP+",
    "humaneval": "HumanEval and HumanEval+",
    "evalplus": "EvalPlus results and HumanEval results: samples of a model",
    "bigcode": "bigcode-evaluation-harness: generations of a model",
    "kattis": "Kattis/ICPC problem packages, with judges' submissions",
    "polygon": "Polygon problem packages (Codeforces), with solutions",
    "folders": "human solutions in folders: PROBLEM/VERDICT/FILE",
    "trl": "TRL: logged completions (completions_*.parquet)",
    "verl": "verl: rollout and validation dumps (STEP.jsonl)",
    "prime_rl": "prime-rl: rollouts and verifiers' traces",
    "atif": "ATIF, the Agent Trajectory Interchange Format",
    "nemo_gym": "NeMo-Gym: collected rollouts",
    "tinker_capture": "tinker-cookbook: capture store (capture.sqlite)",
    "rollout_store": "lance-context: RolloutStore (folder *.lance); needs lance-context",
    "inspect_ai": "inspect_ai: logs of evaluations, .eval or .json",
    "lm_eval": "lm-evaluation-harness: logged samples (samples_*.jsonl)",
    "lighteval": "lighteval: details of evaluations (details_*.parquet)",
    "rl_problems": "training sets in verl's form: Eurus-2-RL, DeepCoder, PrimeIntellect",
    "samples": "samples of any tool: columns by --map, or guessed",
    "openrlhf": "OpenRLHF: outputs of batch inference",
    "trinity": "Trinity-RFT: experiences in JSON lines",
    "openai_batch": "vLLM or OpenAI batch: output files with their request files",
    "anthropic_batch": "Anthropic batch: result files with their request files",
}

# The bytes of a row, or a function that makes them: rows of tables become text only if they are refused.
Raw = bytes | Callable[[], bytes]


@dataclass(slots=True)
class ReadProblem:
    """A problem in the columns of `problems`, and its tests, in order, in the columns of `tests`.

    Ingestion adds test_set_hash, test_count, position and the lineage.
    """

    line: int
    raw: Raw
    row: dict[str, Any]
    tests: list[dict[str, Any]]
    size: int = 0
    # Of a source with tests only: ids of stored problems, the first one there gives all columns that `row`
    # does not have (statement, limits, checker).
    statement_of: tuple[str, ...] = ()


@dataclass(slots=True)
class ReadTrajectory:
    """A trajectory in the columns of `trajectories`, without trajectory_id, created_at and lineage."""

    line: int
    raw: Raw
    row: dict[str, Any]
    size: int = 0
    # A text that contains the problem's statement, for rows without a problem_id of the store.
    prompt_text: str | None = None
    # The line of its problem, if that is an earlier item of the same file. If the problem is refused, this
    # trajectory is refused too.
    problem_line: int | None = None
    # Other ids that the problem may have in the store; the first known one counts.
    other_ids: tuple[str, ...] = ()
    # The completion continues the starter code of its problem; admission joins them.
    continues: bool = False


@dataclass(slots=True)
class Refused:
    """A row that cannot be read. Line 0 means the whole file."""

    line: int
    raw: Raw
    reason: str
    field: str | None = None
    size: int = 0
    # The row is of the adapter's format; what is missing is not in the row.
    is_own: bool = False


ReadItem = ReadProblem | ReadTrajectory | Refused


@dataclass
class SourceFile:
    """One file of a source; ingesting it makes one batch.

    `name`: name of the source folder / path below it.
    """

    path: str
    name: str
    sha256: str
    size_bytes: int
    options: dict[str, Any] = field(default_factory=dict)
    # Returns the 1-based lines of a bounded sample; None: all lines. Called when reading begins, so never for
    # a finished batch.
    select_lines: Callable[[], frozenset[int]] | None = None
    # Other files of the source that are needed to read this one; `options` has their hashes.
    companions: tuple[str, ...] = ()
    # Folders that links must not leave; empty if the user named this file itself.
    roots: tuple[str, ...] = ()
    # Why the file is not read, in one line: `kind: name; what to do`.
    fault: str = ""
    # What the adapter skipped next to this file, by kind.
    skipped: Counter[str] = field(default_factory=Counter)
    # Set while reading: names of runs and policies that the path gave, with the folder that has each name;
    # what the adapter guessed or does not know, by kind.
    path_names: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    # Set while reading: bytes read so far, and number of rows in the file, selected or not.
    bytes_read: int = 0
    rows_in_file: int = 0


class Adapter(Protocol):
    name: str

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        """The files of a source in the order to read them: problems before the trajectories that need them.

        `limit` is the largest number of problems; `pipeline/adapters/sample.py` selects them. Raises
        SourceError.
        """
        ...

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        """The rows of one file, in the same order at every call."""
        ...


@runtime_checkable
class Rereader(Protocol):
    """An adapter that can retry refused rows from the bytes in quarantine; `RowAdapter` can."""

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """The items of a refused row. `file` has only the name of the original file."""
        ...


@runtime_checkable
class Mappable(Protocol):
    """An adapter whose columns the user can name."""

    def mapped(self, mapping: Mapping[str, str]) -> Adapter:
        """The adapter with a mapping {fact: key}. Raises SourceError for an unknown fact."""
        ...


_registered: dict[str, Adapter] = {}
# Adapters that the user loaded from files in this process: `path/to/file.py:name` -> name.
_loaded: dict[str, str] = {}


def register(adapter: Adapter) -> Adapter:
    """Register an adapter by its name. Raises SourceError if another one has that name."""
    held = _registered.get(adapter.name)
    if held is not None and type(held).__qualname__ != type(adapter).__qualname__:
        raise SourceError(
            f"adapter {adapter.name!r} exists already in {type(held).__module__}; choose another name"
        )
    _registered[adapter.name] = adapter
    return adapter


def find(name: str) -> Adapter:
    """The adapter with that name: a built-in, registered or loaded one. Does not run any file.

    Raises SourceError.
    """
    if name in BUILT_IN:
        importlib.import_module(f"pipeline.adapters.{name}")
    name = _loaded.get(name, name)
    if name in _registered:
        return _registered[name]
    if ".py:" in name:
        raise SourceError(
            f"adapter {printable(name)} is in a file of code, which runs only if the user names it on the"
            " command line: `spo ingest FILE.py:NAME`, `spo quarantine retry --adapter FILE.py:NAME`"
        )
    known = ", ".join(sorted({*BUILT_IN, *_registered}))
    raise SourceError(f"no adapter {printable(name)!r}; there are: {known}, or path/to/file.py:name")


def load(name: str) -> Adapter:
    """The adapter that a user named on the command line; `path/to/file.py:name` runs that file.

    Raises SourceError.
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
    """Describe a file on disk; `root` is the source: the file itself, or a folder above it.

    If the source policy forbids reading the file, its `fault` says why.
    """
    folder = root if root.is_dir() else root.parent
    name = printable((Path(source_name(folder)) / path.relative_to(folder)).as_posix())
    roots = allowed_roots(root) if root.is_dir() else ()
    try:
        return SourceFile(str(path), name, *fingerprint(str(path), roots, name), roots=roots)
    except SourceRefused as refusal:
        return refused_file(str(path), name, str(refusal))


def refused_file(path: str, name: str, fault: str) -> SourceFile:
    """A file that is not read. Its batch has one quarantine row, and the reason replaces the content hash."""
    return SourceFile(path, name, hashlib.sha256(fault.encode()).hexdigest(), 0, fault=fault)
