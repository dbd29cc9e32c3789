"""Tables and views: windows of rows, and facets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flows.view.selection import Selection, parse_filters
from flows.view.visit import Visit
from flows.view.window import PAGE_ROWS, facets, indexed_table, window

MOST_ROWS = 500


def selection(visit: Visit) -> Selection:
    """The rows that a URL asks for: `f` filters (repeated), `q` search, `sort`, `after`, `columns=all`."""
    added = []
    if visit.get("new_column") and visit.get("new_operator"):  # the form that adds a filter
        added = [f"{visit.get('new_column')}:{visit.get('new_operator')}:{visit.get('new_value')}"]
    return Selection(
        name=visit.names["name"],
        filters=parse_filters([*visit.all("f"), *added]),
        search=visit.get("q"),
        sort=visit.get("sort"),
        after=visit.get("after"),
        all_columns=visit.get("columns") == "all",
    )


def window_page(visit: Visit) -> Any:
    """A page of rows. A filter that the form added becomes part of the address."""
    from starlette.responses import RedirectResponse

    chosen = selection(visit)
    if visit.get("new_operator"):
        plain = {"new_column": "", "new_operator": "", "new_value": "", "after": ""}
        return RedirectResponse(visit.here(f=[str(one) for one in chosen.filters], **plain), 303)
    shown = window(visit.connection, chosen, visit.integer("rows", PAGE_ROWS, 1, MOST_ROWS), visit.search)
    table = indexed_table(chosen.name, shown.types)
    return "table.html", {
        "chosen": chosen,
        "window": shown,
        "note": visit.search.note(table) if chosen.search and table else "",
        "filters": [str(one) for one in chosen.filters],
    }


def facets_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    """Counts of the selected rows by columns with few values: part of the page of a table, or a page."""
    chosen = selection(visit)
    names = tuple(visit.all("facet"))
    # They do not depend on the order and the page.
    question = (visit.at, replace(chosen, sort="", after="", all_columns=False), names)
    counted = visit.explorer.counts.get(
        question, lambda: facets(visit.connection, chosen, names, visit.search)
    )
    template = "facets_part.html" if visit.get("part") else "facets.html"
    settings = {"q": chosen.search, "sort": chosen.sort, "columns": "all" if chosen.all_columns else ""}
    return template, {
        "chosen": chosen,
        "total": counted.total,
        "partial": counted.partial,
        "facets": counted.columns,
        "filters": [str(one) for one in chosen.filters],
        "kept": settings,
    }
