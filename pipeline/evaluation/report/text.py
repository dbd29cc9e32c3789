"""Formats values: numbers with thin separators, and untrusted text without misleading characters."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeGuard

from markupsafe import Markup

from pipeline.text import visible as escaped

THIN = "\u202f"  # narrow no-break space
MINUS = "\u2212"
MISSING = "–"


def visible(value: Any) -> Any:
    """Text as it can be shown and written as UTF-8; markup passes unchanged."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return escaped(value)


def decoded(raw: bytes) -> str:
    """Bytes as text; bytes that are not UTF-8 as escapes."""
    return raw.decode("utf-8", errors="backslashreplace")


def count(value: float | None) -> str:
    """A whole number, in groups of three."""
    return f"{round(value):,}".replace(",", THIN).replace("-", MINUS) if _is_finite(value) else MISSING


def number(value: float | None, digits: int = 2) -> str:
    """A number with `digits` decimals, in groups of three."""
    return f"{value:,.{digits}f}".replace(",", THIN).replace("-", MINUS) if _is_finite(value) else MISSING


def significant(value: float | None, digits: int = 4) -> str:
    """A number of any size with `digits` significant digits."""
    if not _is_finite(value):
        return MISSING
    if not value:
        return "0"
    if not 1e-4 <= abs(value) < 1e9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_without_zeros(mantissa)}e{int(exponent)}".replace("-", MINUS)
    return _without_zeros(number(value, max(0, digits - 1 - math.floor(math.log10(abs(value))))))


def _without_zeros(text: str) -> str:
    """A number without trailing zeros after its point."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None, digits: int = 1) -> str:
    """A share in per cent; 1 is 100 %."""
    return f"{number(100 * value, digits)}{THIN}%" if _is_finite(value) else MISSING


def careful_percent(value: float | None) -> str:
    """A share in per cent that shows 100 or 0 only if it is exactly that."""
    if not _is_finite(value) or value in (0, 1) or 0.0005 <= value < 0.9995:
        return percent(value)
    return f"> 99.9{THIN}%" if value > 0.5 else f"< 0.1{THIN}%"


def duration(seconds: float | None) -> str:
    """`4.0 s`, `1 min 05 s`, `1 h 02 min`."""
    if not _is_finite(seconds):
        return MISSING
    if seconds < 60:
        return f"{number(seconds, 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def moment(value: Any) -> str:
    """A time to the minute, from a datetime or ISO text; other text as it is."""
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return f"{when:%Y-%m-%d %H:%M} {when:%Z}".strip()


def shortened(text: str, characters: int, lines: int = 10_000) -> str:
    """The beginning of a text, and how many characters were left out."""
    beginning = "\n".join(text[:characters].splitlines()[:lines])
    left = len(text.rstrip()) - len(beginning)
    return f"{beginning}\n… ({count(left)} more characters)" if left > 0 else beginning


def ellipsis(text: str, characters: int) -> str:
    """Text that fits a label; the middle of a longer one is left out."""
    if len(text) <= characters:
        return text
    tail = characters // 3
    return f"{text[: characters - tail - 1]}…{text[-tail:]}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def some(names: list[Any], most: int = 12) -> str:
    """The first names of a list, and how many more there are."""
    text = ", ".join(map(str, names[:most]))
    return f"{text} and {count(len(names) - most)} more" if len(names) > most else text


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested settings, as (dotted path, text)."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flattened(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from flattened(inner, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
