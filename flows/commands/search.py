"""`spo search`: find programs that plain sampling does not."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, use_server

Method = Literal["temperatures", "best_of", "beam", "edit", "resample"]


def search(
    method: Annotated[
        Method,
        typer.Argument(
            help="temperatures, best_of, beam, edit or resample: `trainer/rollouts/program_search.py`."
        ),
    ],
    policy: Annotated[str, typer.Argument(help="A policy's id or folder, or a run: then its newest policy.")],
    problems: Annotated[
        str, typer.Option(help="SQL condition on `problems`: where to search.")
    ] = "split = 'train'",
    samples: Annotated[
        int, typer.Option(min=1, help="A problem: draws a temperature, beams, edits or continuations.")
    ] = 8,
    temperatures: Annotated[
        list[float] | None, typer.Option("--temperature", help="Of `temperatures`; may be repeated.")
    ] = None,
    parents: Annotated[
        int, typer.Option(min=1, help="Near-misses of a problem that edit and resample begin with.")
    ] = 4,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Find programs that plain sampling does not, and append them as trajectories of origin `search`.

    Examples: `spo search best_of mine --samples 16` -- `spo search temperatures mine --temperature 0.4
    --temperature 1.2` -- `spo search edit mine --problems "split = 'train' and source = 'starter'"`
    """
    from trainer.policies import digest, find_policy
    from trainer.rollouts import SearchSettings

    opened = open_store(store)
    found = find_policy(opened, policy)
    given = {"temperatures": tuple(temperatures)} if temperatures else {}
    settings = SearchSettings(
        method=method, samples=samples, parents=parents, max_new_tokens=max_new_tokens, **given
    )
    what = {"where": problems, "seed": str(seed), "settings": settings.model_dump_json()}
    name = f"{found.policy_id}/search-{digest(what)}"
    who = {"name": name, "policy_id": found.policy_id, "run_id": found.run_id, "policy_step": found.step}
    use_server()
    from flows.stages.rollouts import search_flow

    added = search_flow(store, str(found.folder), who, settings.model_dump(mode="json"), problems, seed)
    finish({"search": name, "policy": found.policy_id, "trajectories": added}, as_json)
