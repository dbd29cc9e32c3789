"""The programs that have a verdict, each with that verdict, so that equal programs need not run again.

A program is found by a hash of its problem, language, text and files; its verdict is a row of `verdicts` in a
file of small blocks, of which a look-up reads one. The file only grows: what a killed process has appended is
named by no record. All is derived from the tables by `open_rows.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from pipeline.store import KEY_TYPE, TABLES, KeyRuns

FORM = "judged programs 1"
FIELDS = np.dtype([("key", KEY_TYPE), ("offset", "u8"), ("length", "u4"), ("row", "u4")])
BLOCK_ROWS = 128
# What a program needs to have this verdict, too; `trajectory_id` and `attempt` are those of its own rows.
OWN = ("trajectory_id", "attempt")
FILE_ROWS = 50_000
NO_NEED_OF_ALL = ("accepted", "compile_error", "no_program", "language_unavailable")


class JudgedPrograms:
    """Programs with a verdict of one judge version. To be used within `runs.locked()`."""

    def __init__(self, folder: Path, values: Mapping[str, Any]):
        """`values`: judge_version, and all_tests: whether a verdict needs the results of all tests."""
        self.runs = KeyRuns(folder, FIELDS, FORM)
        self.version, self.all_tests = values["judge_version"], values["all_tests"]

    @property
    def is_whole(self) -> bool:
        """Whether the file of verdicts is there, if any record names it."""
        return not len(self.runs) or self._path().is_file()

    def build(self, trajectories: pl.LazyFrame, verdicts: pl.LazyFrame) -> None:
        """Forget all, and take the verdicts of all rows."""
        self.runs.clear()
        ids, keys = program_keys(trajectories)
        for part in verdicts.filter(self._settled()).collect_batches(chunk_size=FILE_ROWS):
            names = text_keys(part["trajectory_id"])
            place = np.minimum(np.searchsorted(ids, names), max(len(ids) - 1, 0))
            known = ids[place] == names if len(ids) else np.zeros(len(names), dtype=bool)
            self._write(part.filter(pl.Series(known)), keys[place[known]])

    def add(self, rows: pl.DataFrame, verdicts: pl.DataFrame) -> None:
        """Take the verdicts of some rows."""
        settled = verdicts.filter(self._settled())
        judged = settled.join(rows.select("trajectory_id", *PROGRAM), on="trajectory_id", suffix="_of_row")
        keys = keys_of(judged.select(pl.col("problem_id_of_row").alias("problem_id"), *PROGRAM[1:]))
        self._write(judged.select(settled.columns), keys)

    def copies(self, pending: pl.DataFrame) -> pl.DataFrame:
        """Verdict rows of those pending rows whose program has a verdict on the same tests: all columns of
        `verdicts`.
        """
        if pending.is_empty() or not len(self.runs):
            return TABLES["verdicts"].empty
        ran = pending.filter(pl.col("program").str.contains(r"\S"))
        indices, records = self.runs.find(keys_of(ran.select(PROGRAM)))
        names = {"test_set_hash": "_tests", "problem_id": "_problem"}
        own = ran[indices].select(*OWN, *names).rename(names)
        parts = [own[places].hstack(rows) for places, rows in self._read(records)] if len(records) else []
        empty = TABLES["verdicts"].empty
        if not parts:
            return empty
        same = (pl.col("_tests") == pl.col("test_set_hash")) & (pl.col("_problem") == pl.col("problem_id"))
        return pl.concat(parts).filter(same).select(empty.columns).cast(empty.schema)

    def save(self) -> None:
        """Make the programs last, and delete files of an earlier index."""
        self.runs.save()
        for path in self.runs.folder.glob("*.blocks"):
            if path.name != self.runs.note.get(BLOCKS):
                path.unlink(missing_ok=True)

    def _settled(self) -> pl.Expr:
        """Which verdicts hold for an equal program."""
        settled = (pl.col("judge_version") == self.version) & (pl.col("verdict") != "judge_error")
        if self.all_tests:
            complete = pl.col("tests").list.len() >= pl.col("total")
            settled &= complete | pl.col("verdict").is_in(NO_NEED_OF_ALL)
        return settled & (pl.col("verdict") != "no_program")

    def _write(self, verdicts: pl.DataFrame, keys: np.ndarray) -> None:
        """Append verdicts, one of each program, to the file of blocks."""
        _, first = np.unique(keys, return_index=True)
        first = np.sort(first)
        if not len(first):
            return
        rows = verdicts[first].drop(OWN).to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        records = np.zeros(len(first), dtype=FIELDS)
        records["key"], records["row"] = keys[first], np.arange(len(first)) % BLOCK_ROWS
        with open(self._path(), "ab") as file:
            for number, batch in enumerate(rows.to_batches(max_chunksize=BLOCK_ROWS)):
                block, at = packed(batch), slice(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
                records["offset"][at], records["length"][at] = file.tell(), len(block)
                file.write(block)
        self.runs.add(records)

    def _read(self, records: np.ndarray) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """(indices, rows) of the verdicts that records name, block by block. Those of a damaged block are
        left out, and their programs run again.
        """
        with open(self._path(), "rb", buffering=0) as file:
            for offset in np.unique(records["offset"]):
                indices = np.flatnonzero(records["offset"] == offset)
                content = os.pread(file.fileno(), int(records["length"][indices[0]]), int(offset))
                if (block := unpacked(content)) is not None:
                    yield indices, block[records["row"][indices]]

    def _path(self) -> Path:
        if (name := self.runs.note.get(BLOCKS)) is None or not NAME.fullmatch(name):
            name = self.runs.note[BLOCKS] = f"{uuid.uuid4().hex}.blocks"
        return self.runs.folder / name


BLOCKS, NAME = "blocks", re.compile(r"[0-9a-f]{32}\.blocks")
SCHEMA = TABLES["verdicts"].empty.drop(OWN).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
HEADER = struct.Struct("<QQ")  # bytes of the content before compression, and its hash
PROGRAM = ("problem_id", "language", "program", "files")


def packed(batch: pa.RecordBatch) -> bytes:
    """A block of rows as bytes, with their hash."""
    content = batch.cast(SCHEMA).serialize()
    head = HEADER.pack(content.size, xxhash.xxh3_64_intdigest(content))
    return head + pa.compress(content, codec="zstd", asbytes=True)


def unpacked(block: bytes) -> pl.DataFrame | None:
    """The rows of a block; None where its bytes are not those that were written."""
    try:
        size, digest = HEADER.unpack_from(block)
        content = pa.decompress(block[HEADER.size :], decompressed_size=size, codec="zstd")
        if xxhash.xxh3_64_intdigest(content) != digest:
            return None
        return pl.DataFrame(pa.ipc.read_record_batch(content, SCHEMA))
    except (struct.error, pa.ArrowInvalid, OSError):
        return None


def keys_of(rows: pl.DataFrame) -> np.ndarray:
    """Keys of programs, from the columns PROGRAM: [rows]."""
    digests = [
        hashlib.blake2b(f"{problem}\0{language}\0{files or ''}\0{program}".encode(), digest_size=16).digest()
        for problem, language, program, files in rows.iter_rows()
    ]
    return np.frombuffer(b"".join(digests), dtype=KEY_TYPE)


def text_keys(texts: pl.Series) -> np.ndarray:
    """Keys of texts of any length: [texts]."""
    return np.frombuffer(
        b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts.to_list()),
        KEY_TYPE,
    )


def program_keys(trajectories: pl.LazyFrame) -> tuple[np.ndarray, np.ndarray]:
    """(ids, keys) of all trajectories with a program, sorted by id: [rows] each."""
    ids, keys = [np.zeros(0, KEY_TYPE)], [np.zeros(0, KEY_TYPE)]
    with_program = trajectories.filter(pl.col("program").str.contains(r"\S"))
    for part in with_program.select("trajectory_id", *PROGRAM).collect_batches(chunk_size=FILE_ROWS):
        ids.append(text_keys(part["trajectory_id"]))
        keys.append(keys_of(part.select(PROGRAM)))
    every = np.concatenate(ids)
    order = np.argsort(every, kind="stable")
    return every[order], np.concatenate(keys)[order]
