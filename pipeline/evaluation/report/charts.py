"""The charts of the report. A table next to each chart has the same numbers."""

from __future__ import annotations

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.report.comparison import Finding
from pipeline.evaluation.report.figures import DASHES, GRID, MUTED, PAPER, colour, drawing, label, svg
from pipeline.evaluation.report.progress import Levels
from pipeline.evaluation.report.step_charts import PERCENT
from pipeline.evaluation.report.text import count, ellipsis
from pipeline.evaluation.report.verdicts import COLOURS, EVALUATION, WHILE_TRAINING, Verdicts, Writer

UP, DOWN, SAME = 0, 1, 7  # series colours of a change
WIDE, NARROW = 10.8, 3.6  # inches; the page shows the narrow drawing on a narrow screen


def _rows(axes: Axes, names: list[str], width: float = WIDE) -> None:
    """Named rows from the top down, without lines between them. A narrow chart has short names."""
    characters = 54 if width == WIDE else 18
    axes.set_yticks(range(len(names)), [ellipsis(label(name), characters) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def headline(finding: Finding, name: str) -> Markup:
    """The level before, after, and of each seed, with 95 % intervals."""
    levels = [("before", finding.before, SAME), *((seed.name, seed.after, UP) for seed in finding.seeds)]
    if len(finding.seeds) > 1:
        levels.append(("mean of seeds", finding.after, UP))
    with drawing(3.2, 0.7 + 0.21 * len(levels)) as (figure, axes):
        _rows(axes, [level for level, _, _ in levels])
        axes.axvline(finding.before.mean, color=colour(SAME), linewidth=0.9, linestyle=DASHES[2])
        for row, (_, value, tint) in enumerate(levels):
            _interval(axes, row, value, tint, bold=row in (0, len(levels) - 1))
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(finding.metric.label)
        if finding.metric.share:
            axes.xaxis.set_major_formatter(PERCENT)
        return svg(figure, name, f"{finding.metric.label} before and after, with intervals")


def _interval(axes: Axes, row: int, value: Estimate, tint: int, bold: bool) -> None:
    """A dot at the mean and a line over the interval."""
    width, size = (2.4, 7.5) if bold else (1.2, 5.5)
    ends = [value.low, value.high]
    axes.plot(ends, [row, row], color=colour(tint), linewidth=width, solid_capstyle="round")
    axes.plot([value.mean], [row], "o", color=colour(tint), markersize=size, markeredgecolor=PAPER)


def verdict_bars(verdicts: Verdicts, name: str, width: float = WIDE) -> Markup:
    """Share of each verdict, one bar per writer; trajectories without a verdict are left out."""
    writers = judged_writers(verdicts)
    rows = range(len(writers))
    with drawing(width, 0.6 + 0.25 * len(writers)) as (figure, axes):
        _rows(axes, [writer_name(writer) for writer in writers], width)
        left = np.zeros(len(writers))
        for verdict in verdicts.shown:
            share = np.array([writer.counts.get(verdict, 0) / writer.judged for writer in writers])
            tint = colour(COLOURS[verdict])
            axes.barh(rows, share, left=left, height=0.62, color=tint, edgecolor=PAPER, linewidth=0.8)
            left += share
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("share of the judged trajectories")
        for row, writer in enumerate(writers):
            axes.text(1.01, row, count(writer.judged), va="center", color=MUTED, clip_on=False)
        return svg(figure, name, "Share of verdicts by origin and policy")


def judged_writers(verdicts: Verdicts) -> list[Writer]:
    return [writer for writer in verdicts.writers if writer.judged]


def writer_name(writer: Writer) -> str:
    """The name of a bar. Samples of a run are marked by what they are for, and need no origin."""
    if not writer.is_policy:
        return writer.name.replace(WHILE_TRAINING, ", fresh").replace(EVALUATION, ", eval")
    return writer.name if writer.name == writer.origin else f"{writer.origin} · {writer.name}"


def level_rows(levels: Levels, name: str, width: float = NARROW) -> Markup:
    """Estimates side by side with their intervals."""
    with drawing(width, 0.7 + 0.24 * len(levels.rows)) as (figure, axes):
        _rows(axes, [row for row, _, _ in levels.rows], width)
        for row, (_, value, tint) in enumerate(levels.rows):
            _interval(axes, row, value, SAME if tint is None else tint, bold=tint is not None)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if levels.metric.share:
            axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel(levels.metric.label)
        return svg(figure, name, f"{levels.metric.label} by configuration, with intervals")


def family_changes(groups: list[dict], name: str, width: float = WIDE) -> Markup:
    """pass@1 of each family: a ring before, a dot after, and a line between them."""
    with drawing(width, 0.55 + 0.2 * len(groups)) as (figure, axes):
        _rows(axes, [f"{group['group']} ({group['problems']})" for group in groups], width)
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
    with drawing(3.9, 3.8) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHES[1])
        axes.scatter(before, after, s=sizes, c=tints, alpha=0.75, edgecolors=PAPER, linewidths=0.7)
        for set_limits, axis in ((axes.set_xlim, axes.xaxis), (axes.set_ylim, axes.yaxis)):
            set_limits(-0.05, 1.05)
            axis.set_major_formatter(PERCENT)
        axes.set_aspect("equal")
        axes.set_xlabel("pass@1 before")
        axes.set_ylabel("pass@1 after, mean of seeds")
        return svg(figure, name, "pass@1 of each problem, before against after")
