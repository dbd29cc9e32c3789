"""What the stages share: summaries shown on the terminal and kept as artifacts in Prefect's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact

from flows.display.terminal import show_table
from pipeline.store import Store, connect, query

if TYPE_CHECKING:
    pass


SHOWN_ROWS = 20


def report_table(key: str, title: str, rows: list[dict]) -> None:
    """The same summary on the terminal and as an artifact in Prefect's UI."""
    show_table(title, rows)
    if rows:
        create_table_artifact(key=key, table=rows, description=title)


def rows_of(store: str, sql: str, parameters: dict[str, Any]) -> list[dict]:
    with connect(Store(store)) as connection:
        return query(connection, sql, parameters).to_dicts()
