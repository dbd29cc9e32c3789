"""`spo rollout`: sample a policy once, or follow a run and sample each policy it publishes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.common import (
    SMALL_SAMPLES,
    STORE,
    JsonOption,
    StoreOption,
    finish,
    open_store,
    use_server,
    works_alone,
)
from flows.commands.completion import PolicyArgument

if TYPE_CHECKING:
    from pipeline.store import Store
    from trainer.policies import PublishedPolicy
    from trainer.rollouts import FollowingServers, SamplingSettings

Choice = Literal["uniform", "difficulty", "uncertainty", "unsolved"]
Endpoint = Literal["completions", "chat"]
FOLLOWED_PROBLEMS = 32

ProblemsOption = Annotated[
    str, typer.Option(help="SQL condition on `problems` that selects what is sampled.")
]
CountOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help=f"Maximum number of problems; with --follow, per round (default {FOLLOWED_PROBLEMS}).",
    ),
]
TemperatureOption = Annotated[
    float, typer.Option(min=0.01, help="Sampling temperature; Q0 needs 1, with --top-p 1.")
]
TopPOption = Annotated[float, typer.Option(min=0.01, max=1, help="Nucleus sampling; 1 is off.")]
MaxNewTokensOption = Annotated[
    int, typer.Option(min=1, help="Maximum tokens of a completion; a truncated one counts as failed.")
]
LanguageOption = Annotated[
    str,
    typer.Option(help="Language that programs are asked in; in others than Python, only stdin problems."),
]
FollowRunOption = Annotated[
    bool, typer.Option("--follow", help="Sample a run's newest policy in rounds until the run is finished.")
]
WorkerOption = Annotated[
    str, typer.Option(help="With --follow: number of this worker / number of workers, e.g. 0/4.")
]
MaxWaitingOption = Annotated[
    int, typer.Option(min=1, help="With --follow: pause while this many rollouts have no verdict.")
]
MaxPerPolicyOption = Annotated[
    int, typer.Option(min=1, help="With --follow: pause when a policy has this many rollouts.")
]
ServerOption = Annotated[
    list[str] | None,
    typer.Option(
        help="URL of an OpenAI-compatible server that generates the samples; with --follow repeatable, and"
        " its weights are replaced by those of the newest policy (vLLM)."
    ),
]
ServeCommandOption = Annotated[
    str | None,
    typer.Option(
        help="With --follow --server: the command that starts the server, {folder} for the policy's folder;"
        " it is started again for each policy."
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(help="With --server: name of the model on the server; default: POLICY.")
]
EndpointOption = Annotated[
    Endpoint | None,
    typer.Option(help="With --server: the endpoint to use; default: the one for the policy's prompt format."),
]
ConcurrencyOption = Annotated[
    int, typer.Option(min=1, help="With --server: number of simultaneous requests.")
]


@dataclass(frozen=True)
class Selection:
    """The problems that are sampled: a predicate, and how many of them are selected by which method."""

    where: str
    count: int | None
    choice: Choice
    seed: int


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server and the settings of requests to it."""

    url: str
    model: str
    endpoint: Endpoint | None
    concurrency: int


@dataclass(frozen=True)
class Servers:
    """The servers that follow a run, and how they take its policies."""

    urls: list[str]
    command: str | None
    concurrency: int

    def following(self) -> FollowingServers | None:
        """None without a server: the worker samples in its own process."""
        from flows.commands.common import DATA
        from trainer.rollouts import FollowingServers, RestartedServer, VllmServer, WeightServer

        addresses = [url.rstrip("/").removesuffix("/v1") for url in self.urls]
        if not addresses:
            return None
        servers: list[WeightServer]
        if self.command:
            servers = [RestartedServer(addresses[0], self.command, DATA / "serve-command.log")]
        else:
            servers = [VllmServer(url) for url in addresses]
        return FollowingServers(servers, self.concurrency)


def rollout(
    policy: PolicyArgument,
    problems: ProblemsOption = "split = 'train'",
    samples: Annotated[int, typer.Option(min=1, help="Samples per problem.")] = 4,
    count: CountOption = None,
    choice: Annotated[Choice, typer.Option(help="How --count selects problems.")] = "uniform",
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    max_new_tokens: MaxNewTokensOption = 256,
    language: LanguageOption = "python3",
    follow: FollowRunOption = False,
    worker: WorkerOption = "0/1",
    max_waiting: MaxWaitingOption = 1024,
    max_per_policy: MaxPerPolicyOption = 1024,
    server: ServerOption = None,
    serve_command: ServeCommandOption = None,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    concurrency: ConcurrencyOption = 8,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of selection and sampling.")] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Sample completions of a policy and append them as trajectories of origin `online`. `spo label` judges
    them.

    Samples of a server's model that is not one of our policies get the origin `other_policy` and the model's
    name. The key in OPENAI_API_KEY is sent to the server.

    Examples: `spo rollout data/runs/mine/final --problems "split = 'train'" --samples 8` --
    `spo rollout mine --follow --choice uncertainty --worker 1/2` --
    `spo rollout mine --follow --server http://127.0.0.1:8000` --
    `spo rollout qwen3-8b --server http://127.0.0.1:8000 --model Qwen/Qwen3-8B`
    """
    from trainer.rollouts import SamplingSettings

    sampling = SamplingSettings(
        samples_per_problem=samples,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        language=asked_language(language),
    )
    selection, urls = Selection(problems, count, choice, seed), server or []
    check_servers(urls, serve_command, follow=follow)
    if follow:
        share, servers = (worker, max_waiting, max_per_policy), Servers(urls, serve_command, concurrency)
        return follow_run(store, policy, sampling, selection, *share, servers, as_json)
    remote = Server(urls[0], model or policy, endpoint, concurrency) if urls else None
    sample_once(store, policy, sampling, selection, remote, as_json)


def check_servers(urls: list[str], command: str | None, *, follow: bool) -> None:
    """Raises BadParameter for options that do not go together."""
    if command and not (follow and len(urls) == 1):
        raise typer.BadParameter("needs --follow and one --server", param_hint="--serve-command")
    if len(urls) > 1 and not follow:
        raise typer.BadParameter("several servers need --follow", param_hint="--server")


def asked_language(name: str) -> str:
    """The name of a language in the table. Raises BadParameter for an unknown one."""
    from sandbox.languages import UnknownLanguage, require_language

    try:
        return require_language(name).name
    except UnknownLanguage as error:
        raise typer.BadParameter(str(error), param_hint="--language") from error


def follow_run(
    store: str,
    run: str,
    sampling: SamplingSettings,
    selection: Selection,
    worker: str,
    max_waiting: int,
    max_per_policy: int,
    servers: Servers,
    as_json: bool,
) -> None:
    from flows.serving.following import follow_and_report
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
    opened, following = open_store(store), servers.following()
    try:
        work = RolloutWorker(opened, settings, following).work
        result = follow_and_report(f"rollout {worker}", work)
    finally:
        if following:
            following.close()
    finish(result | ({"refreshes": following.refreshes} if following else {}), as_json)


def sample_once(
    store: str,
    policy: str,
    sampling: SamplingSettings,
    selection: Selection,
    server: Server | None,
    as_json: bool,
) -> None:
    opened = open_store(store)
    published = sampled_policy(opened, policy, server)
    problem_ids = selected_problems(opened, published, selection)
    problems = selection.where if problem_ids is None else json.dumps(problem_ids)
    provenance = rollout_provenance(published, problems, selection.seed, sampling, server)
    if server is None and works_alone(store):
        from flows.work.rollouts import count_problems, sample_policy
        from trainer.rollouts import Provenance

        count = count_problems(store, selection.where) if problem_ids is None else len(problem_ids)
        if count * sampling.samples_per_problem <= SMALL_SAMPLES:
            where = (selection.where, problem_ids, selection.seed)
            sampled = sample_policy(store, str(published.folder), Provenance(**provenance), sampling, *where)
            return report_sampled(provenance["name"], published.policy_id, sampled, as_json)
    use_server()
    if server:
        from flows.stages.rollouts import served_rollout_flow

        folder = str(published.folder) if published.folder else None
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
            problem_ids,
            selection.seed,
        )
    else:
        from flows.stages.policies import rollout_flow

        sampled = rollout_flow(
            store,
            str(published.folder),
            provenance,
            sampling.model_dump(),
            selection.where,
            problem_ids,
            selection.seed,
        )
    report_sampled(provenance["name"], published.policy_id, sampled, as_json)


def report_sampled(name: str, policy_id: str, sampled: int, as_json: bool) -> None:
    finish({"rollout": name, "policy": policy_id, "sampled": sampled}, as_json)


def sampled_policy(store: Store, policy: str, server: Server | None) -> PublishedPolicy:
    """The published policy of that name; with a server, the name may be known only there. Raises
    PolicyNotFound.
    """
    from trainer.policies import PolicyNotFound, PublishedPolicy, find_policy

    try:
        return find_policy(store, policy)
    except PolicyNotFound:
        if not server:
            raise
        return PublishedPolicy(policy, None, None, None, None)


def selected_problems(store: Store, published: PublishedPolicy, selection: Selection) -> list[str] | None:
    """Ids of the problems to sample if their number is limited; None: all problems that the predicate
    selects.
    """
    from trainer.rollouts import WATERMARK_TABLES, choose_problems, problem_counts

    if not selection.count:
        return None
    versions = store.pins(list(WATERMARK_TABLES))
    problems = problem_counts(store, selection.where, published.parent_id or published.policy_id, versions)
    chosen = choose_problems(problems, selection.choice, selection.count, seed=selection.seed, round_number=0)
    return chosen["problem_id"].to_list()


def rollout_provenance(
    published: PublishedPolicy, problems: str, seed: int, sampling: SamplingSettings, server: Server | None
) -> dict:
    """The provenance of the rollout's trajectories. The rollout's name is derived from its inputs, so that
    the same command is looked up when it is run again.
    """
    from trainer.policies import digest

    what = {"where": problems, "seed": str(seed), "sampling": sampling.model_dump_json()}
    if server:
        what["server"] = f"{server.url} {server.model}"
    return {
        "name": f"{published.policy_id}/rollout-{digest(what)}",
        "policy_id": published.policy_id,
        "run_id": published.run_id,
        "policy_step": published.step,
        "origin": "online" if published.folder else "other_policy",
    }


def worker_share(worker: str) -> tuple[int, int]:
    """Parse `1/4` into number and count. Raises BadParameter."""
    match = re.fullmatch(r"(\d+)/(\d+)", worker)
    number, workers = map(int, match.groups()) if match else (0, 0)
    if not number < workers:
        raise typer.BadParameter(
            f"{worker!r} is not NUMBER/COUNT with a number from 0 to COUNT - 1", param_hint="--worker"
        )
    return number, workers
