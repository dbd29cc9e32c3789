"""The tables of the store: what each is for, how it is laid out on disk, and the types of its columns.

The types come from `columns.json`, which `pipeline/store/contract_tables.py` writes from the contracts:
reading a store then needs neither the contracts nor the library that checks them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store.column_types import Kind, duckdb_type, polars_type

if TYPE_CHECKING:
    import dataframely as dy
    import polars as pl
    import pyarrow as pa

LAYOUT_VERSION = 1
COLUMNS = Path(__file__).with_name("columns.json")


@cache
def _columns() -> dict[str, dict[str, Kind]]:
    return json.loads(COLUMNS.read_text())


@dataclass(frozen=True)
class Table:
    """One table of the store.

    `contract`: a contract other than the one of this name in `pipeline/store/contracts.py`.
    """

    name: str
    purpose: str
    # Delta removes partition columns from the files, so partitions are copies named `p_<column>`.
    partition_by: tuple[str, ...] = ()
    bloom_filter: tuple[str, ...] = ()
    contract: type[dy.Schema] | None = None

    @cached_property
    def schema(self) -> type[dy.Schema]:
        """The contract: columns with descriptions, keys, allowed values, bounds."""
        from pipeline.store.contracts import SCHEMAS

        return self.contract or SCHEMAS[self.name]

    @property
    def key(self) -> list[str]:
        return self.schema.primary_key()

    @cached_property
    def columns(self) -> Mapping[str, Kind]:
        """Types of the columns, in the order of the contract."""
        if self.contract is None:
            return _columns()[self.name]
        from pipeline.store.column_types import kind_of

        return {name: kind_of(dtype) for name, dtype in self.contract.create_empty().schema.items()}

    @cached_property
    def duckdb_types(self) -> dict[str, str]:
        """DuckDB's name of the type of each column."""
        return {name: duckdb_type(kind) for name, kind in self.columns.items()}

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Columns on disk without the partition copies, with the Arrow types of Delta Lake."""
        import pyarrow as pa

        from pipeline.store.column_types import arrow_type

        return pa.schema([pa.field(name, arrow_type(kind)) for name, kind in self.columns.items()])

    @cached_property
    def empty(self) -> pl.DataFrame:
        """A frame with the columns of the contract and no rows."""
        import polars as pl

        return pl.DataFrame(schema={name: polars_type(kind) for name, kind in self.columns.items()})


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("problems", "statements, limits and checkers", bloom_filter=("problem_id",)),
        Table("tests", "inputs and expected outputs", bloom_filter=("problem_id",)),
        Table(
            "trajectories",
            "every attempt at a problem, from anywhere",
            partition_by=("origin",),
            bloom_filter=("trajectory_id",),
        ),
        Table("verdicts", "results of the judge; rewards are computed from them on reading"),
        Table("reference_scores", "tokens and log-probabilities under a reference policy"),
        Table(
            "reference_policies",
            "parts of the fingerprint of each scored reference policy",
        ),
        Table("program_signatures", "hashes and MinHash of programs"),
        Table("duplicates", "clusters of equal or nearly equal programs; nothing is deleted"),
        Table("same_problems", "the same problem in several sources; nothing is deleted"),
        Table(
            "contaminations",
            "rows that leak a problem of the evaluation set; nothing is deleted",
        ),
        Table(
            "decontaminations",
            "passes of decontamination: evaluation set and table versions",
        ),
        Table("quarantine", "rows refused by ingestion, unchanged"),
        Table("retries", "retried rows of the quarantine"),
        Table("batches", "ingested files and the outcomes of their rows"),
        Table("policies", "published policies"),
        Table("corpora", "published, pinned sets of trajectories"),
        Table("pins", "versions that maintenance must keep, besides those of published corpora"),
        Table("evaluations", "number of samples and successes of a policy per problem"),
    )
}
