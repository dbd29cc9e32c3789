"""`spo search`: find programs that plain sampling does not find."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, use_server
from flows.commands.completion import PolicyArgument

Method = Literal["temperatures", "best_of", "beam", "edit", "resample"]


def search(
    method: Annotated[
        Method,
        typer.Argument(
            help="temperatures, best_of, beam, edit or resample; see `trainer/rollouts/program_search.py`."
        ),
    ],
    policy: PolicyArgument,
    problems: Annotated[
        str, typer.Option(help="SQL condition on `problems` that selects where to search.")
    ] = "split = 'train'",
    samples: Annotated[
        int, typer.Option(min=1, help="Per problem: samples per temperature, beams, edits or continuations.")
    ] = 8,
    temperatures: Annotated[
        list[float] | None, typer.Option("--temperature", help="For the method `temperatures`; repeatable.")
    ] = None,
    parents: Annotated[
        int, typer.Option(min=1, help="Per problem: near misses that edit and resample start from.")
    ] = 4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens of a completion.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the sampling.")] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Find programs that plain sampling does not find, and append them as trajectories of origin `search`.

    Examples: `spo search best_of mine --samples 16` -- `spo search temperatures mine --temperature 0.4
    --temperature 1.2` -- `spo search edit mine --problems "split = 'train' and source = 'starter'"`
    """
    from trainer.policies import digest, find_policy
    from trainer.rollouts import SearchSettings

    opened = open_store(store)
    published = find_policy(opened, policy)
    own_temperatures = {"temperatures": tuple(temperatures)} if temperatures else {}
    settings = SearchSettings(
        method=method, samples=samples, parents=parents, max_new_tokens=max_new_tokens, **own_temperatures
    )
    what = {"where": problems, "seed": str(seed), "settings": settings.model_dump_json()}
    name = f"{published.policy_id}/search-{digest(what)}"
    source = {"policy_id": published.policy_id, "run_id": published.run_id, "policy_step": published.step}
    provenance = {"name": name, **source}
    use_server()
    from flows.stages.rollouts import search_flow

    fields = settings.model_dump(mode="json")
    count = search_flow(store, str(published.folder), provenance, fields, problems, seed)
    finish({"search": name, "policy": published.policy_id, "trajectories": count}, as_json)
