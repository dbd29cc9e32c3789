"""`./run docs [FOLDER]`: build the pages, and report broken links and what has no description.

The last line is JSON. Exit code 1 if something is broken, or lacks its description.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOADED = (("img", "src"), ("link", "href"), ("script", "src"))


class Page(HTMLParser):
    """Links of a page, and the anchors that links to it may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []  # what a browser fetches to show the page
        self.anchors: set[str] = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if value and (tag, name) in (("a", "href"), *LOADED):
                self.links.append(value)
            if value and (tag, name) in LOADED:
                self.loaded.append(value)


def broken_links(folder: Path) -> list[str]:
    """Links inside the site that lead nowhere; links to other sites are not followed."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    return [
        f"{path.relative_to(folder.resolve())}: {link}"
        for path, page in pages.items()
        for link in page.links
        if leads_nowhere(path, link, pages)
    ]


def leads_nowhere(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme not in ("https", "http", "mailto", "data")
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    page = pages.get(target)
    return not target.exists() if page is None else unquote(parts.fragment) not in page.anchors


def undocumented() -> Iterator[str]:
    """Keys, columns, views, questions, commands, options and public names without a description."""
    import spo
    from flows.serving.keys import schedule_keys
    from pipeline.adapters import BUILT_IN
    from pipeline.store.tables import TABLES
    from trainer.run import run_keys

    for key in (*run_keys(None), *schedule_keys()):
        if not key.meaning:
            yield f"key [{key.section}] {key.key}"
    for table in TABLES.values():
        for name, column in table.schema.columns().items():
            if not column.description:
                yield f"column {table.name}.{name}"
    for kind in ("views", "questions"):
        for path in sorted((ROOT / "pipeline" / "store" / kind).glob("*.sql")):
            if not path.read_text().startswith("--"):
                yield f"{kind} {path.stem}"
    yield from (f"adapter {name}" for name, purpose in BUILT_IN.items() if not purpose)
    yield from (
        f"spo.{name}" for name in spo.__all__ if not (getattr(spo, name).__doc__ or name == "__version__")
    )
    yield from undocumented_commands()


def undocumented_commands() -> Iterator[str]:
    import typer.main

    from flows.cli import app

    waiting = [("spo", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        waiting += [(f"{path} {name}", sub) for name, sub in getattr(command, "commands", {}).items()]
        if not command.help:
            yield f"command {path}"
        for parameter in command.params:
            if not getattr(parameter, "help", None):
                yield f"option {path} {parameter.name}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument(
        "folder", nargs="?", type=Path, default=HERE / "_build", help="where pages are written"
    )
    folder = arguments.parse_args().folder
    sys.path.insert(0, str(ROOT))
    from sphinx.cmd.build import build_main

    failed = build_main(["-b", "html", "-W", "--keep-going", "-q", str(HERE), str(folder)])
    faults = {"broken_links": broken_links(folder), "docs_undocumented": list(undocumented())}
    for kind, names in faults.items():
        for name in names:
            print(f"{kind}: {name}")
    figures = {"pages": len(list(folder.rglob("*.html"))), "warnings": int(bool(failed))}
    print(json.dumps(figures | {kind: len(names) for kind, names in faults.items()}))
    sys.exit(1 if failed or any(faults.values()) else 0)


if __name__ == "__main__":
    main()
