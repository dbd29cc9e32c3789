"""Types of columns as plain data, and as DuckDB, polars and Arrow call them.

A kind is the name of a scalar type, `[kind]` for a list, or `{field: kind}` for a struct.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Kind: TypeAlias = "str | list[Kind] | dict[str, Kind]"

# Scalars: the name here, that of DuckDB, of polars, of Arrow. A time is in microseconds, UTC.
_DUCKDB = {
    "string": "VARCHAR",
    "binary": "BLOB",
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}
_POLARS = {
    "string": "String",
    "binary": "Binary",
    "bool": "Boolean",
    "int32": "Int32",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}


def duckdb_type(kind: Kind) -> str:
    """DuckDB's name of a type."""
    if isinstance(kind, str):
        return _DUCKDB[kind]
    if isinstance(kind, list):
        return f"{duckdb_type(kind[0])}[]"
    fields = (f'"{name.replace(chr(34), chr(34) * 2)}" {duckdb_type(part)}' for name, part in kind.items())
    return f"STRUCT({', '.join(fields)})"


def polars_type(kind: Kind) -> pl.DataType:
    """The type in polars."""
    import polars as pl

    if isinstance(kind, list):
        return pl.List(polars_type(kind[0]))
    if isinstance(kind, dict):
        return pl.Struct({name: polars_type(part) for name, part in kind.items()})
    return pl.Datetime("us", "UTC") if kind == "timestamp" else getattr(pl, _POLARS[kind])()


def arrow_type(kind: Kind) -> pa.DataType:
    """The type in Arrow, as Delta Lake has it."""
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(pa.field("element", arrow_type(kind[0])))
    if isinstance(kind, dict):
        return pa.struct([pa.field(name, arrow_type(part)) for name, part in kind.items()])
    return pa.timestamp("us", "UTC") if kind == "timestamp" else pa.type_for_alias(kind)


def kind_of(dtype: pl.DataType | pl.datatypes.DataTypeClass) -> Kind:
    """The kind of a type of polars. Raises KeyError for one that no contract may have."""
    import polars as pl

    if isinstance(dtype, pl.List):
        return [kind_of(dtype.inner)]
    if isinstance(dtype, pl.Struct):
        return {field.name: kind_of(field.dtype) for field in dtype.fields}
    if dtype == pl.Datetime("us", "UTC"):
        return "timestamp"
    return {name: kind for kind, name in _POLARS.items()}[str(dtype)]
