"""Checks rows against the contract of their table, before they are appended."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from pipeline.store.contracts import dy

if TYPE_CHECKING:
    from pipeline.store.tables import Table


class ContractError(ValueError):
    """Rows violate the contract of their table; the message names table, row, column and value."""


def check(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with the columns and types of the contract.

    Raises ContractError with the first fault.
    """
    unknown = set(frame.columns) - set(table.schema.column_names())
    if unknown:
        raise ContractError(
            f"{table.name}: unknown column {sorted(unknown)[0]}; contract: pipeline/store/contracts.py"
        )
    frame = add_missing_columns(table, frame)
    try:
        frame = table.schema.cast(frame)
    except (pl.exceptions.PolarsError, dy.exc.SchemaError) as error:
        raise ContractError(f"{table.name}: {str(error).splitlines()[0]}") from error
    if not rules_hold(table.schema, frame):
        raise ContractError(describe_first_fault(table, frame, table.schema.filter(frame)[1]))
    return frame


def rules_hold(schema: type[dy.Schema], frame: pl.DataFrame) -> bool:
    """Whether rows with the types of a contract keep all its rules.

    `schema.is_valid` says the same, and makes its expressions again at each call, which takes longer than
    checking ten thousand rows.
    """
    none = pl.QueryOptFlags.none()
    return bool(frame.lazy().select(pl.all_horizontal(rules_of(schema))).collect(optimizations=none).item())


@cache
def rules_of(schema: type[dy.Schema]) -> list[pl.Expr]:
    """For each rule whether it holds for all rows; a rule that is null for a row holds for it."""
    rules = schema._validation_rules(with_cast=False).values()
    return [rule.expr.fill_null(True).all() for rule in rules]


def add_missing_columns(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    columns = table.schema.columns()
    missing = [name for name in columns if name not in frame.columns]
    required = [name for name in missing if not columns[name].nullable]
    if required:
        raise ContractError(f"{table.name}: column {required[0]} is missing")
    return frame.with_columns(pl.lit(None, dtype=columns[name].dtype).alias(name) for name in missing)


def describe_first_fault(table: Table, frame: pl.DataFrame, failure: dy.FailureInfo) -> str:
    rule = next(iter(failure.counts()))
    details = failure.details()
    row = details.filter(pl.col(rule) == "invalid").row(0, named=True)
    column = rule.split("|")[0]
    value = row.get(column) if column in frame.columns else {name: row[name] for name in table.key}
    return (
        f"{table.name}: rule {rule} broken by row {[row[name] for name in table.key]},"
        f" {column} = {value!r:.200} ({failure.invalid().height} of {frame.height} rows refused)"
    )
