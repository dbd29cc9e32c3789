"""Values as text for a page."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from pipeline.text import visible

MISSING = "–"


def cell(value: Any) -> str:
    """A value of a table on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, bytes):
        return value[:200].decode("utf-8", errors="backslashreplace")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)[:400]
    return str(value)


def count(value: float | None) -> str:
    return MISSING if value is None else f"{round(value):,}"


def number(value: float | None, digits: int = 4) -> str:
    """A number with some significant digits."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.{digits}g}" if 1e-4 <= abs(value) < 1e9 or not value else f"{value:.{digits - 1}e}"


def percent(value: float | None) -> str:
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def moment(value: Any) -> str:
    """A time in UTC, to the second."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value or MISSING)


def size(value: int) -> str:
    """Bytes in the largest unit that keeps a whole part."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"


def pretty(text: str | None) -> str:
    """JSON text with line ends; other text as it is."""
    try:
        return json.dumps(json.loads(text or ""), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text or ""


def since(moment_s: float) -> str:
    """Time from a moment (seconds of the epoch) until now, in its largest unit."""
    passed = max(0.0, time.time() - moment_s)
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed >= length_s:
            return f"{passed / length_s:.0f} {unit}"
    return f"{passed:.0f} s"


def quoted(text: str) -> str:
    """Text in quotes with its spaces visible. Unlike Jinja's `tojson` it is escaped again in an attribute."""
    return json.dumps(text, ensure_ascii=False)


def marked(text: str) -> Markup:
    """Text in which what stands between backquotes is code."""
    parts = (escape(visible(part)) for part in text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))
