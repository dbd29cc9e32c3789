"""`spo score`: store the reference policy's log-probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.common import (
    SMALL_PENDING,
    STORE,
    FollowOption,
    JsonOption,
    PartsOption,
    RunnerOption,
    StoreOption,
    UntilOption,
    finish,
    open_store,
    use_server,
    works_alone,
)

if TYPE_CHECKING:
    from trainer.policies import Precision


def score(
    policy: Annotated[
        Path,
        typer.Argument(help="Folder of the reference policy; with --rows also a published policy or run."),
    ],
    max_tokens: Annotated[
        int,
        typer.Option(
            min=2, help="Maximum tokens of prompt and completion together; longer rows are skipped."
        ),
    ] = 2048,
    precision: Annotated[
        Literal["fp32", "bf16", "bf16-weights"],
        typer.Option(help="Precision of the training that will use the scores."),
    ] = "fp32",
    changed: Annotated[
        bool,
        typer.Option("--changed", help="The folder now holds another policy; keep the scores of both."),
    ] = False,
    rows: Annotated[
        str | None,
        typer.Option(
            help="SQL condition on t (trajectories) and p (problems): only these rows, of any split;"
            " to see the credit per token under any policy in `spo view`."
        ),
    ] = None,
    follow: FollowOption = False,
    until: UntilOption = None,
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Store the reference policy's log-probabilities of every judged training trajectory.

    Examples: `spo score data/runs/demo-1a2b3c4d/reference` -- `spo score models/qwen --precision bf16
    --max-tokens 8192` -- `spo score mine --rows "t.problem_id = 'mine/double'"`
    """
    if rows is not None:
        if follow or runner:
            raise typer.BadParameter("not with --follow or --runner", param_hint="--rows")
        return finish(score_rows(store, str(policy), rows, max_tokens, precision, changed), as_json)
    if follow:
        from flows.serving.following import Scorer, follow_and_report
        from trainer.policies import load_policy

        scorer = Scorer(open_store(store), load_policy(policy), max_tokens, policy, changed, precision, until)
        return finish(follow_and_report("score", scorer.work), as_json)
    if works_alone(store, runner) and few_to_score(store):
        from flows.work.score import score_store, score_trajectories

        def score_all() -> list[dict]:
            return [score_trajectories(0, 1, str(store), str(policy), max_tokens, precision, changed)]

        return finish(score_store(str(store), max_tokens, score_all), as_json)
    use_server()
    from flows.stages.score import score_flow

    finish(score_flow(str(store), str(policy), max_tokens, precision, changed, runner, parts), as_json)


def score_rows(
    location: str,
    name: str,
    rows: str,
    max_tokens: int,
    precision: Precision,
    changed: bool,
) -> dict[str, Any]:
    """Score chosen rows in this process. Raises BadParameter for a policy without weights at hand."""
    from dataclasses import asdict

    from trainer.policies import PolicyNotFound, find_policy, has_weights, load_policy
    from trainer.policies import score as score_policy

    opened = open_store(location)
    try:
        folder = Path(name) if has_weights(name) else find_policy(opened, name).folder
    except PolicyNotFound as error:
        raise typer.BadParameter(str(error), param_hint="POLICY") from error
    if folder is None:
        raise typer.BadParameter(f"the weights of {name} were not kept", param_hint="POLICY")
    summary = score_policy(
        opened,
        load_policy(folder),
        where=rows,
        max_tokens=max_tokens,
        precision=precision,
        folder=folder,
        changed=changed,
    )
    return asdict(summary)


def few_to_score(store: str) -> bool:
    """Whether few verdicts lack a score. Counted from the logs of the tables: scores under other references
    make it lower than it is.
    """
    from pipeline.store import Store

    opened = Store(store)
    pending = opened.statistics("verdicts").rows - opened.statistics("reference_scores").rows
    return pending <= SMALL_PENDING
