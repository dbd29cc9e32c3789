"""How a table of the store is laid out as a Delta table: its creation, its properties, and columns that
join it later.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, Schema

from pipeline.store.errors import StoreError
from pipeline.store.parquet import partition_name, with_partitions
from pipeline.store.tables import LAYOUT_VERSION, Table

LAYOUT_KEY = "spo.layoutVersion"
CONFIGURATION = {
    "delta.enableChangeDataFeed": "true",
    # The log must outlive every pin and watermark, so it is never cut; a commit in it is a few kilobytes.
    "delta.enableExpiredLogCleanup": "false",
    LAYOUT_KEY: str(LAYOUT_VERSION),
}


def create(uri: str, table: Table, storage_options: dict[str, str] | None = None) -> None:
    """Make the table there, unless it is there already."""
    DeltaTable.create(
        uri,
        schema=with_partitions(table, table.arrow_schema),
        mode="ignore",
        partition_by=[partition_name(column) for column in table.partition_by],
        description=table.purpose,
        configuration=CONFIGURATION,
        storage_options=storage_options,
        raise_if_key_not_exists=False,
    )


def creation_actions(table: Table) -> list[dict[str, Any]]:
    """What the first entry of its log says, beside who wrote it: delta-rs says it of a table that is
    thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="spo-table-") as folder:
        create(folder, table)
        first = next(Path(folder, "_delta_log").glob("*.json"))
        actions = [json.loads(line) for line in first.read_text().splitlines()]
    return [action for action in actions if "commitInfo" not in action]


def open_table(uri: str, storage_options: dict[str, str] | None, version: int | None = None) -> DeltaTable:
    """Handle on a table; raises StoreError for one that a newer program has laid out."""
    handle = DeltaTable(uri, version=version, storage_options=storage_options)
    layout = int(handle.metadata().configuration.get(LAYOUT_KEY, LAYOUT_VERSION))
    if layout > LAYOUT_VERSION:
        raise StoreError(f"{uri} has layout {layout}, this program knows {LAYOUT_VERSION}: update spo")
    return handle


def new_fields(handle: DeltaTable, table: Table) -> list[dict[str, Any]]:
    """Columns of the contract that the table does not have, as the protocol describes them.

    Raises StoreError for a column that the table has with another type.
    """
    known = {field["name"]: field["type"] for field in fields_of(handle.schema())}
    missing = []
    for field in fields_of(Schema.from_arrow(table.arrow_schema)):
        if field["name"] not in known:
            missing.append(field)
        elif known[field["name"]] != field["type"]:
            raise StoreError(
                f"column {field['name']} has type {known[field['name']]} in {handle.table_uri},"
                f" {field['type']} in the contract: update spo, or write to another store"
            )
    return missing


def fields_of(schema: Schema) -> list[dict[str, Any]]:
    return json.loads(schema.to_json())["fields"]


def metadata_action(handle: DeltaTable, more_fields: list[dict[str, Any]]) -> dict[str, Any]:
    """The table's metadata with more columns."""
    now = handle.metadata()
    schema = {"type": "struct", "fields": [*fields_of(handle.schema()), *more_fields]}
    return {
        "metaData": {
            "id": now.id,
            "name": now.name,
            "description": now.description,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(schema, separators=(",", ":")),
            "partitionColumns": now.partition_columns,
            "createdTime": now.created_time,
            "configuration": now.configuration,
        }
    }
