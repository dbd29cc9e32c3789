"""Queries whose rows can differ from run to run: a LIMIT or a first row without an order, a sample."""

from __future__ import annotations

from typing import Any

from pipeline.store.sql_parser import nodes, select_node

# Aggregates that take any of several values, and functions that draw.
ANY_OF = ("any_value", "first", "arbitrary", "random", "uuid", "gen_random_uuid")
# Modifiers that keep the first rows, and window functions whose values depend on the order.
FIRST_ROWS = {
    "LIMIT_MODIFIER": "LIMIT",
    "LIMIT_PERCENT_MODIFIER": "LIMIT",
    "DISTINCT_MODIFIER": "DISTINCT ON",
}
BY_ORDER = ("row_number", "first_value", "last_value", "nth_value", "lag", "lead", "ntile")
DIFFER = "the selected rows can differ from run to run"


def undetermined(query: str) -> str | None:
    """Why a query may select other rows the next time, in one line; None if nothing says so.

    Raises SqlError if it is not one SELECT.
    """
    reasons = (undetermined_node(node) for node in nodes(select_node(query)))
    return next((reason for reason in reasons if reason), None)


def undetermined_node(node: dict[str, Any]) -> str | None:
    modifiers = {str(one.get("type")): one for one in node.get("modifiers") or [] if isinstance(one, dict)}
    order = modifiers.get("ORDER_MODIFIER")
    first = next((word for kind, word in FIRST_ROWS.items() if is_first_rows(modifiers.get(kind))), None)
    if first and order is None:
        return f"{first} without ORDER BY: {DIFFER}; add ORDER BY trajectory_id"
    if first and order is not None and (ties := tied_columns(order)):
        return f"{first} with ORDER BY {ties}: rows with equal values are in any order; add trajectory_id"
    if node.get("sample"):
        return f"a sample: {DIFFER}; order by a hash of trajectory_id and take a LIMIT"
    name = str(node.get("function_name", "")).lower()
    if node.get("class") == "WINDOW" and name in BY_ORDER and not node.get("orders"):
        return f"{name}() over rows without ORDER BY: {DIFFER}; add ORDER BY trajectory_id"
    if name in ANY_OF and not (node.get("order_bys") or {}).get("orders") and not node.get("orders"):
        return f"{name}() gives any of several values: {DIFFER}"
    return None


def is_first_rows(modifier: dict[str, Any] | None) -> bool:
    """Whether a modifier takes some rows out of several: LIMIT, DISTINCT ON."""
    if modifier is None:
        return False
    return modifier["type"] != "DISTINCT_MODIFIER" or bool(modifier.get("distinct_on_targets"))


def tied_columns(order: dict[str, Any]) -> str:
    """The columns of an ORDER BY that does not tell rows apart; "" if it may: an id, ALL, or a position."""
    parts = [part for one in order["orders"] for part in nodes(one["expression"])]
    names = [part["column_names"][-1] for part in parts if part.get("class") == "COLUMN_REF"]
    is_total = any(one["expression"].get("class") in ("STAR", "CONSTANT") for one in order["orders"])
    if is_total or not names or any(name.endswith("_id") for name in names):
        return ""
    return ", ".join(names)
