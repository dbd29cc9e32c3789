"""The stored programs that a few new programs are compared with.

Of all programs of the same problems, only the MinHash values are read. Everything else is read only for
programs that share a band with a new one, and for the other members of their clusters: no edge can join a new
program to any other program.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.clusters import BandSet, Programs, band_keys
from pipeline.dedup.index import KEY, ProblemIndex, sorted_run
from pipeline.dedup.signatures import ALGORITHM, PERMUTATIONS
from pipeline.store import TABLES


def all_of(
    signatures: ProblemIndex, duplicates: ProblemIndex, problem_ids: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All signatures of some problems, and the current rows of `duplicates` for their programs."""
    return signatures.rows(problem_ids), current_of(duplicates.rows(problem_ids).lazy()).collect()


def related(
    signatures: ProblemIndex, duplicates: ProblemIndex, new: pl.DataFrame, problem_ids: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Signatures of the new programs of some problems and of all programs that an edge can join to them, and
    the current rows of `duplicates` for the latter.

    An edge can join programs that share a band with a new one (programs with equal tokens always do); the
    other members of their clusters are read too.
    """
    new = new.filter(pl.col("problem_id").is_in(problem_ids))
    near = _sharing_bands(signatures, new, problem_ids)
    problems = near["problem_id"].unique().to_list()
    before = current_of(duplicates.rows(problems).lazy()).collect() if problems else duplicates.rows([])
    touched = before.join(near, on="trajectory_id", how="semi").select("cluster_id").unique()
    before = before.join(touched, on="cluster_id", how="semi")
    touched_rows = signatures.rows(before["problem_id"].unique().to_list(), only=before["trajectory_id"])
    return pl.concat([new, touched_rows.select(new.columns)]), before


def current_of(duplicates: pl.LazyFrame) -> pl.LazyFrame:
    rows = duplicates.filter(pl.col("algorithm") == ALGORITHM)
    return rows.filter(pl.col("pass_number") == pl.col("pass_number").max().over("trajectory_id"))


def _sharing_bands(signatures: ProblemIndex, new: pl.DataFrame, problem_ids: list[str]) -> pl.DataFrame:
    """trajectory_id and problem_id of the programs that share a MinHash band with a new program of their
    problem."""
    new_run = sorted_run(new.select("problem_id", "minhash"))
    bands = BandSet(_band_keys_of(new_run))
    frames = [TABLES["program_signatures"].empty.select("trajectory_id", "problem_id")]
    for block in signatures.blocks(problem_ids, ["trajectory_id", "problem_id", "algorithm", "minhash", KEY]):
        block = block.filter(pc.equal(block["algorithm"], ALGORITHM))
        shared = block.select(["trajectory_id", "problem_id"]).filter(
            pa.array(bands.shared_with(_band_keys_of(block)))
        )
        if shared.num_rows:
            frames.append(pl.DataFrame(shared))
    return pl.concat(frames)


def _band_keys_of(rows: pa.Table) -> np.ndarray:
    """Band keys, uint64 [BANDS, rows], of rows with the columns KEY and minhash; programs of different
    problems share no key."""
    minhash, _ = _words_of(rows["minhash"])
    nothing = np.zeros(0, np.int64)
    programs = Programs(
        rows[KEY].to_numpy().view(np.int64), nothing, minhash.reshape(-1, PERMUTATIONS), nothing, nothing
    )
    return band_keys(programs, np.arange(rows.num_rows))


def programs_of(rows: pl.DataFrame) -> Programs:
    """Rows of `program_signatures` as arrays for clustering."""
    minhash, _ = _words_of(rows["minhash"])
    shingles, offsets = _words_of(rows["shingles"])
    return Programs(
        group=rows.select(pl.struct("problem_id", "language").hash()).to_series().to_numpy().view(np.int64),
        token=rows["token_hash"].hash().to_numpy().view(np.int64),
        minhash=minhash.reshape(-1, PERMUTATIONS),
        shingles=shingles,
        shingle_offsets=offsets,
    )


def _words_of(column: pl.Series | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Binary values as concatenated little-endian uint32, and their offsets, int64 [rows + 1], without a copy
    of the values."""
    if isinstance(column, pl.Series):
        array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    else:
        array = column.combine_chunks()
    _, offsets, values = array.buffers()
    cuts = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1] // 4
    return np.frombuffer(values, dtype="<u4")[cuts[0] : cuts[-1]] if values else np.zeros(
        0, "<u4"
    ), cuts - cuts[0]
