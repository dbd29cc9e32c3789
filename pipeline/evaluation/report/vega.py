"""What the Vega-Lite specifications of all charts share.

Colours are CSS variables, which the page's script replaces by their values. Text from data is only ever a
value in `data` or a title in a scale, never a part of an expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.evaluation.report.figures import SERIES, label
from pipeline.evaluation.report.verdicts import COLOURS

Spec = dict[str, Any]
AXES = {
    "domainColor": "var(--grid)",
    "gridColor": "var(--grid)",
    "labelColor": "var(--muted)",
    "tickColor": "var(--grid)",
    "titleColor": "var(--muted)",
    "titleFontWeight": "normal",
    "labelFontSize": 11,
    "titleFontSize": 11,
    "labelOverlap": True,
}
CONFIG = {
    "axis": AXES,
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelLimit": 190,
        "symbolType": "square",
        "symbolOpacity": 1,
    },
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
}
PERCENT = ".0%"
# Long names lose their middle, because runs differ at their ends. The page's script shortens more on narrow
# screens.
MIDDLE = "length(datum.label) > 44 ? slice(datum.label, 0, 26) + '…' + slice(datum.label, -16) : datum.label"


def colour(index: int | None) -> str:
    return "var(--muted)" if index is None else f"var(--c{index % SERIES})"


def page(values: list[Spec], encoding: Spec, layers: list[Spec], height: int = 0, step: int = 0) -> Spec:
    """A whole specification, as wide as its place on the page."""
    size: Spec = {"height": height, "autosize": {"type": "fit", "contains": "padding"}}
    return {
        "width": "container",
        **(size if height else {"height": {"step": step}}),
        "background": None,
        "config": CONFIG,
        "data": {"values": values},
        "encoding": encoding,
        "layer": layers,
    }


def steps_axis() -> Spec:
    return {
        "field": "x",
        "type": "quantitative",
        "title": "step",
        "scale": {"zero": False, "nice": False},
        "axis": {"tickMinStep": 1, "tickCount": 5, "format": ",d"},
    }


def rows_axis() -> Spec:
    return {
        "field": "label",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 330, "labelExpr": MIDDLE, "ticks": False, "domain": False},
    }


def pick() -> Spec:
    """A click on the legend shows one line."""
    return {"name": "pick", "select": {"type": "point", "fields": ["label"]}, "bind": "legend"}


def picked(opacity: float) -> Spec:
    return {"condition": {"param": "pick", "value": opacity}, "value": 0.06}


def link(linked: bool) -> Spec:
    return {"href": {"field": "href", "type": "nominal"}} if linked else {}


def colours(names: Sequence[str], tints: Sequence[int | None]) -> Spec:
    scale = {"domain": [label(name) for name in names], "range": [colour(tint) for tint in tints]}
    longest = max(map(len, names), default=0)
    columns = 2 if longest > 12 else 3
    legend = {"title": None, "orient": "top", "columns": 1 if longest > 14 else columns}
    return {"field": "label", "type": "nominal", "scale": scale, "legend": legend if len(names) > 1 else None}


def verdict_colours(verdicts: Sequence[str], column: str) -> Spec:
    scale = {"domain": list(verdicts), "range": [colour(COLOURS.get(verdict)) for verdict in verdicts]}
    legend = {"title": None, "orient": "top", "columns": 3}
    return {"field": column, "type": "nominal", "scale": scale, "legend": legend}


def shown(name: str, title: str, form: str | None = None) -> Spec:
    shown: Spec = {"field": name, "title": title or " "}
    if form:
        return shown | {"type": "quantitative", "format": form}
    return shown | {"type": "nominal"}


def short(value: float) -> float:
    """A number with six significant digits: more cannot be seen."""
    return float(f"{value:.6g}")
