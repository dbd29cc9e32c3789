"""`spo rollout` and `spo search`: sample a policy, once or for as long as a run goes on, or search beyond its samples."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, use_server

if TYPE_CHECKING:
    from pipeline.store import Store
    from trainer.policies import Found
    from trainer.rollouts import SamplingSettings

Choice = Literal["uniform", "difficulty", "uncertainty", "unsolved"]
Endpoint = Literal["completions", "chat"]
Method = Literal["temperatures", "best_of", "beam", "edit", "resample"]


def rollout(
    policy: Annotated[str, typer.Argument(help="A policy's id or folder, or a run: then its newest policy.")],
    problems: Annotated[
        str, typer.Option(help="SQL condition on `problems`: what is sampled.")
    ] = "split = 'train'",
    samples: Annotated[int, typer.Option(min=1, help="Samples a problem.")] = 4,
    count: Annotated[
        int | None, typer.Option(min=1, help="Problems at most; with --follow those of a round, 32.")
    ] = None,
    choice: Annotated[Choice, typer.Option(help="How these are chosen.")] = "uniform",
    temperature: Annotated[float, typer.Option(min=0.01, help="1, with --top-p 1, is what Q0 needs.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="A completion cut here has failed.")] = 256,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Sample a run's newest policy round after round until it is done."),
    ] = False,
    worker: Annotated[
        str, typer.Option(help="With --follow: number of this worker and how many there are.")
    ] = "0/1",
    max_waiting: Annotated[
        int, typer.Option(min=1, help="With --follow: pause while as many have no verdict.")
    ] = 1024,
    max_per_policy: Annotated[
        int, typer.Option(min=1, help="With --follow: pause when a policy has as many.")
    ] = 1024,
    server: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server that samples.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With --server: the model's name there; default: POLICY.")
    ] = None,
    endpoint: Annotated[
        Endpoint | None, typer.Option(help="With --server: default is what the policy's format asks.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="With --server: requests at a time.")] = 8,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Sample completions of a policy and append them as trajectories of origin `online`; `spo label` judges them.

    A model of a server that is none of our policies is recorded under its name as `other_policy`; OPENAI_API_KEY is passed on.

    Examples: `spo rollout data/runs/mine/final --problems "split = 'train'" --samples 8` --
    `spo rollout mine --follow --choice uncertainty --worker 1/2` --
    `spo rollout qwen3-8b --server http://127.0.0.1:8000 --model Qwen/Qwen3-8B`
    """
    from trainer.rollouts import SamplingSettings

    opened = open_store(store)
    sampling = SamplingSettings(
        samples_per_problem=samples, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
    )
    if follow and server:
        raise typer.BadParameter(
            "a server samples the weights it was started with and does not say which, so a run's newest policy cannot be followed"
            f" there; once it serves one, sample that: spo rollout {policy}@STEP --server {server}",
            param_hint="--follow",
        )
    if follow:
        from flows.serving.following import follow_aloud
        from trainer.rollouts import RolloutWorker, WorkerSettings

        number, workers = share(worker)
        settings = WorkerSettings(
            run=policy,
            where=problems,
            choice=choice,
            problems=count or 32,
            sampling=sampling,
            seed=seed,
            worker=number,
            workers=workers,
            max_waiting=max_waiting,
            max_per_policy=max_per_policy,
        )
        return finish(follow_aloud(f"rollout {worker}", RolloutWorker(opened, settings).work), as_json)
    from trainer.policies import Found, PolicyNotFound, find_policy

    try:
        found = find_policy(opened, policy)
    except PolicyNotFound:
        if not server:
            raise
        found = Found(policy, None, None, None, None)
    where, who, what = named(
        opened,
        found,
        problems,
        sampling,
        count,
        choice,
        seed,
        f"{server} {model or policy}" if server else "",
    )
    use_server()
    if server:
        from flows.stages.rollouts import served_rollout_flow

        folder = str(found.folder) if found.folder else None
        sampled = served_rollout_flow(
            store,
            server,
            model or policy,
            endpoint,
            concurrency,
            folder,
            who,
            sampling.model_dump(),
            where,
            seed,
        )
    else:
        from flows.stages.policies import rollout_flow

        sampled = rollout_flow(store, str(found.folder), who, sampling.model_dump(), where, seed)
    finish({"rollout": what, "policy": found.policy_id, "sampled": sampled}, as_json)


def named(
    store: Store,
    found: Found,
    where: str,
    sampling: SamplingSettings,
    count: int | None,
    choice: Choice,
    seed: int,
    server: str,
) -> tuple[str, dict, str]:
    """What is sampled, who is recorded, and the rollout's name, made of what it does: the same command again costs a look-up."""
    from pipeline.store import sql_list
    from trainer.policies import digest
    from trainer.rollouts import WATERMARK_TABLES, choose, counted

    if count:
        problems = counted(
            store, where, found.parent_id or found.policy_id, store.pins(list(WATERMARK_TABLES))
        )
        chosen = choose(problems, choice, count, seed=seed, round_number=0)["problem_id"].to_list()
        where = f"list_contains({sql_list(chosen)}, problem_id)"
    what = {"where": where, "seed": str(seed), "sampling": sampling.model_dump_json()} | (
        {"server": server} if server else {}
    )
    name = f"{found.policy_id}/rollout-{digest(what)}"
    origin = "online" if found.folder else "other_policy"
    who = {
        "name": name,
        "policy_id": found.policy_id,
        "run_id": found.run_id,
        "policy_step": found.step,
        "origin": origin,
    }
    return where, who, name


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

    Examples: `spo search best_of mine --samples 16` -- `spo search temperatures mine --temperature 0.4 --temperature 1.2` --
    `spo search edit mine --problems "split = 'train' and source = 'starter'"`
    """
    from trainer.policies import digest, find_policy
    from trainer.rollouts import SearchSettings

    opened = open_store(store)
    found = find_policy(opened, policy)
    given = {"temperatures": tuple(temperatures)} if temperatures else {}
    settings = SearchSettings(
        method=method, samples=samples, parents=parents, max_new_tokens=max_new_tokens, **given
    )
    name = f"{found.policy_id}/search-{digest({'where': problems, 'seed': str(seed), 'settings': settings.model_dump_json()})}"
    who = {"name": name, "policy_id": found.policy_id, "run_id": found.run_id, "policy_step": found.step}
    use_server()
    from flows.stages.rollouts import search_flow

    added = search_flow(store, str(found.folder), who, settings.model_dump(mode="json"), problems, seed)
    finish({"search": name, "policy": found.policy_id, "trajectories": added}, as_json)


def share(worker: str) -> tuple[int, int]:
    """`1/4` as number and count. Raises BadParameter."""
    match = re.fullmatch(r"(\d+)/(\d+)", worker)
    number, workers = map(int, match.groups()) if match else (0, 0)
    if not number < workers:
        raise typer.BadParameter(
            f"{worker!r} is not NUMBER/COUNT with a number from 0 to COUNT - 1", param_hint="--worker"
        )
    return number, workers
