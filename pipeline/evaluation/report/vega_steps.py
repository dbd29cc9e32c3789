"""Interactive charts over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.report.curves import Line, Panel
from pipeline.evaluation.report.figures import label
from pipeline.evaluation.report.progress import Fresh, Point, Series
from pipeline.evaluation.report.vega import (
    PERCENT,
    Spec,
    colours,
    link,
    page,
    pick,
    picked,
    short,
    shown,
    steps_axis,
    verdict_colours,
)

POINTS = 300  # of a line; longer ones are thinned by buckets that keep their extremes
DASHES = ([1, 0], [6, 3], [2, 2], [7, 2, 2, 2])


def curve(panel: Panel, addresses: Sequence[str | None]) -> Spec:
    """A panel over steps. `addresses`: of each line, what a step's number is appended to; None for no link.

    The mean of seeds has the range of the seeds behind it; a single seed has its single batches.
    """
    values = [value for index, line in enumerate(panel.lines) for value in _points(index, line, panel)]
    y = {"type": "quantitative"} | _scale(panel, values)
    named = colours([line.label for line in panel.lines], [line.colour for line in panel.lines])
    drawn: Spec = {"y": y | {"field": "y"}, "color": named, "opacity": picked(1.0)}
    if any(line.dash for line in panel.lines):
        domain = [label(line.label) for line in panel.lines]
        scale = {"domain": domain, "range": [DASHES[line.dash % len(DASHES)] for line in panel.lines]}
        drawn["strokeDash"] = {"field": "label", "type": "nominal", "scale": scale}
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 1.7, "clip": True},
            "params": [pick(), _zoom()],
            "encoding": drawn,
        },
        _targets(y | {"field": "y"}, named, addresses, _tooltip(panel)),
    ]
    if any("batch" in value for value in values):
        faint = {"y": y | {"field": "batch"}, "color": named, "opacity": picked(0.3)}
        layers.insert(0, _behind("batch", {"type": "line", "strokeWidth": 0.7, "clip": True}, faint))
    if any("low" in value for value in values):
        band = {"y": y | {"field": "low"}, "y2": {"field": "high"}, "color": named, "opacity": picked(0.2)}
        layers.insert(0, _behind("low", {"type": "area", "clip": True}, band))
    return page(values, {"x": steps_axis()}, layers, height=190)


def _behind(column: str, mark: Spec, encoding: Spec) -> Spec:
    """A layer of the points that have a column."""
    return {"transform": [{"filter": f"isValid(datum.{column})"}], "mark": mark, "encoding": encoding}


def _scale(panel: Panel, values: Sequence[Spec]) -> Spec:
    """Scale and axis of the values of a panel."""
    heights = [value[name] for value in values for name in ("y", "low", "high", "batch") if name in value]
    axis: Spec = {"title": panel.unit, "tickCount": 5, "format": PERCENT if panel.kind == "share" else "~g"}
    if panel.kind == "log" and min(heights) > 0:
        first, last = math.floor(math.log10(min(heights))), math.ceil(math.log10(max(heights)))
        ticks = [m * 10.0**e for e in range(first, last + 1) for m in (1, 3)]
        return {"scale": {"type": "log", "nice": False}, "axis": axis | {"values": ticks}}
    if panel.kind != "share" and max(map(abs, heights)) >= 10_000:
        axis["format"] = "~s"
    return {"scale": {"zero": panel.kind == "share"}, "axis": axis}


def _points(index: int, line: Line, panel: Panel) -> list[Spec]:
    """The points of a line; of several seeds with the range, of one with the value of the batch."""
    mean, name = line.mean, label(line.label)
    several = len(line.smooth) > 1
    raw = dict(zip(line.traces[0].steps, line.traces[0].values, strict=True))
    spikes = mean if several else np.array([raw[step] for step in line.steps])
    low, high = line.smooth.min(axis=0), line.smooth.max(axis=0)
    values = []
    for i in thinned(spikes):
        value: Spec = {"x": line.steps[i], "y": short(mean[i]), "label": name, "line": index}
        if several:
            value |= {"low": short(low[i]), "high": short(high[i])}
        else:
            value["batch"] = short(spikes[i])
        if panel.kind == "log" and not several and value["batch"] <= 0:
            del value["batch"]
        values.append(value)
    return values


def thinned(values: np.ndarray) -> list[int]:
    """Indices of at most about POINTS values: of each bucket those of its smallest and its largest."""
    if len(values) <= POINTS:
        return list(range(len(values)))
    size = math.ceil(2 * len(values) / POINTS)
    chosen = {0, len(values) - 1}
    for begin in range(0, len(values), size):
        part = values[begin : begin + size]
        chosen |= {begin + int(part.argmin()), begin + int(part.argmax())}
    return sorted(chosen)


def over_steps(title: str, share: bool, series: Sequence[Series]) -> Spec:
    """Estimates at steps with their intervals."""
    values = [_estimate(point, label(one.label)) for one in series for point in one.points]
    axis: Spec = {"title": title, "tickCount": 5} | ({"format": PERCENT} if share else {})
    highest = max(point.value if point.high is None else point.high for one in series for point in one.points)
    scale: Spec = {"zero": True} if highest > 0 else {"domain": [0, 0.05 if share else 1]}
    y = {"type": "quantitative", "axis": axis, "scale": scale}
    named = colours([one.label for one in series], [one.colour for one in series])
    form = PERCENT.replace("0", "1") if share else ".3~f"
    tooltip = [shown("label", ""), shown("x", "step"), shown("y", title, form)]
    bounded = any("low" in value for value in values)
    if bounded:
        tooltip += [shown("low", "from (95 %)", form), shown("high", "to (95 %)", form)]
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 1.7},
            "params": [pick()],
            "encoding": {"y": y | {"field": "y"}, "color": named, "opacity": picked(1.0)},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 55},
            "encoding": {
                "y": y | {"field": "y"},
                "color": named,
                "opacity": picked(1.0),
                "tooltip": tooltip,
            },
        },
    ]
    if bounded:
        band = {"y": y | {"field": "low"}, "y2": {"field": "high"}, "color": named, "opacity": picked(0.15)}
        layers.insert(0, _behind("low", {"type": "area"}, band))
    return page(values, {"x": steps_axis()}, layers, height=220)


def _estimate(point: Point, name: str) -> Spec:
    value: Spec = {"x": point.step, "y": short(point.value), "label": name}
    if point.low is not None and point.high is not None:
        value |= {"low": short(point.low), "high": short(point.high)}
    return value


def fresh_bars(fresh: Fresh) -> Spec:
    """Share of each verdict by the step that sampled the rows."""
    values = [
        {"x": step, "verdict": label(verdict), "rows": rows, "order": order}
        for order, (verdict, counts) in enumerate(fresh.rows.items())
        for step, rows in zip(fresh.steps, counts, strict=True)
        if rows
    ]
    encoding = {
        "x": {"field": "x", "type": "ordinal", "title": "step of the policy", "axis": {"labelAngle": 0}},
        "y": {
            "field": "rows",
            "type": "quantitative",
            "stack": "normalize",
            "axis": {"title": "share of rows", "format": PERCENT},
        },
        "color": verdict_colours(fresh.verdicts, "verdict"),
        "order": {"field": "order", "type": "quantitative"},
        "tooltip": [shown("x", "step"), shown("verdict", ""), shown("rows", "rows")],
    }
    return page(values, encoding, [{"mark": {"type": "bar"}}], height=220)


def _zoom() -> Spec:
    """Dragging moves along the steps, the wheel with shift zooms; without shift the page scrolls."""
    interval = {"type": "interval", "encodings": ["x"], "zoom": "wheel![event.shiftKey]"}
    return {"name": "zoom", "select": interval, "bind": "scales"}


def _tooltip(panel: Panel) -> list[Spec]:
    """Values of a point: of a mean with its range, of a single seed with the value of the batch."""
    several = any(len(line.smooth) > 1 for line in panel.lines)
    ranged = [("low", "lowest seed"), ("high", "highest seed")]
    columns = [("y", f"mean ({panel.unit})"), *(ranged if several else [("batch", "this batch")])]
    named = [shown("label", "")] if len(panel.lines) > 1 else []
    return [*named, shown("x", "step", ",d"), *(shown(name, title, ".4~g") for name, title in columns)]


def _targets(y: Spec, named: Spec, addresses: Sequence[str | None], tooltip: list[Spec]) -> Spec:
    """Points that appear under the pointer, with their values, and that lead to their step."""
    near = {"name": "near", "select": {"type": "point", "on": "pointerover", "clear": "pointerout"}}
    layer: Spec = {"mark": {"type": "point", "filled": True, "size": 80, "clip": True}, "params": [near]}
    opacity = {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0}
    encoding = {"y": y, "color": named, "opacity": opacity, "tooltip": tooltip}
    if any(addresses):
        # Addresses are those of Links, with everything from data quoted in them.
        base = "[" + ",".join(f"'{one or ''}'" for one in addresses) + "][datum.line]"
        layer["transform"] = [{"calculate": f"{base} ? {base} + datum.x : null", "as": "href"}]
        encoding |= link(True)
    return layer | {"encoding": encoding}
