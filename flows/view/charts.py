"""Line charts as inline SVG: classes instead of styles, so that the page needs no inline style."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from markupsafe import Markup, escape

from flows.view.runs import smoothed
from pipeline.text import visible_line

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 92, 12, 12, 40
POINTS = 1_000  # of a line; longer ones are thinned by buckets that keep their extremes
COLOURS = 8


@dataclass(frozen=True)
class Line:
    label: str
    steps: list[int]
    values: list[float]
    run: str = ""


def line_chart(
    title: str,
    unit: str,
    lines: list[Line],
    *,
    window: int = 1,
    log: bool = False,
    address: Callable[[Line, int], str] | None = None,
) -> Markup:
    """A chart over steps: raw values faint, running means over `window` steps strong; `log` leaves values
    of 0 and below out.

    Label and value of each point appear on hover, where a line has few points.
    """
    plotted = [_positive(line) if log else line for line in lines]
    visible = [(colour, line) for colour, line in enumerate(plotted) if line.values]
    if not visible:
        return Markup(f'<p class="quiet">no values{" above 0" if log else ""}</p>')
    transform = math.log10 if log else float
    low, high = _range([value for _, line in visible for value in line.values], transform)
    first = min(line.steps[0] for _, line in visible)
    last = max(line.steps[-1] for _, line in visible)
    span = max(last - first, 1)

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / span, 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - (transform(value) - low) / (high - low)), 1)

    parts = [_axes(first, last, low, high, unit, log, x)]
    for colour, line in visible:
        name = f"c{colour % COLOURS}"
        if window > 1:
            parts.append(_path(line.steps, line.values, x, y, f"line faint {name}"))
        means = smoothed(line.values, window)
        parts.append(_path(line.steps, means, x, y, f"line {name}"))
        parts.append(_points(line, means, x, y, name, address))
    about = escape(visible_line(f"{title}, {unit}, over steps"))
    role = "group" if address else "img"  # what is in an image cannot be reached
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="{role}" aria-label="{about}">'
    return Markup(f"{head}{''.join(parts)}</svg>")


def _positive(line: Line) -> Line:
    pairs = [(step, value) for step, value in zip(line.steps, line.values, strict=True) if value > 0]
    return replace(line, steps=[step for step, _ in pairs], values=[value for _, value in pairs])


def _range(values: list[float], transform) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    low, high = transform(min(values)), transform(max(values))
    margin = 0.06 * (high - low) or max(abs(low) * 0.1, 1e-9)
    return low - margin, high + margin


def _axes(first: int, last: int, low: float, high: float, unit: str, log: bool, x) -> str:  # type: ignore[no-untyped-def]
    """Grid, numbers and names of both axes."""
    bottom, parts = HEIGHT - BOTTOM, []
    ticks = _ticks(low, high)
    for tick in ticks:
        place = round(TOP + (bottom - TOP) * (1 - (tick - low) / (high - low)), 1)
        text = _number(10**tick) if log else _tick_text(tick, ticks)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{place + 4}" text-anchor="end">{text}</text>')
    for tick in sorted({round(one) for one in _ticks(first, max(last, first + 1)) if first <= one <= last}):
        parts.append(
            f'<text class="tick" x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:,}</text>'
        )
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">step</text>'
    )
    scale = f"{unit}, log scale" if log else unit
    turned = f'transform="rotate(-90 12 {middle})" text-anchor="middle"'
    parts.append(f'<text class="axis" x="12" y="{middle}" {turned}>{escape(visible_line(scale))}</text>')
    return "".join(parts)


def _path(steps: list[int], values: list[float], x, y, name: str) -> str:  # type: ignore[no-untyped-def]
    points = " ".join(f"{x(step)},{y(value)}" for step, value in _thinned(steps, values))
    return f'<polyline class="{name}" points="{points}"/>'


def _points(line: Line, means: list[float], x, y, name: str, address) -> str:  # type: ignore[no-untyped-def]
    """Dots with the value on hover, about a hundred of a line and its extremes; a click opens the step."""
    stride = max(1, len(means) // 100)
    shown = {*range(0, len(means), stride), _index(line.values, max), _index(line.values, min)}
    dots = []
    for i in sorted(shown):
        step = line.steps[i]
        text = escape(visible_line(f"{line.label}: step {step:,}: {line.values[i]:.6g}"))
        place = f'cx="{x(step)}" cy="{y(means[i])}" r="4"'
        dot = f'<circle class="dot {name}" {place}><title>{text}</title></circle>'
        # Not in the order of keys: a chart has hundreds, and the form below opens any step.
        dots.append(
            f'<a href="{escape(address(line, step))}" aria-label="{text}" tabindex="-1">{dot}</a>'
            if address
            else dot
        )
    return "".join(dots)


def _index(values: list[float], extreme: Callable[..., int]) -> int:
    return extreme(range(len(values)), key=values.__getitem__)


def _thinned(steps: list[int], values: list[float]) -> list[tuple[int, float]]:
    """At most POINTS points; of each bucket its smallest and largest value, so that a spike stays."""
    pairs = list(zip(steps, values, strict=True))
    if len(pairs) <= POINTS:
        return pairs
    size = math.ceil(2 * len(pairs) / POINTS)
    extremes = []
    for begin in range(0, len(pairs), size):
        bucket = pairs[begin : begin + size]
        ends = {min(bucket, key=lambda pair: pair[1]), max(bucket, key=lambda pair: pair[1])}
        extremes += sorted(ends)
    return extremes


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two ends."""
    span = high - low
    step = 10 ** math.floor(math.log10(span / count))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= count:
            step *= factor
            break
    begin = math.ceil(low / step)
    return [round(step * i, 12) for i in range(begin, math.floor(high / step) + 1)]


def _tick_text(tick: float, ticks: list[float]) -> str:
    """A number of an axis with the digits that tell it from its neighbours."""
    step = min((b - a for a, b in pairwise(ticks)), default=0.0)
    largest = max(map(abs, ticks))
    if not step or largest >= 1e6 or largest < 1e-3:
        return _number(tick)
    text = f"{tick:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    text = f"{value:,.4g}" if 1e-4 <= abs(value) < 1e6 or not value else f"{value:.1e}"
    text = text.replace("e-0", "e-").replace("e+0", "e+")  # an axis has little room
    return text.replace("-", "\N{MINUS SIGN}")
