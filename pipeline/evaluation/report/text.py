"""How values are put into words: numbers with thin separators, and text from data made harmless and visible."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeGuard

from markupsafe import Markup

THIN = "\u202f"  # narrow no-break space
MINUS = "\u2212"
NOTHING = "–"
# Controls, lone surrogates, and marks that reorder text (https://trojansource.codes): shown, never obeyed.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(value: Any) -> Any:
    """Text as it can be shown and written as UTF-8; markup passes unchanged."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return UNSEEN.sub(lambda found: picture(found[0]), value.replace("\r\n", "\n"))


def picture(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def decoded(raw: bytes) -> str:
    """Bytes as text; those that are no UTF-8 as `\\xNN`."""
    return raw.decode("utf-8", errors="backslashreplace")


def count(value: float | None) -> str:
    """A whole number, in groups of three."""
    return f"{round(value):,}".replace(",", THIN).replace("-", MINUS) if known(value) else NOTHING


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals, in groups of three."""
    return f"{value:,.{digits}f}".replace(",", THIN).replace("-", MINUS) if known(value) else NOTHING


def percent(value: float | None, digits: int = 1) -> str:
    """A share of 1 in per cent."""
    return f"{number(100 * value, digits)}{THIN}%" if known(value) else NOTHING


def nearly(value: float | None) -> str:
    """A share in per cent that says 100 or 0 only where it is exactly that."""
    if not known(value) or value in (0, 1) or 0.0005 <= value < 0.9995:
        return percent(value)
    return f"> 99.9{THIN}%" if value > 0.5 else f"< 0.1{THIN}%"


def duration(seconds: float | None) -> str:
    if not known(seconds):
        return NOTHING
    if seconds < 60:
        return f"{number(seconds, 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def moment(value: Any) -> str:
    """A time, from a datetime or ISO text, to the minute; other text as it is."""
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return f"{when:%Y-%m-%d %H:%M} {when:%Z}".strip()


def shortened(text: str, characters: int, lines: int = 10_000) -> str:
    """The beginning of a text; what was left off is said."""
    kept = "\n".join(text[:characters].splitlines()[:lines])
    left = len(text.rstrip()) - len(kept)
    return f"{kept}\n… ({count(left)} more characters)" if left > 0 else kept


def ellipsis(text: str, characters: int) -> str:
    """Text that fits a label, its middle left out."""
    if len(text) <= characters:
        return text
    tail = characters // 3
    return f"{text[: characters - tail - 1]}…{text[-tail:]}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def some(names: list[Any], most: int = 12) -> str:
    """A list in words that ends in good time."""
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {count(len(names) - most)} more" if len(names) > most else shown


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested settings as (dotted path, text)."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flattened(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from flattened(inner, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
