"""`spo eval`: pass@k of policies on chosen problems, and two policies against each other."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, use_server

if TYPE_CHECKING:
    from pipeline.store import Estimate, Store
    from trainer.evaluation import Evaluation


def evaluate(
    policies: Annotated[
        list[str], typer.Argument(help="Policies: ids or folders, or a run for its newest policy.")
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the first with each other, as evaluated before.")
    ] = False,
    problems: Annotated[
        str, typer.Option(help="SQL condition on `problems`: what is evaluated on.")
    ] = "split = 'test'",
    samples: Annotated[int, typer.Option(min=1, help="Samples a problem; pass@k needs k.")] = 20,
    temperature: Annotated[float, typer.Option(min=0.01)] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="A completion cut here has failed.")] = 256,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Estimate pass@1, 10 and 100 of a policy, with intervals over problems, by source and difficulty; done once, then looked up.

    Examples: `spo eval mine@200 --problems "split = 'test' and source = 'starter'" --samples 100` --
    `spo eval --compare reference mine`
    """
    opened = open_store(store)
    if compare:
        return show_comparisons(opened, policies, as_json)
    from trainer.policies import find_policy
    from trainer.rollouts import SamplingSettings

    settings = SamplingSettings(
        samples_per_problem=samples, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
    )
    chosen = [find_policy(opened, name) for name in policies]
    use_server()
    from flows.stages.evaluate import evaluate_flow
    from flows.stages.policies import select_problems
    from trainer.evaluation import settings_key, stored, summary_of

    key, found = settings_key(settings, select_problems(store, problems), seed), []
    for policy in chosen:
        evaluate_flow(
            store, str(policy.folder), policy.policy_id, problems, settings.model_dump(), policy.run_id, seed
        )
        rows = stored(opened, policy.policy_id, key)
        summary = summary_of(policy.policy_id, rows)
        if not as_json:
            show(opened, summary, rows)
        found.append(plain(summary))
    finish(found, as_json)


def show(store: Store, summary: Evaluation, rows) -> None:
    """Groups and totals of one policy, on standard output."""
    from flows.display.terminal import show_table
    from pipeline.evaluation import by_group

    groups = store.read("problems", ["problem_id", "source", "difficulty"])
    table = [{name: text(value) for name, value in group.items()} for group in by_group(rows, groups)]
    total = {
        "source": "all",
        "difficulty": "",
        "problems": summary.problems,
        "pass@1": text(summary.pass_at_1),
        "pass@10": text(summary.pass_at_10),
        "pass@100": text(summary.pass_at_100),
        "distinct correct": summary.distinct_correct,
    }
    show_table(
        f"{summary.policy_id}: {summary.samples:,} samples; intervals of 95 % over problems",
        [*table, total],
        sys.stdout,
    )
    total_samples = sum(summary.verdicts.values())
    mix = ", ".join(f"{verdict} {count / total_samples:.1%}" for verdict, count in summary.verdicts.items())
    entropy = "" if summary.token_entropy is None else f"; token entropy {summary.token_entropy:.3f} nats"
    typer.echo(f"{mix}{entropy}")


def show_comparisons(store: Store, policies: list[str], as_json: bool) -> None:
    from dataclasses import asdict

    from flows.display.terminal import show_table
    from pipeline.evaluation import compare

    if len(policies) < 2:
        raise typer.BadParameter("name two policies, the one to compare with first", param_hint="POLICIES")
    first, evaluations, found = policies[0], store.read("evaluations"), []
    for other in policies[1:]:
        differences = compare(evaluations, first, other)
        found.append({"a": first, "b": other, "metrics": [asdict(difference) for difference in differences]})
        if not as_json:
            rows = [
                {
                    "metric": d.metric,
                    first: text(d.a),
                    other: text(d.b),
                    "change": f"{d.change.mean:+.3f}",
                    "interval": f"[{d.change.low:+.3f}, {d.change.high:+.3f}]",
                    "problems": d.change.problems,
                }
                for d in differences
            ]
            show_table(
                f"{other} against {first}, paired by problem, intervals of 95 % over problems",
                rows,
                sys.stdout,
            )
    if as_json:
        typer.echo(json.dumps(found))


def text(value: Estimate | float | str | None) -> object:
    return "-" if value is None else value if isinstance(value, int | float | str) else str(value)


def plain(summary: Evaluation) -> dict:
    from dataclasses import asdict

    return asdict(summary)
