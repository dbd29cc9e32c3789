"""Documents the contracts: `python -m pipeline.store.contract_tables` writes them into
`pipeline/README.md`, and the types of their columns into `columns.json`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa

from pipeline.store.column_types import kind_of
from pipeline.store.contracts import SCHEMAS, OneOf, dy
from pipeline.store.tables import COLUMNS, TABLES, Table

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- contracts: begin -->", "<!-- contracts: end -->"


def all_tables() -> str:
    """Markdown: one section per table, one line per column."""
    return "\n\n".join(table_section(table) for table in TABLES.values())


def table_section(table: Table) -> str:
    layout = f"Key: {', '.join(f'`{column}`' for column in table.key)}."
    if table.partition_by:
        layout += f" Partitioned by {', '.join(f'`{column}`' for column in table.partition_by)}."
    if table.bloom_filter:
        layout += f" Bloom filter on {', '.join(f'`{column}`' for column in table.bloom_filter)}."
    columns = table.schema.columns()
    lines = [column_line(field, columns[field.name]) for field in table.arrow_schema]
    head = "| column | type | null | what it is |\n| --- | --- | --- | --- |"
    return f"### `{table.name}`: {table.purpose}\n{layout}\n\n{head}\n" + "\n".join(lines)


def column_line(field: pa.Field, column: dy.Column) -> str:
    is_null = "yes" if column.nullable else ""
    return f"| `{field.name}` | {type_name(field.type)} | {is_null} | {describe_column(column)} |"


def type_name(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"struct ({', '.join(f'{field.name} {type_name(field.type)}' for field in kind)})"
    if pa.types.is_timestamp(kind):
        return f"timestamp, µs, {kind.tz}"
    return str(kind)


def describe_column(column: dy.Column) -> str:
    """Description, allowed values and bounds of a column."""
    parts = [column.description or ""]
    rules = column.check.values() if isinstance(column.check, dict) else ()
    parts += [
        f"one of {', '.join(f'`{value}`' for value in rule.allowed)}"
        for rule in rules
        if isinstance(rule, OneOf)
    ]
    bounds = {"min": ">=", "min_exclusive": ">", "max": "<=", "max_exclusive": "<"}
    for name, sign in bounds.items():
        bound = getattr(column, name, None)
        if bound is not None:
            parts.append(f"{sign} {bound}")
    return "; ".join(parts).replace("|", "\\|")


def with_tables(text: str) -> str:
    """`text` with the part between the two markers replaced. Raises ValueError if a marker is missing."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no part between {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{all_tables()}\n{END}", text)


def all_columns() -> str:
    """JSON: table -> column -> type (`pipeline/store/column_types.py`), in the order of the contracts."""
    kinds = {
        table: {name: kind_of(dtype) for name, dtype in schema.create_empty().schema.items()}
        for table, schema in SCHEMAS.items()
    }
    return json.dumps(kinds, indent=1) + "\n"


if __name__ == "__main__":
    COLUMNS.write_text(all_columns())
    README.write_text(with_tables(README.read_text()))
