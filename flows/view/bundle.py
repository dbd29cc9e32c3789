"""Pages of the explorer as a folder that opens from disk: for a paper, an issue, or somebody without a store.

The pages are those of the explorer, asked in this process. Links between pages of the folder work; a link to
any other page becomes text. There are no scripts and no forms, and a page may load nothing.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from flows.view.app import application
from flows.view.programs import code_styles
from flows.view.visit import STATIC
from pipeline.store import publish_folder
from pipeline.text import visible

MOST_PAGES = 300
HOST = "http://127.0.0.1"
TOKEN = "0" * 32  # of an application that listens on no port
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# Attributes of our own templates; a quotation mark in data is escaped.
LEFT_ALONE = ("/static/", "/download", "/drawn", "/schedules", "/checks")
LINK = re.compile(r'href="(/[^"]*)"')
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
LEFT_OUT = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<form\b.*?</form>|<meta charset[^>]*>|"
    r'<p class="quiet">Keys:.*?</p>',
    re.DOTALL,
)


class BundleError(ValueError):
    """A page that cannot be bundled: the address and the reason, in one line."""


@dataclass
class Bundle:
    """Pages by address, in the order in which they were found, and links that were not followed."""

    pages: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    beyond: set[str] = field(default_factory=set)


def write_bundle(
    location: str, folder: Path, queries: Sequence[str], *, runs_folder: Path, at: str | None, depth: int
) -> Bundle:
    """Write the pages of the queries, and those that are at most `depth` links away, into a new folder.

    A query is an address of the explorer, an id, or SQL. Raises BundleError for one that has no page.
    """
    app = application(location, TOKEN, runs_folder=runs_folder, at=at)
    bundle = asyncio.run(_collect(app, [address_of(query) for query in queries], depth))

    def write(partial: Path) -> None:
        for address, text in bundle.pages.items():
            page = standalone(text, bundle, statement_of(address))
            (partial / bundle.names[address]).write_text(page, encoding="utf-8")
        (partial / "index.html").write_text(index_page(location, bundle), encoding="utf-8")

    publish_folder(folder, write)
    return bundle


def address_of(query: str) -> str:
    """The address of a query: an address itself, with or without its host, SQL, or an id."""
    query = query.strip()
    if found := re.match(r"https?://[^/]+(/.*)", query):
        return found[1]
    if query.startswith("/"):
        return query
    if re.search(r"\s", query):
        return "/sql?" + urlencode({"q": query})
    return "/find?" + urlencode({"id": query})


async def _collect(app: Any, addresses: list[str], depth: int) -> Bundle:
    import httpx

    bundle = Bundle()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=HOST, follow_redirects=True) as client:
        await client.get(f"/?token={TOKEN}")
        waiting = deque((address, 0) for address in addresses)
        known: set[str] = set()
        while waiting:
            address, distance = waiting.popleft()
            answer = await client.get(address)
            if answer.status_code != 200 and distance == 0:
                title = html.unescape(_title(answer.text))
                raise BundleError(f"{address}: {title or answer.text.strip()} (status {answer.status_code})")
            reached = str(answer.url).removeprefix(HOST)
            if answer.status_code != 200 or "text/html" not in answer.headers["content-type"]:
                continue
            bundle.names[address] = bundle.names.setdefault(reached, f"page-{len(bundle.pages) + 1}.html")
            bundle.pages.setdefault(reached, answer.text)
            if distance == depth:
                continue
            for link in map(html.unescape, LINK.findall(answer.text)):
                if link in known or link.startswith(LEFT_ALONE) or "follow=1" in link:
                    continue
                known.add(link)
                if len(known) + len(addresses) > MOST_PAGES:
                    bundle.beyond.add(link)
                else:
                    waiting.append((link, distance + 1))
    return bundle


def statement_of(address: str) -> str:
    """The SQL that a page answers; its form, where it stands, is left out. Empty for other pages."""
    parts = urlsplit(address)
    return dict(parse_qsl(parts.query)).get("q", "") if parts.path == "/sql" else ""


def standalone(text: str, bundle: Bundle, statement: str = "") -> str:
    """A page with its styles inside, links to pages of the bundle, and nothing that needs the explorer."""

    def link(found: re.Match[str]) -> str:
        name = bundle.names.get(html.unescape(found[1]))
        return f'href="{name}"' if name else 'title="not in this bundle"'

    styles = (STATIC / "view.css").read_text() + code_styles() + "a:not([href]) { color: inherit }"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    text = LEFT_OUT.sub("", text)
    text = LINK.sub(link, text)
    if statement:
        text = text.replace("</h1>", f"</h1>\n<pre>{html.escape(visible(statement))}</pre>", 1)
    return text.replace("<head>", f"<head>\n{head}\n<style>{styles}</style>", 1)


def index_page(location: str, bundle: Bundle) -> str:
    """A list of the pages."""
    items = "\n".join(
        f'<li><a href="{bundle.names[address]}">{_title(text)}</a> <code>{html.escape(address)}</code></li>'
        for address, text in bundle.pages.items()
    )
    body = f"<main><h1>Pages of {html.escape(location)}</h1>\n<ol>\n{items}\n</ol></main>"
    head = '<!doctype html>\n<html lang="en">\n<head><title>Pages of a store</title></head>'
    return standalone(f"{head}<body>{body}</body></html>", bundle)


def _title(text: str) -> str:
    """The title of a page as HTML, without the name of the explorer."""
    found = TITLE.search(text)
    return found[1].removesuffix(" · spo view").strip() if found else ""
