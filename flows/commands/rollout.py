"""`spo rollout`: sample a policy once, or follow a run and sample each policy it publishes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, use_server

if TYPE_CHECKING:
    from pipeline.store import Store
    from trainer.policies import Found
    from trainer.rollouts import SamplingSettings

Choice = Literal["uniform", "difficulty", "uncertainty", "unsolved"]
Endpoint = Literal["completions", "chat"]
FOLLOWED_PROBLEMS = 32

PolicyArgument = Annotated[
    str, typer.Argument(help="A policy's id or folder, or a run: then its newest policy.")
]
ProblemsOption = Annotated[str, typer.Option(help="SQL condition on `problems`: what is sampled.")]
CountOption = Annotated[
    int | None,
    typer.Option(min=1, help=f"Problems at most; with --follow per round, {FOLLOWED_PROBLEMS} by default."),
]
TemperatureOption = Annotated[float, typer.Option(min=0.01, help="1, with --top-p 1, is what Q0 needs.")]
MaxNewTokensOption = Annotated[int, typer.Option(min=1, help="A completion cut here has failed.")]
FollowRunOption = Annotated[
    bool, typer.Option("--follow", help="Sample a run's newest policy round after round until it is done.")
]
WorkerOption = Annotated[
    str, typer.Option(help="With --follow: number of this worker and how many there are, e.g. 0/4.")
]
MaxWaitingOption = Annotated[
    int, typer.Option(min=1, help="With --follow: pause while this many have no verdict.")
]
MaxPerPolicyOption = Annotated[
    int, typer.Option(min=1, help="With --follow: pause when a policy has this many.")
]
ServerOption = Annotated[
    str | None, typer.Option(help="Address of an OpenAI-compatible server that samples.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="With --server: the model's name there; default: POLICY.")
]
EndpointOption = Annotated[
    Endpoint | None, typer.Option(help="With --server: default is what the policy's format asks for.")
]
ConcurrencyOption = Annotated[int, typer.Option(min=1, help="With --server: requests at a time.")]


@dataclass(frozen=True)
class Selection:
    """The problems that are sampled: a predicate, and how many of them are chosen how."""

    where: str
    count: int | None
    choice: Choice
    seed: int


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server and how it is asked."""

    url: str
    model: str
    endpoint: Endpoint | None
    concurrency: int


def rollout(
    policy: PolicyArgument,
    problems: ProblemsOption = "split = 'train'",
    samples: Annotated[int, typer.Option(min=1, help="Samples per problem.")] = 4,
    count: CountOption = None,
    choice: Annotated[Choice, typer.Option(help="How these are chosen.")] = "uniform",
    temperature: TemperatureOption = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 1.0,
    max_new_tokens: MaxNewTokensOption = 256,
    follow: FollowRunOption = False,
    worker: WorkerOption = "0/1",
    max_waiting: MaxWaitingOption = 1024,
    max_per_policy: MaxPerPolicyOption = 1024,
    server: ServerOption = None,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    concurrency: ConcurrencyOption = 8,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Sample completions of a policy and append them as trajectories of origin `online`; `spo label` judges
    them.

    A server's model that is not one of our policies is recorded under its name as `other_policy`. The key in
    OPENAI_API_KEY is sent to the server.

    Examples: `spo rollout data/runs/mine/final --problems "split = 'train'" --samples 8` --
    `spo rollout mine --follow --choice uncertainty --worker 1/2` --
    `spo rollout qwen3-8b --server http://127.0.0.1:8000 --model Qwen/Qwen3-8B`
    """
    from trainer.rollouts import SamplingSettings

    sampling = SamplingSettings(
        samples_per_problem=samples, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
    )
    selection = Selection(problems, count, choice, seed)
    if follow:
        refuse_following_a_server(policy, server)
        return follow_run(store, policy, sampling, selection, worker, max_waiting, max_per_policy, as_json)
    asked = Server(server, model or policy, endpoint, concurrency) if server else None
    sample_once(store, policy, sampling, selection, asked, as_json)


def refuse_following_a_server(policy: str, server: str | None) -> None:
    if server:
        raise typer.BadParameter(
            "a server samples the weights it was started with and does not say which, so a run's newest policy"
            f" cannot be followed there; once it serves one, sample that: spo rollout {policy}@STEP --server {server}",
            param_hint="--follow",
        )


def follow_run(
    store: str,
    run: str,
    sampling: SamplingSettings,
    selection: Selection,
    worker: str,
    max_waiting: int,
    max_per_policy: int,
    as_json: bool,
) -> None:
    from flows.serving.following import follow_aloud
    from trainer.rollouts import RolloutWorker, WorkerSettings

    number, workers = worker_share(worker)
    settings = WorkerSettings(
        run=run,
        where=selection.where,
        choice=selection.choice,
        problems=selection.count or FOLLOWED_PROBLEMS,
        sampling=sampling,
        seed=selection.seed,
        worker=number,
        workers=workers,
        max_waiting=max_waiting,
        max_per_policy=max_per_policy,
    )
    opened = open_store(store)
    finish(follow_aloud(f"rollout {worker}", RolloutWorker(opened, settings).work), as_json)


def sample_once(
    store: str,
    policy: str,
    sampling: SamplingSettings,
    selection: Selection,
    server: Server | None,
    as_json: bool,
) -> None:
    opened = open_store(store)
    found = sampled_policy(opened, policy, server)
    chosen = chosen_problems(opened, found, selection)
    what = selection.where if chosen is None else json.dumps(chosen)
    provenance = provenance_of(found, what, selection.seed, sampling, server)
    use_server()
    if server:
        from flows.stages.rollouts import served_rollout_flow

        folder = str(found.folder) if found.folder else None
        sampled = served_rollout_flow(
            store,
            server.url,
            server.model,
            server.endpoint,
            server.concurrency,
            folder,
            provenance,
            sampling.model_dump(),
            selection.where,
            chosen,
            selection.seed,
        )
    else:
        from flows.stages.policies import rollout_flow

        sampled = rollout_flow(
            store,
            str(found.folder),
            provenance,
            sampling.model_dump(),
            selection.where,
            chosen,
            selection.seed,
        )
    finish({"rollout": provenance["name"], "policy": found.policy_id, "sampled": sampled}, as_json)


def sampled_policy(store: Store, policy: str, server: Server | None) -> Found:
    """The published policy by that name; with a server, a name that is only known there. Raises
    PolicyNotFound.
    """
    from trainer.policies import Found, PolicyNotFound, find_policy

    try:
        return find_policy(store, policy)
    except PolicyNotFound:
        if not server:
            raise
        return Found(policy, None, None, None, None)


def chosen_problems(store: Store, found: Found, selection: Selection) -> list[str] | None:
    """The problems that are sampled, chosen now where their number is limited; None: all that the
    predicate selects.
    """
    from trainer.rollouts import WATERMARK_TABLES, choose, counted

    if not selection.count:
        return None
    versions = store.pins(list(WATERMARK_TABLES))
    problems = counted(store, selection.where, found.parent_id or found.policy_id, versions)
    chosen = choose(problems, selection.choice, selection.count, seed=selection.seed, round_number=0)
    return chosen["problem_id"].to_list()


def provenance_of(
    found: Found, problems: str, seed: int, sampling: SamplingSettings, server: Server | None
) -> dict:
    """What the rollout's trajectories are recorded under. Its name is made of what it does, so that the same
    command again costs a look-up."""
    from trainer.policies import digest

    what = {"where": problems, "seed": str(seed), "sampling": sampling.model_dump_json()}
    if server:
        what["server"] = f"{server.url} {server.model}"
    return {
        "name": f"{found.policy_id}/rollout-{digest(what)}",
        "policy_id": found.policy_id,
        "run_id": found.run_id,
        "policy_step": found.step,
        "origin": "online" if found.folder else "other_policy",
    }


def worker_share(worker: str) -> tuple[int, int]:
    """`1/4` as number and count. Raises BadParameter."""
    match = re.fullmatch(r"(\d+)/(\d+)", worker)
    number, workers = map(int, match.groups()) if match else (0, 0)
    if not number < workers:
        raise typer.BadParameter(
            f"{worker!r} is not NUMBER/COUNT with a number from 0 to COUNT - 1", param_hint="--worker"
        )
    return number, workers
