"""The explorer that runs: the record by which a report finds it, and its answer to links of other pages."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus, urlsplit

import typer

from flows.commands.common import DATA
from pipeline.text import visible_line

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pipeline.evaluation.report import Explorer

RECORD_NAME = "view.json"
LONGEST_SHOWN = 300
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Open a page of the explorer?</title></head>
<body><main><h1>Open a page of the explorer?</h1>
<p>A page outside the explorer leads here. If you trust it: <a href="{address}">{shown}</a></p></main></body>
</html>
"""


@contextmanager
def recorded(address: str, store: str, runs: Path) -> Iterator[None]:
    """While the context is open, the data folder names the explorer. The token is not in the record."""
    path = DATA / RECORD_NAME
    text = json.dumps({"address": address, "store": store, "runs": str(runs.resolve()), "pid": os.getpid()})
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)
    try:
        yield
    finally:
        if path.exists() and path.read_text() == text:
            path.unlink()


def find_explorer(store: str) -> Explorer | None:
    """The recorded explorer of a store, if it answers; None otherwise."""
    from pipeline.evaluation.report import Explorer

    try:
        record = json.loads((DATA / RECORD_NAME).read_text())
        address, runs = str(record["address"]), Path(record["runs"])
        place = urlsplit(address)
        with socket.create_connection((str(place.hostname), place.port or 80), timeout=1):
            pass
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Explorer(address, runs) if record.get("store") == store else None


def named_explorer(address: str, runs: Path) -> Explorer:
    """The explorer at an address that the user gives, with or without its token. Raises BadParameter."""
    from pipeline.evaluation.report import Explorer

    try:
        place = urlsplit(address)
        port = place.port
    except ValueError as error:
        raise typer.BadParameter(f"{address}: {error}", param_hint="--explorer") from error
    if place.scheme not in ("http", "https") or not place.hostname or not place.hostname.isascii():
        example = "http://127.0.0.1:8181"
        raise typer.BadParameter(f"{address!r} is not the address of an explorer, such as {example}",
                                 param_hint="--explorer")  # fmt: skip
    host = f"[{place.hostname}]" if ":" in place.hostname else place.hostname
    return Explorer(f"{place.scheme}://{escape(host)}" + (f":{port}" if port else ""), runs)


class Doorstep:
    """ASGI middleware before the explorer's guard, which refuses every request that another page makes.

    A link that a user follows, from a report on disk for example, gets a page with that link, and nothing
    from the store: the second click comes from the explorer itself. Any other request goes to the guard.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_followed_link(scope):
            await self.app(scope, receive, send)
            return
        from starlette.responses import HTMLResponse

        from flows.view.guard import HEADERS

        # One slash only: `//host` would be another host.
        target = "/" + scope["raw_path"].decode("latin-1").lstrip("/\\")
        if query := scope["query_string"].decode("latin-1"):
            target += f"?{query}"
        shown = visible_line(unquote_plus(target))
        shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
        page = PAGE.format(address=escape(target), shown=escape(shown))
        await HTMLResponse(page, headers=HEADERS)(scope, receive, send)


def _is_followed_link(scope: Scope) -> bool:
    """Whether a user follows a link of another page: a navigation of a whole tab, by a click."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return (
        scope["method"] == "GET"
        and headers.get("sec-fetch-site") in ("cross-site", "same-site")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and headers.get("sec-fetch-user") == "?1"
        and "origin" not in headers
        and urlsplit(f"http://{headers.get('host', '')}").hostname in ("127.0.0.1", "localhost", "::1")
    )
