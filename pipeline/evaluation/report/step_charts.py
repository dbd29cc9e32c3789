"""Charts over steps as drawings: what is shown without scripts, and printed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline.evaluation.report.curves import Line, Panel
from pipeline.evaluation.report.figures import DASHES, INK, MUTED, colour, drawing, svg
from pipeline.evaluation.report.progress import Fresh, Series
from pipeline.evaluation.report.text import count, number
from pipeline.evaluation.report.verdicts import COLOURS

LOG_SCALE_FROM = 30.0  # largest / smallest value from which a panel that may be logarithmic is
PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.0f} %")
COUNTS = FuncFormatter(lambda value, _: count(value))
MOST_DECIMALS = 9


class Short(Formatter):
    """Three decimals at most, or as many as tell each number of the axis from its neighbours."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        return _short(value, 3)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        ticks = np.asarray(values, dtype=float)
        step = np.diff(ticks).min() if len(ticks) > 1 else np.inf
        errors = {n: np.abs(ticks.round(n) - ticks).max(initial=0) for n in range(3, MOST_DECIMALS)}
        decimals = next((n for n, error in errors.items() if error < step / 20), MOST_DECIMALS)
        return [_short(value, decimals) for value in values]


def curve(panel: Panel, fresh: list[int], name: str) -> Markup:
    """One panel over steps: raw values faint, running means strong, ticks at the foot where fresh data came
    in.
    """
    with drawing(3.45, 2.05) as (figure, axes):
        for line in panel.lines:
            _trace(axes, line)
        _scale(axes, panel)
        axes.vlines(fresh, 0, 0.045, transform=axes.get_xaxis_transform(), color=INK, linewidth=1)
        _steps(axes)
        axes.margins(x=0.01)
        axes.set_ylabel(panel.unit)
        return svg(figure, name, f"{panel.title} ({panel.unit}) over steps")


def _steps(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step")


def _trace(axes: Axes, line: Line) -> None:
    """The mean of the seeds and their range; of a single seed its running mean and its values."""
    tint, dash = colour(line.colour), DASHES[line.dash % len(DASHES)]
    if len(line.smooth) > 1:
        low, high = line.smooth.min(axis=0), line.smooth.max(axis=0)
        axes.fill_between(line.steps, low, high, color=tint, alpha=0.2, linewidth=0)
    else:
        raw = line.traces[0]
        faint = 0.22 if len(raw.steps) < 600 else 0.08
        axes.plot(raw.steps, raw.values, color=tint, linewidth=0.7, alpha=faint)
    axes.plot(line.steps, line.mean, color=tint, linestyle=dash, linewidth=1.5, zorder=3)


def _scale(axes: Axes, panel: Panel) -> None:
    """The scale and the numbers of the value axis."""
    low, high = axes.get_ylim()
    if panel.kind == "share":
        axes.yaxis.set_major_formatter(PERCENT)
        axes.set_ylim(bottom=0, top=min(1.0, max(high, 0.05)))
        return
    if panel.kind == "log" and _spread(panel) > LOG_SCALE_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(Short())
        axes.yaxis.set_minor_locator(NullLocator())
        return
    if low < 0 < high and panel.kind == "plain":
        axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.yaxis.set_major_formatter(COUNTS if high > 50 else Short())
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _spread(panel: Panel) -> float:
    """Largest over smallest value above 0."""
    traces = [trace for line in panel.lines for trace in line.traces]
    values = [value for trace in traces for value in trace.values if value > 0]
    return max(values) / min(values) if values else 1.0


def _short(value: float, decimals: int) -> str:
    """A number of an axis, without trailing zeros; very small ones with an exponent."""
    if value and abs(value) < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-").replace("-", "\u2212")
    text = number(value, decimals).rstrip("0").rstrip(".,")
    return text if text not in ("", "−") else "0"


def over_steps(title: str, share: bool, series: Sequence[Series], name: str) -> Markup:
    """Estimates at steps with their intervals."""
    with drawing(3.45, 2.3) as (figure, axes):
        for one in series:
            tint, points = colour(one.colour), one.points
            steps = [point.step for point in points]
            axes.plot(steps, [p.value for p in points], "o-", color=tint, linewidth=1.5, markersize=4)
            bounds = [(p.step, p.low, p.high) for p in points if p.low is not None and p.high is not None]
            if bounds:
                at, low, high = zip(*bounds, strict=True)
                axes.vlines(at, low, high, color=tint, linewidth=1.1, alpha=0.7)
        axes.set_ylim(bottom=0)
        _steps(axes)
        axes.yaxis.set_major_formatter(PERCENT if share else Short())
        axes.set_ylabel(title)
        return svg(figure, name, f"{title} over steps")


def fresh_bars(fresh: Fresh, name: str) -> Markup:
    """Share of each verdict by the step that sampled the rows."""
    table = np.array([fresh.rows[verdict] for verdict in fresh.verdicts], dtype=float)
    shares = table / table.sum(axis=0)
    places = np.arange(len(fresh.steps))
    with drawing(3.45, 2.3) as (figure, axes):
        base = np.zeros(len(places))
        for verdict, share in zip(fresh.verdicts, shares, strict=True):
            tint = colour(COLOURS[verdict]) if verdict in COLOURS else MUTED
            axes.bar(places, share, bottom=base, width=0.85, color=tint, linewidth=0)
            base += share
        stride = max(1, len(places) // 6)
        axes.set_xticks(places[::stride], [count(step) for step in fresh.steps[::stride]])
        axes.set_xlabel("step of the policy")
        axes.set_ylabel("share of rows")
        axes.yaxis.set_major_formatter(PERCENT)
        axes.set_ylim(0, 1)
        return svg(figure, name, f"Verdicts of fresh rows of {fresh.label} by step")
