"""Interactive charts of levels side by side: policies, writers, families, problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline.evaluation.report.figures import label
from pipeline.evaluation.report.progress import Levels
from pipeline.evaluation.report.vega import (
    PERCENT,
    Spec,
    colour,
    link,
    page,
    rows_axis,
    short,
    shown,
    verdict_colours,
)
from pipeline.evaluation.report.verdicts import Verdicts


def levels(found: Levels, addresses: Sequence[str | None]) -> Spec:
    """Estimates side by side with their intervals."""
    names = [label(name) for name, _, _ in found.rows]
    values = [
        {
            "label": name,
            "y": short(one.mean),
            "low": short(one.low),
            "high": short(one.high),
            "problems": one.problems,
            "seeds": one.seeds,
        }
        | ({"href": href} if href else {})
        for name, (_, one, _), href in zip(names, found.rows, addresses, strict=True)
    ]
    share, title = found.metric.share, found.metric.label
    form = ".1%" if share else ".3~f"
    highest = max(one.high for _, one, _ in found.rows)
    axis: Spec = {"title": title, "tickCount": 5, "format": PERCENT if share else "~g"}
    scale: Spec = {"zero": True} if highest > 0 else {"domain": [0, 0.05 if share else 1]}
    x = {"type": "quantitative", "axis": axis, "scale": scale}
    named = {
        "field": "label",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": names, "range": [colour(tint) for *_, tint in found.rows]},
    }
    tooltip = [shown("label", ""), shown("y", title, form), shown("low", "from (95 %)", form)]
    tooltip += [shown("high", "to (95 %)", form), shown("problems", "problems"), shown("seeds", "seeds")]
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2.4},
            "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
            "encoding": {"x": x | {"field": "y"}} | link(any(addresses)),
        },
    ]
    return page(values, {"y": rows_axis(), "color": named, "tooltip": tooltip}, layers, step=26)


def verdict_bars(verdicts: Verdicts, names: Sequence[str], addresses: Sequence[str | None]) -> Spec:
    """Share of each verdict per writer."""
    writers = [writer for writer in verdicts.writers if writer.judged]
    values = [
        {
            "label": label(name),
            "verdict": verdict,
            "rows": writer.counts[verdict],
            "share": short(writer.counts[verdict] / writer.judged),
            "order": order,
        }
        | ({"href": href} if href else {})
        for writer, name, href in zip(writers, names, addresses, strict=True)
        for order, verdict in enumerate(verdicts.shown)
        if writer.counts.get(verdict)
    ]
    encoding = {
        "y": rows_axis(),
        "x": {
            "field": "share",
            "type": "quantitative",
            "stack": "zero",
            "scale": {"domain": [0, 1]},
            "axis": {"title": "share of the judged trajectories", "format": PERCENT, "tickCount": 5},
        },
        "color": verdict_colours(verdicts.shown, "verdict"),
        "order": {"field": "order", "type": "quantitative"},
        "tooltip": [
            shown("label", ""),
            shown("verdict", ""),
            shown("rows", "trajectories"),
            shown("share", "share", ".1%"),
        ],
    }
    return page(values, encoding | link(any(addresses)), [{"mark": {"type": "bar"}}], step=24)


def families(groups: Sequence[dict[str, Any]]) -> Spec:
    """pass@1 of each family before and after."""
    values = [
        {
            "label": f"{label(group['group'])} ({group['problems']})",
            "before": short(group["pass_1_before"]),
            "after": short(group["pass_1_after"]),
            "change": _change(group["pass_1_before"], group["pass_1_after"]),
        }
        for group in groups
    ]
    x = {"type": "quantitative", "axis": {"title": "pass@1", "format": PERCENT, "tickCount": 5}}
    tooltip = [shown("label", ""), shown("before", "before", ".1%"), shown("after", "after", ".1%")]
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": x | {"field": "before"}, "x2": {"field": "after"}},
        },
        {
            "mark": {"type": "point", "size": 50, "fill": "var(--paper)", "opacity": 1},
            "encoding": {"x": x | {"field": "before"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"x": x | {"field": "after"}},
        },
    ]
    return page(values, {"y": rows_axis(), "color": _change_colours(), "tooltip": tooltip}, layers, step=22)


def scatter(problems: pl.DataFrame, addresses: dict[str, str]) -> Spec:
    """pass@1 of problems before and after; equal ones are one point, which leads to the first of them."""
    known = problems.drop_nulls(["pass_1_before", "pass_1_after"])
    points = known.group_by(x=pl.col("pass_1_before").round(3), y=pl.col("pass_1_after").round(3)).agg(
        "problem_id"
    )
    values = []
    for x, y, ids in points.sort("x", "y").iter_rows():
        names = sorted(ids)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        value = {
            "x": x,
            "y": y,
            "count": len(names),
            "problems": label(", ".join(names[:3])) + more,
            "change": _change(x, y),
        }
        values.append(value | ({"href": addresses[names[0]]} if names[0] in addresses else {}))
    limits = {"scale": {"domain": [-0.04, 1.04], "nice": False}, "type": "quantitative"}
    tooltip = [shown("problems", "problems"), shown("count", "number")]
    tooltip += [shown("x", "before", ".1%"), shown("y", "after", ".1%")]
    encoding = {
        "x": limits | {"field": "x", "axis": {"title": "pass@1 before", "format": PERCENT, "tickCount": 5}},
        "y": limits
        | {"field": "y", "axis": {"title": "pass@1 after, mean of seeds", "format": PERCENT, "tickCount": 5}},
        "color": _change_colours(),
        "size": {"field": "count", "type": "quantitative", "legend": None, "scale": {"range": [40, 420]}},
        "tooltip": tooltip,
    }  # fmt: skip
    mark = {"type": "point", "filled": True, "opacity": 0.75}
    return page(values, encoding | link(bool(addresses)), [{"mark": mark}], height=360)


def _change(before: float, after: float) -> str:
    return "higher" if after > before else "lower" if after < before else "the same"


def _change_colours() -> Spec:
    scale = {"domain": ["higher", "lower", "the same"], "range": [colour(0), colour(1), colour(7)]}
    return {"field": "change", "type": "nominal", "scale": scale, "legend": {"title": None, "orient": "top"}}
