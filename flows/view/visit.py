"""One request: its parameters, the versions that it reads, and links that keep them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows.view.checking import Checking
from flows.view.columns import is_numeric, is_scalar, page_of
from flows.view.computing import Computing
from flows.view.credit import Tokenizers
from flows.view.fixes import fix_of
from flows.view.programs import coloured, differences
from flows.view.remembered import Remembered
from flows.view.schedules import Schedules
from flows.view.search import Finder, Search
from flows.view.statements import rendered
from flows.view.window import Facets, is_large
from pipeline.text import visible

if TYPE_CHECKING:
    import duckdb

    from flows.view.connections import Connections

TEMPLATES = Path(__file__).parent / "templates"
COUNTS_KEPT = 200
MANY_ROWS = 2_000_000
STATIC = Path(__file__).parent / "static"


class NotFound(LookupError):
    """What a URL names does not exist; one line."""


@dataclass(frozen=True)
class Explorer:
    """What all requests share. `runs`: the folder of the user's runs; `versions`: what a page without `at`
    reads, None for the newest.
    """

    location: str
    runs: Path
    connections: Connections
    environment: Environment
    tokenizers: Tokenizers
    finder: Finder
    computing: Computing
    checking: Checking
    schedules: Callable[[], Schedules | None]
    versions: str | None = None
    many: Remembered[bool] = field(default_factory=lambda: Remembered(COUNTS_KEPT))
    counts: Remembered[Facets] = field(default_factory=lambda: Remembered(COUNTS_KEPT))


@dataclass(frozen=True)
class Visit:
    """A request at pinned versions. `parameters` are those of the query, without `at`."""

    explorer: Explorer
    connection: duckdb.DuckDBPyConnection
    at: str
    path: str
    parameters: list[tuple[str, str]]
    names: Mapping[str, str]  # from the path

    @property
    def follows(self) -> bool:
        """Whether the page is asked for at the newest versions, and again when there are newer ones."""
        return self.get("follow") == "1"

    @property
    def samples(self) -> str:
        """The table behind "Trajectories": with verdicts, unless joining them takes too long for a page."""
        if self.connection is None:  # the page of an error
            return "judged"
        many = self.explorer.many.get(self.at, lambda: is_large(self.connection, "trajectories", MANY_ROWS))
        return "trajectories" if many else "judged"

    @property
    def search(self) -> Search:
        """Searches of the store at the versions of this page."""
        return Search(self.explorer.finder, self.connection, self.at)

    def get(self, name: str, default: str = "") -> str:
        """The last value of a parameter."""
        return next((value for key, value in reversed(self.parameters) if key == name), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.parameters if key == name and value]

    def number(self, name: str, default: float, lowest: float, highest: float) -> float:
        """A number within bounds; the default for another text."""
        try:
            value = float(self.get(name, str(default)))
        except ValueError:
            return default
        return min(max(value, lowest), highest) if math.isfinite(value) else default

    def integer(self, name: str, default: int, lowest: int, highest: int) -> int:
        """A number within bounds; the default for another text."""
        text = self.get(name)
        return min(max(int(text), lowest), highest) if text.isdecimal() and len(text) < 10 else default

    def link(self, path: str, **parameters: Any) -> str:
        """The address of a page at the same versions. Lists repeat a parameter, empty values are left out."""
        pairs: list[tuple[str, str]] = []
        for name, value in parameters.items():
            values = value if isinstance(value, list | tuple) else [value]
            pairs += [(name, str(one)) for one in values if one not in (None, "", False)]
        return f"/{quote(path)}?{urlencode([*pairs, ('at', self.at)])}"

    def here(self, **changes: Any) -> str:
        """The address of this page with some parameters changed."""
        parameters: dict[str, list[str]] = {}
        for name, value in self.parameters:
            parameters.setdefault(name, []).append(value)
        parameters.pop("follow", None)
        return self.link(self.path.lstrip("/"), **(parameters | changes))

    @property
    def newest(self) -> str:
        """The address of this page at whatever versions are the newest, followed."""
        rest = [pair for pair in self.parameters if pair[0] not in ("follow", "after")]
        return f"{self.path}?{urlencode([*rest, ('follow', '1')])}"

    def leads_to(self, column: str, value: Any) -> str | None:
        """The page of a value in a column, if it has one."""
        page = page_of(column, value)
        return page and f"/{page[0]}?id={quote_plus(page[1])}&{self._versions}"

    @cached_property
    def _versions(self) -> str:
        """The end of every link, encoded once for a page of many."""
        return urlencode([("at", self.at)])


def parameters_of(query: bytes) -> list[tuple[str, str]]:
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=300)


def _visible(value: Any) -> Any:
    """Text with escapes for invisible characters. Printable text, which is most, is passed on at once."""
    return value if type(value) is not str or value.isprintable() else visible(value)


def new_environment() -> Environment:
    """Jinja that escapes everything, and shows invisible characters as escapes."""
    from flows.view import formats

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": formats.cell,
        "count": formats.count,
        "number": formats.number,
        "percent": formats.percent,
        "moment": formats.moment,
        "size": formats.size,
        "pretty": formats.pretty,
        "since": formats.since,
        "query": urlencode,
        "quoted": formats.quoted,
        "marked": formats.marked,
        "without": lambda items, one: [item for item in items if item != one],
        "is_numeric": is_numeric,
        "is_scalar": is_scalar,
    }
    environment.globals |= {
        "coloured": coloured,
        "differences": differences,
        "fix_of": fix_of,
        "rendered": rendered,
    }
    return environment
