"""What a few new programs are compared with: of the stored ones in their problems the MinHash values are read, and all else only
of those that share a band with a new one, and of the rest of their clusters. No edge can tie a new program to any other.
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
    """All signatures of some problems, and what holds for their programs."""
    return signatures.rows(problem_ids), current_of(duplicates.rows(problem_ids).lazy()).collect()


def related(
    signatures: ProblemIndex, duplicates: ProblemIndex, fresh: pl.DataFrame, problem_ids: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Signatures of the fresh programs of some problems and of all programs that an edge can tie to them, and what holds for
    the latter: those that share a band with a fresh one, as programs of equal tokens do too, and the rest of their clusters."""
    fresh = fresh.filter(pl.col("problem_id").is_in(problem_ids))
    near = sharing_bands(signatures, fresh, problem_ids)
    problems = near["problem_id"].unique().to_list()
    before = current_of(duplicates.rows(problems).lazy()).collect() if problems else duplicates.rows([])
    touched = before.join(near, on="trajectory_id", how="semi").select("cluster_id").unique()
    before = before.join(touched, on="cluster_id", how="semi")
    held = signatures.rows(before["problem_id"].unique().to_list(), only=before["trajectory_id"])
    return pl.concat([fresh, held.select(fresh.columns)]), before


def current_of(duplicates: pl.LazyFrame) -> pl.LazyFrame:
    rows = duplicates.filter(pl.col("algorithm") == ALGORITHM)
    return rows.filter(pl.col("pass_number") == pl.col("pass_number").max().over("trajectory_id"))


def sharing_bands(signatures: ProblemIndex, fresh: pl.DataFrame, problem_ids: list[str]) -> pl.DataFrame:
    """trajectory_id and problem_id of the programs that share a MinHash band with a fresh one of their problem."""
    of_fresh = sorted_run(fresh.select("problem_id", "minhash"))
    bands = BandSet(keys_of(of_fresh))
    found = [TABLES["program_signatures"].empty.select("trajectory_id", "problem_id")]
    for block in signatures.blocks(problem_ids, ["trajectory_id", "problem_id", "algorithm", "minhash", KEY]):
        block = block.filter(pc.equal(block["algorithm"], ALGORITHM))
        shared = block.select(["trajectory_id", "problem_id"]).filter(
            pa.array(bands.shared_with(keys_of(block)))
        )
        if shared.num_rows:
            found.append(pl.DataFrame(shared))
    return pl.concat(found)


def keys_of(rows: pa.Table) -> np.ndarray:
    """Keys of the bands of rows with KEY and minhash, within their problem; uint64 [BANDS, rows]."""
    minhash, _ = words_of(rows["minhash"])
    nothing = np.zeros(0, np.int64)
    programs = Programs(
        rows[KEY].to_numpy().view(np.int64), nothing, minhash.reshape(-1, PERMUTATIONS), nothing, nothing
    )
    return band_keys(programs, np.arange(rows.num_rows))


def programs_of(rows: pl.DataFrame) -> Programs:
    """Rows of `program_signatures` as arrays."""
    minhash, _ = words_of(rows["minhash"])
    shingles, offsets = words_of(rows["shingles"])
    return Programs(
        group=rows.select(pl.struct("problem_id", "language").hash()).to_series().to_numpy().view(np.int64),
        token=rows["token_hash"].hash().to_numpy().view(np.int64),
        minhash=minhash.reshape(-1, PERMUTATIONS),
        shingles=shingles,
        shingle_offsets=offsets,
    )


def words_of(column: pl.Series | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Binary values as little-endian uint32 end to end, and where each begins, int64 [rows + 1]; nothing is copied twice."""
    if isinstance(column, pl.Series):
        array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    else:
        array = column.combine_chunks()
    _, offsets, values = array.buffers()
    cuts = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1] // 4
    return np.frombuffer(values, dtype="<u4")[cuts[0] : cuts[-1]] if values else np.zeros(
        0, "<u4"
    ), cuts - cuts[0]
