"""`spo score`: store the reference policy's log-probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.common import (
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
)


def score(
    policy: Annotated[Path, typer.Argument(help="Folder of the reference policy.")],
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
    follow: FollowOption = False,
    until: UntilOption = None,
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Store the reference policy's log-probabilities of every judged training trajectory.

    Examples: `spo score data/runs/demo-1a2b3c4d/reference` -- `spo score models/qwen --precision bf16
    --max-tokens 8192`
    """
    if follow:
        from flows.serving.following import Scorer, follow_and_report
        from trainer.policies import load_policy

        scorer = Scorer(open_store(store), load_policy(policy), max_tokens, policy, changed, precision, until)
        return finish(follow_and_report("score", scorer.work), as_json)
    use_server()
    from flows.stages.score import score_flow

    finish(score_flow(str(store), str(policy), max_tokens, precision, changed, runner, parts), as_json)
