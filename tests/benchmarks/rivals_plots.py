"""Learning curves of the comparison by judged samples and by CPU seconds: an SVG file beside the figures."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

TITLES = {"pass_1": "pass@1", "pass_10": "pass@10"}
AXES = {"samples": "judged samples, those behind Q0 included", "cpu_s": "CPU seconds of training"}
# Of Okabe and Ito: told apart by the colour-blind.
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#000000")
MARKERS = "osD^v*X"


def curves(reference: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, list[dict[str, float]]]:
    """Points by group, from the start on: means over seeds of samples, CPU seconds and figures. Cells that
    were resumed have no CPU seconds, and are left out of their mean.
    """
    by_group: dict[str, dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        before = cell["samples_reference"]
        start = reference["start_of_curve"] | {"step": 0, "fresh": 0, "cpu_s": 0.0}
        # A policy that began from another cell's has no point of its own at the start.
        for point in [*([] if cell.get("start") else [start]), *cell.get("curve", [])]:
            seconds = np.nan if cell["resumed"] else point["cpu_s"]
            by_group[cell["group"]][point["step"]].append(
                {
                    **{name: point[name] for name in TITLES},
                    "samples": before + point["fresh"],
                    "cpu_s": seconds,
                }
            )
    return {
        group: [
            {name: float(np.nanmean([one[name] for one in points])) for name in points[0]}
            for _, points in sorted(steps.items())
        ]
        for group, steps in by_group.items()
    }


def write_curves(path: Path, reference: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    """Four panels: pass@1 and pass@10 on the validation split, by samples and by CPU seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "rivals", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = pyplot.subplots(2, 2, figsize=(9, 6.5), sharex="col", sharey="row")
        points = curves(reference, cells)
        for row, (y, title) in zip(axes, TITLES.items(), strict=True):
            for panel, x in zip(row, AXES, strict=True):
                _panel(panel, points, x, y)
            row[0].set_ylabel(f"{title}, validation split")
        for panel, label in zip(axes[-1], AXES.values(), strict=True):
            panel.set_xlabel(label)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=min(4, len(labels)), frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 0.92))
        image = io.BytesIO()
        figure.savefig(
            image, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else {}
        )
        pyplot.close(figure)
    content = image.getvalue()
    if path.suffix == ".svg":  # matplotlib ends lines of paths with a space
        content = re.sub(rb" +$", b"", content, flags=re.MULTILINE)
    path.write_bytes(content)


def _panel(axis: Any, groups: dict[str, list[dict[str, float]]], x: str, y: str) -> None:
    for number, (group, points) in enumerate(groups.items()):
        axis.plot(
            [point[x] for point in points],
            [point[y] for point in points],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.3,
            color=COLOURS[number % len(COLOURS)],
            label=group,
        )
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_ylim(bottom=0)
