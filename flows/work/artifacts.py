"""Summaries of stages, shown on the terminal and, in a Prefect run, as artifacts in its UI."""

from __future__ import annotations

from typing import Any

from flows.display.terminal import show_table
from flows.runtime.turns import in_run
from pipeline.store import Store, connect, query

SHOWN_ROWS = 20


def report_table(key: str, title: str, rows: list[dict]) -> None:
    """Show a table on the terminal, and in Prefect's UI if there is a run."""
    show_table(title, rows)
    if rows:
        table_artifact(key, rows, title)


def table_artifact(key: str, rows: list[dict], description: str) -> None:
    """Create an artifact in Prefect's UI, if there is a run."""
    if in_run():
        from prefect.artifacts import create_table_artifact

        create_table_artifact(key=key, table=rows, description=description)


def page_artifact(key: str, page: str, description: str) -> None:
    """The same with a page in Markdown."""
    if in_run():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(page, key=key, description=description)


def query_rows(store: str, sql: str, parameters: dict[str, Any]) -> list[dict]:
    with connect(Store(store)) as connection:
        return query(connection, sql, parameters).to_dicts()
