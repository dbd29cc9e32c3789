"""The charts of the report. A table next to each chart has the same numbers."""

from __future__ import annotations

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.report.comparison import Finding
from pipeline.evaluation.report.curves import Line, Panel
from pipeline.evaluation.report.figures import DASHES, GRID, INK, MUTED, PAPER, colour, drawing, label, svg
from pipeline.evaluation.report.text import count, ellipsis, number
from pipeline.evaluation.report.verdicts import COLOURS, Verdicts

UP, DOWN, SAME = 0, 1, 7  # series colours of a change
LOG_SCALE_FROM = 30.0  # largest / smallest value from which a panel that may be logarithmic is

PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.0f} %")
COUNTS = FuncFormatter(lambda value, _: count(value))
SHORT = FuncFormatter(lambda value, _: _short(value))


def _rows(axes: Axes, names: list[str]) -> None:
    """Named rows from the top down, without lines between them."""
    axes.set_yticks(range(len(names)), [ellipsis(label(name), 54) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def headline(finding: Finding, name: str) -> Markup:
    """The level before, after, and of each seed, with 95 % intervals."""
    levels = [("before", finding.before, SAME), *((seed.name, seed.after, UP) for seed in finding.seeds)]
    if len(finding.seeds) > 1:
        levels.append(("mean of seeds", finding.after, UP))
    with drawing(3.2, 0.5 + 0.21 * len(levels)) as (figure, axes):
        _rows(axes, [level for level, _, _ in levels])
        axes.axvline(finding.before.mean, color=colour(SAME), linewidth=0.9, linestyle=DASHES[2])
        for row, (_, value, tint) in enumerate(levels):
            _interval(axes, row, value, tint, bold=row in (0, len(levels) - 1))
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if finding.metric.share:
            axes.xaxis.set_major_formatter(PERCENT)
        return svg(figure, name, f"{finding.metric.label} before and after, with intervals")


def _interval(axes: Axes, row: int, value: Estimate, tint: int, bold: bool) -> None:
    """A dot at the mean and a line over the interval."""
    width, size = (2.4, 7.5) if bold else (1.2, 5.5)
    ends = [value.low, value.high]
    axes.plot(ends, [row, row], color=colour(tint), linewidth=width, solid_capstyle="round")
    axes.plot([value.mean], [row], "o", color=colour(tint), markersize=size, markeredgecolor=PAPER)


def verdict_bars(verdicts: Verdicts, name: str) -> Markup:
    """Share of each verdict, one bar per writer; trajectories without a verdict are left out."""
    writers = [writer for writer in verdicts.writers if writer.judged]
    rows = range(len(writers))
    with drawing(10.8, 0.4 + 0.25 * len(writers)) as (figure, axes):
        _rows(axes, [w.name if w.name == w.origin else f"{w.origin} · {w.name}" for w in writers])
        left = np.zeros(len(writers))
        for verdict in verdicts.shown:
            share = np.array([writer.counts.get(verdict, 0) / writer.judged for writer in writers])
            tint = colour(COLOURS[verdict])
            axes.barh(rows, share, left=left, height=0.62, color=tint, edgecolor=PAPER, linewidth=0.8)
            left += share
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PERCENT)
        for row, writer in enumerate(writers):
            axes.text(1.01, row, count(writer.judged), va="center", color=MUTED, clip_on=False)
        return svg(figure, name, "Share of verdicts by origin and policy")


def curve(panel: Panel, fresh: list[int], name: str) -> Markup:
    """One panel over steps: raw values faint, running means strong, ticks at the foot where fresh data came
    in.
    """
    with drawing(3.45, 1.95) as (figure, axes):
        for line in panel.lines:
            _trace(axes, line)
        _scale(axes, panel)
        axes.vlines(fresh, 0, 0.045, transform=axes.get_xaxis_transform(), color=INK, linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(x=0.01)
        axes.set_xlabel("step")
        return svg(figure, name, f"{panel.title} over steps")


def _trace(axes: Axes, line: Line) -> None:
    """The values and their running mean."""
    tint, dash = colour(line.colour), DASHES[line.dash % len(DASHES)]
    faint = 0.22 if len(line.steps) < 600 else 0.08
    axes.plot(line.steps, line.values, color=tint, linewidth=0.7, alpha=faint)
    axes.plot(line.steps, line.smooth, color=tint, linestyle=dash, linewidth=1.5, zorder=3)


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
        axes.yaxis.set_major_formatter(SHORT)
        axes.yaxis.set_minor_locator(NullLocator())
        return
    if low < 0 < high and panel.kind == "plain":
        axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.yaxis.set_major_formatter(COUNTS if high > 50 else SHORT)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _spread(panel: Panel) -> float:
    """Largest over smallest value above 0."""
    values = [value for line in panel.lines for value in line.values if value > 0]
    return max(values) / min(values) if values else 1.0


def _short(value: float) -> str:
    """A number of an axis, without trailing zeros."""
    text = number(value, 3).rstrip("0").rstrip(".,")
    return text if text not in ("", "−") else "0"


def family_changes(groups: list[dict], name: str) -> Markup:
    """pass@1 of each family: a ring before, a dot after, and a line between them."""
    with drawing(10.8, 0.55 + 0.2 * len(groups)) as (figure, axes):
        _rows(axes, [f"{group['group']} ({group['problems']})" for group in groups])
        for row, group in enumerate(groups):
            _step(axes, row, group["pass_1_before"], group["pass_1_after"])
        axes.hlines(range(len(groups)), 0, 1, color=GRID, linewidth=0.6, zorder=0)
        highest = max(max(group["pass_1_before"], group["pass_1_after"]) for group in groups)
        axes.set_xlim(-0.015, min(1.015, 1.08 * max(0.1, highest)))
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("pass@1")
        return svg(figure, name, "pass@1 by family, before and after")


def _step(axes: Axes, row: int, before: float, after: float) -> None:
    """A ring at `before`, a dot at `after`, and a line between them."""
    tint = _tint(before, after)
    axes.plot([before, after], [row, row], color=tint, linewidth=2)
    axes.plot(
        [before], [row], "o", markersize=6, markerfacecolor=PAPER, markeredgecolor=tint, markeredgewidth=1.4
    )
    axes.plot([after], [row], "o", markersize=6.5, color=tint)


def _tint(before: float, after: float) -> str:
    return colour(UP if after > before else DOWN if after < before else SAME)


def problem_scatter(problems: pl.DataFrame, name: str) -> Markup:
    """pass@1 of each problem before and after; problems at the same point make one larger dot."""
    both_known = problems.drop_nulls(["pass_1_before", "pass_1_after"])
    points = (
        both_known.group_by(pl.col("pass_1_before").round(2), pl.col("pass_1_after").round(2))
        .len()
        .sort("len", descending=True)
    )
    before, after = points["pass_1_before"].to_numpy(), points["pass_1_after"].to_numpy()
    sizes = 26 * points["len"].to_numpy() ** 0.8
    tints = [_tint(x, y) for x, y in zip(before, after, strict=True)]
    with drawing(4.5, 4.3) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHES[1])
        axes.scatter(before, after, s=sizes, c=tints, alpha=0.75, edgecolors=PAPER, linewidths=0.7)
        for set_limits, axis in ((axes.set_xlim, axes.xaxis), (axes.set_ylim, axes.yaxis)):
            set_limits(-0.05, 1.05)
            axis.set_major_formatter(PERCENT)
        axes.set_aspect("equal")
        axes.set_xlabel("pass@1 before")
        axes.set_ylabel("pass@1 after, mean of seeds")
        return svg(figure, name, "pass@1 of each problem, before against after")
