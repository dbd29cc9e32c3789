"""Matplotlib drawings as inline SVG with the colours of the page: one drawing serves light and dark mode and
print.

Drawings use placeholder colours, which are replaced by CSS variables; text stays text, in the page's font.
Figures are made without pyplot, so there is no window and no global state.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.report.text import visible

INK, MUTED, GRID, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
SERIES = 8
NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"} | {
    f"#0a0c{i:02x}": f"c{i}" for i in range(SERIES)
}
# One per seed; the legend in templates/curves.html draws the same.
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (9, 3)),
    (0, (3, 3)),
    (0, (1, 3)),
    (0, (8, 2, 2, 2, 2, 2)),
)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.labelsize": 9,
    "lines.linewidth": 1.6,
    "axes.unicode_minus": True,
    "path.simplify": True,
}


def colour(index: int) -> str:
    """Placeholder of the page's series colour `--c<index>`; there are eight, and they repeat."""
    return f"#0a0c{index % SERIES:02x}"


def label(text: str) -> str:
    """Text from data on one line, without control characters."""
    return " ".join(visible(text).split())


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of the given size in inches and its axes, in the style of the report."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The browser has the glyphs; only their widths are estimated here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as `<svg>`; `name` makes its ids unique on the page. Call it within `drawing`."""
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = stream.getvalue()
    body = text[text.index("<svg") :]
    head, body = body.split(">", 1)
    body = re.sub(r"<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]+;?", "", body)
    body = re.sub(
        r"\b(fill|stroke): (#0a0[bc][0-9a-f]{2})", lambda match: f"{match[1]}: var(--{NAMES[match[2]]})", body
    )
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert view, "matplotlib writes a viewBox"
    # A point is 4/3 CSS pixels: text has the same size on the page as in the drawing.
    about = f'role="img" aria-label="{escape(visible(description))}"'
    return Markup(
        f'<svg viewBox="0 0 {view[1]} {view[2]}" style="width: {float(view[1]) * 4 / 3:.0f}px" {about}>{body}'
    )
