"""Pages of the reference, made from the code: settings, tables, views, questions, commands, API, rooms."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# README -> its page here.
ROOMS = {
    "pipeline/README.md": "pipeline",
    "pipeline/adapters/README.md": "adapters",
    "trainer/README.md": "trainer",
    "sandbox/README.md": "sandbox",
    "flows/README.md": "flows",
    "SECURITY.md": "security",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "RESULTS.md": "results",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def write_all(folder: Path) -> None:
    """Write every page into `folder`; a page that has not changed keeps its time."""
    folder.mkdir(exist_ok=True)
    pages = {
        "settings": settings_page(),
        "schedule": schedule_page(),
        "tables": tables_page(),
        "views": sql_page("views", "Views", "Names that a query may use like tables."),
        "questions": sql_page("questions", "Saved questions", "`spo sql @NAME` runs one of them."),
        "commands": commands_page(),
        "api": api_page(),
        **{page: room_page(readme) for readme, page in ROOMS.items()},
    }
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def settings_page() -> str:
    from trainer.run import run_keys

    head = "# Keys of a run file\n\n`spo train run.toml` reads it; `spo config` prints the same list.\n"
    return head + "".join(key_tables(run_keys(None)))


def schedule_page() -> str:
    from flows.serving.keys import schedule_keys

    head = (
        "# Keys of a schedule file\n\n`spo serve FILE` reads it; `spo config --schedule` prints this list.\n"
    )
    return head + "".join(key_tables(schedule_keys()))


def key_tables(keys: list) -> Iterator[str]:
    """Markdown: one table per section."""
    for section, rows in groupby(keys, key=lambda key: key.section):
        yield f"\n## {f'`[{section}]`' if section else 'Top level'}\n\n"
        yield "| key | type | default | meaning |\n|---|---|---|---|\n"
        for key in rows:
            default = "required" if key.default is None else f"`{key.default}`"
            yield f"| `{key.key}` | {cell(key.type)} | {cell(default)} | {cell(key.meaning)} |\n"


def cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def tables_page() -> str:
    from pipeline.store.contract_tables import all_tables

    head = "# Tables\n\nEach column has a type and a contract, which is checked before rows are written.\n\n"
    return head + all_tables().replace("\n### ", "\n## ").replace("### ", "## ", 1) + "\n"


def sql_page(kind: str, title: str, purpose: str) -> str:
    """One section per file of `pipeline/store/KIND`: its comment, and its SQL."""
    parts = [f"# {title}\n\n{purpose}\n"]
    for path in sorted((ROOT / "pipeline" / "store" / kind).glob("*.sql")):
        lines = path.read_text().splitlines()
        count = next(number for number, line in enumerate(lines) if not line.startswith("--"))
        comment = " ".join(line.removeprefix("--").strip() for line in lines[:count])
        body = "\n".join(lines[count:]).strip()
        parts.append(f"\n## `{path.stem}`\n\n{comment}\n\n```sql\n{body}\n```\n")
    return "".join(parts)


def commands_page() -> str:
    """Typer's own documentation of the command line."""
    words = [sys.executable, "-P", "-m", "typer", "flows.cli", "utils", "docs", "--name", "spo"]
    done = subprocess.run(
        words, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout.replace("# `spo`\n", "# Commands\n", 1).replace("<", "&lt;")


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TERMINAL_WIDTH": "100"}


def api_page() -> str:
    """The names of `import spo`."""
    import spo

    _, _, text = (spo.__doc__ or "").partition("\n\n")
    parts = [f"# `import spo`\n\n{text.rstrip()}\n"]
    for name in spo.__all__:
        home = spo._HOMES.get(name)
        if home is None:
            continue
        module, _, own = home.partition(":")
        kind = "autoclass" if isinstance(getattr(spo, name), type) else "autofunction"
        target = f"{module}.{own or name}"
        parts.append(f"\n## `spo.{name}`\n\n```{{eval-rst}}\n.. {kind}:: {target}\n   :no-index:\n```\n")
    return "".join(parts)


def room_page(readme: str) -> str:
    """A README with links that hold here; a link to a file of the repository becomes its path."""
    text = (ROOT / readme).read_text()
    folder = Path(readme).parent

    def link(found: re.Match[str]) -> str:
        image, label, target = found.groups()
        if "://" in target or target.startswith("#"):
            return found[0]
        path, _, anchor = target.partition("#")
        inside = (ROOT / folder / path).resolve().relative_to(ROOT).as_posix()
        if not (ROOT / inside).exists():
            raise FileNotFoundError(f"{readme}: link to {target}, which does not exist")
        if image:
            return f"![{label}](../../{inside})"
        if inside in ROOMS:
            return f"[{label}]({ROOMS[inside]}.md{f'#{anchor}' if anchor else ''})"
        plain = label.strip("`")
        return f"`{inside}`" if plain in inside else f"{plain} (`{inside}`)"

    return LINK.sub(link, text)
