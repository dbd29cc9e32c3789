"""The drawings of the report, each from facts that a table beside it has too."""

from __future__ import annotations

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline.evaluation.report.comparison import Finding
from pipeline.evaluation.report.curves import Panel
from pipeline.evaluation.report.figures import DASHES, GRID, INK, MUTED, PAPER, colour, drawing, label, svg
from pipeline.evaluation.report.text import count, ellipsis, number
from pipeline.evaluation.report.verdicts import COLOURS, Verdicts

PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.0f} %")
COUNTS = FuncFormatter(lambda value, _: count(value))


def rows(axes: Axes, names: list[str]) -> None:
    """Named rows from the top down, without lines between them."""
    axes.set_yticks(range(len(names)), [ellipsis(label(name), 54) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def headline(finding: Finding, name: str) -> Markup:
    """Level before, after, and of each seed, with 95 % intervals over problems."""
    levels = [("before", finding.before, 7), *((s.name, s.after, 0) for s in finding.seeds)]
    if len(finding.seeds) > 1:
        levels.append(("mean of seeds", finding.after, 0))
    with drawing(3.2, 0.5 + 0.21 * len(levels)) as (figure, axes):
        rows(axes, [level for level, _, _ in levels])
        axes.axvline(finding.before.mean, color=colour(7), linewidth=0.9, linestyle=DASHES[2])
        for place, (_, value, tint) in enumerate(levels):
            bold = place in (0, len(levels) - 1)
            width = 2.4 if bold else 1.2
            axes.plot(
                [value.low, value.high],
                [place, place],
                color=colour(tint),
                linewidth=width,
                solid_capstyle="round",
            )
            axes.plot(
                [value.mean],
                [place],
                "o",
                color=colour(tint),
                markersize=7.5 if bold else 5.5,
                markeredgecolor=PAPER,
            )
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if finding.metric.share:
            axes.xaxis.set_major_formatter(PERCENT)
        return svg(figure, name, f"{finding.metric.label} before and after, with intervals")


def verdict_bars(verdicts: Verdicts, name: str) -> Markup:
    """Share of each verdict, one bar a writer; trajectories without a verdict are left out."""
    writers = [writer for writer in verdicts.writers if writer.judged]
    with drawing(10.8, 0.4 + 0.25 * len(writers)) as (figure, axes):
        rows(axes, [w.name if w.name == w.origin else f"{w.origin} · {w.name}" for w in writers])
        left = np.zeros(len(writers))
        for verdict in verdicts.shown:
            share = np.array([writer.counts.get(verdict, 0) / writer.judged for writer in writers])
            tint = colour(COLOURS[verdict])
            axes.barh(
                range(len(writers)), share, left=left, height=0.62, color=tint, edgecolor=PAPER, linewidth=0.8
            )
            left += share
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PERCENT)
        for place, writer in enumerate(writers):
            axes.text(1.01, place, count(writer.judged), va="center", color=MUTED, clip_on=False)
        return svg(figure, name, "Share of verdicts by origin and policy")


def curve(panel: Panel, fresh: list[int], name: str) -> Markup:
    """One panel over steps: raw values faint, running means strong, ticks at the foot where fresh data came in."""
    with drawing(3.45, 1.95) as (figure, axes):
        for line in panel.lines:
            tint = colour(line.colour)
            axes.plot(
                line.steps,
                line.values,
                color=tint,
                linewidth=0.7,
                alpha=0.22 if len(line.steps) < 600 else 0.08,
            )
            axes.plot(
                line.steps,
                line.smooth,
                color=tint,
                linestyle=DASHES[line.dash % len(DASHES)],
                linewidth=1.5,
                zorder=3,
            )
        if panel.kind == "share":
            axes.yaxis.set_major_formatter(PERCENT)
            axes.set_ylim(bottom=0, top=min(1.0, axes.get_ylim()[1]) if axes.get_ylim()[1] > 0.05 else 0.05)
        elif panel.kind == "log" and spread(panel) > 30:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            axes.yaxis.set_minor_locator(NullLocator())
        elif axes.get_ylim()[0] < 0 < axes.get_ylim()[1]:
            axes.axhline(0, color=MUTED, linewidth=0.7)
        if axes.get_yscale() == "linear" and panel.kind != "share":
            axes.yaxis.set_major_formatter(
                COUNTS if axes.get_ylim()[1] > 50 else FuncFormatter(lambda value, _: short(value))
            )
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.vlines(fresh, 0, 0.045, transform=axes.get_xaxis_transform(), color=INK, linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(x=0.01)
        axes.set_xlabel("step")
        return svg(figure, name, f"{panel.title} over steps")


def spread(panel: Panel) -> float:
    values = [value for line in panel.lines for value in line.values if value > 0]
    return max(values) / min(values) if values else 1.0


def short(value: float) -> str:
    """An axis number without needless zeros."""
    text = number(value, 3).rstrip("0").rstrip(".,")
    return text if text not in ("", "−") else "0"


def family_changes(groups: list[dict], name: str) -> Markup:
    """pass@1 of each family: before a ring, after a dot, and the way between them."""
    with drawing(10.8, 0.55 + 0.2 * len(groups)) as (figure, axes):
        rows(axes, [f"{group['group']} ({group['problems']})" for group in groups])
        for place, group in enumerate(groups):
            before, after = group["pass_1_before"], group["pass_1_after"]
            tint = colour(0 if after > before else 1 if after < before else 7)
            axes.plot([before, after], [place, place], color=tint, linewidth=2)
            axes.plot(
                [before],
                [place],
                "o",
                markersize=6,
                markerfacecolor=PAPER,
                markeredgecolor=tint,
                markeredgewidth=1.4,
            )
            axes.plot([after], [place], "o", markersize=6.5, color=tint)
        axes.hlines(range(len(groups)), 0, 1, color=GRID, linewidth=0.6, zorder=0)
        axes.set_xlim(
            -0.015, min(1.015, 1.08 * max(0.1, *(max(g["pass_1_before"], g["pass_1_after"]) for g in groups)))
        )
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("pass@1")
        return svg(figure, name, "pass@1 by family, before and after")


def problem_scatter(problems: pl.DataFrame, name: str) -> Markup:
    """pass@1 of each problem before and after; problems at the same place make one larger dot."""
    shown = problems.drop_nulls(["pass_1_before", "pass_1_after"])
    places = (
        shown.group_by(pl.col("pass_1_before").round(2), pl.col("pass_1_after").round(2))
        .len()
        .sort("len", descending=True)
    )
    with drawing(4.5, 4.3) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHES[1])
        before, after = places["pass_1_before"].to_numpy(), places["pass_1_after"].to_numpy()
        tints = [colour(0 if y > x else 1 if y < x else 7) for x, y in zip(before, after, strict=True)]
        axes.scatter(
            before,
            after,
            s=26 * places["len"].to_numpy() ** 0.8,
            c=tints,
            alpha=0.75,
            edgecolors=PAPER,
            linewidths=0.7,
        )
        for setter, formatter in ((axes.set_xlim, axes.xaxis), (axes.set_ylim, axes.yaxis)):
            setter(-0.05, 1.05)
            formatter.set_major_formatter(PERCENT)
        axes.set_aspect("equal")
        axes.set_xlabel("pass@1 before")
        axes.set_ylabel("pass@1 after, mean of seeds")
        return svg(figure, name, "pass@1 of each problem, before against after")
