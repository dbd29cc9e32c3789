"""`spo init`: the files to begin with, filled in from what the store has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store

if TYPE_CHECKING:
    from pipeline.store import Store

TEMPLATES = Path(__file__).parent / "templates"
FIRST_REFERENCE = "models/first"
ROWS = """
select origin, count(*) as rows, count(*) filter (verdict = 'accepted') as accepted
from judged where split = 'train' and reward_binary is not null and origin <> 'online'
group by origin order by rows desc, origin
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.")] = Path("."),
    reference: Annotated[
        str | None,
        typer.Option(help="Policy that training starts from, its id or folder; default: the newest one."),
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Write run.toml, schedule.toml and corpora/humans.sql for the store at hand, with comments.

    Nothing is overwritten. Examples: `spo init` -- `spo init runs/first --reference models/first`
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    opened = open_store(store)
    spec = folder / "corpora" / "humans.sql"
    targets = {"run.toml": folder / "run.toml", "schedule.toml": folder / "schedule.toml", "humans.sql": spec}
    if present := [str(path) for path in targets.values() if os.path.lexists(path)]:
        raise typer.BadParameter(f"{', '.join(present)}: already there; name another folder")
    facts = {"store": store, "spec": str(spec), **store_facts(opened), **reference_facts(opened, reference)}
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    templates = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, **options)
    spec.parent.mkdir(parents=True, exist_ok=True)
    for name, path in targets.items():
        path.write_text(templates.get_template(f"{name}.jinja").render(facts))
    report([str(path) for path in targets.values()], facts, as_json)


def store_facts(store: Store) -> dict[str, Any]:
    """Sources of a mixture, one for each origin with judged rows, in equal shares; the evaluation set."""
    from pipeline.store import connect, query
    from trainer.objectives import OBJECTIVES

    with connect(store) as connection:
        origins = query(connection, ROWS).to_dicts()
        test_problems = query(connection, "select count(*) from problems where split = 'test'").item()
    sources = origins or [{"origin": "human", "rows": 0, "accepted": 0}]
    weight = round(1 / len(sources), 2)
    return {
        "sources": [source | {"weight": weight} for source in sources],
        "test_problems": test_problems,
        "objectives": sorted(set(OBJECTIVES) - {"spo"}),
    }


def reference_facts(store: Store, name: str | None) -> dict[str, Any]:
    """The policy to begin with and the run that is named after it. Raises PolicyNotFound for a name that is
    given and unknown.
    """
    from trainer.policies import PolicyNotFound, find_policy, newest_published

    try:
        policy = newest_published(store) if name is None else find_policy(store, name)
        folder = str(policy.folder)
    except PolicyNotFound:
        if name is not None:
            raise
        folder = FIRST_REFERENCE
    run_name = f"{Path(folder).name}-spo"
    exists = (Path(folder) / "config.json").exists()
    run = f"data/runs/{run_name}"
    return {"reference": folder, "reference_exists": exists, "run": run, "run_name": run_name}


def report(files: list[str], facts: dict[str, Any], as_json: bool) -> None:
    from flows.display.terminal import echo

    echo(f"Wrote {', '.join(files)}.")
    reference = facts["reference"]
    first = [] if facts["reference_exists"] else [f"spo warmstart {reference}"]
    commands = [
        *first,
        f"spo rollout {reference} --samples 8    # samples that Q0 is estimated from; then: spo label",
        f"spo score {reference}",
        f"spo train {files[0]} --dry-run",
    ]
    echo("next: " + "\n      ".join(commands))
    finish({"files": files, "reference": reference}, as_json)
