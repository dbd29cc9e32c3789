"""`spo eval`: pass@k of policies on a set of problems, and comparison of policies or runs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import completion
from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store, use_server
from flows.display.terminal import echo

if TYPE_CHECKING:
    import polars as pl

    from pipeline.evaluation import Difference, Estimate, Pairing
    from pipeline.store import Store
    from trainer.evaluation import Evaluation
    from trainer.policies import PublishedPolicy
    from trainer.rollouts import SamplingSettings


def evaluate(
    policies: Annotated[
        list[str],
        typer.Argument(
            help="Policies: ids, folders, or runs (their newest policy; with --compare, all their seeds).",
            autocompletion=completion.policies,
        ),
    ],
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Compare the stored evaluations of each policy with the first one's."),
    ] = False,
    problems: Annotated[
        str, typer.Option(help="SQL condition on `problems`: the evaluation set.")
    ] = "split = 'test'",
    samples: Annotated[
        int, typer.Option(min=1, help="Samples per problem; pass@k needs at least k of them.")
    ] = 20,
    temperature: Annotated[float, typer.Option(min=0.01, help="Sampling temperature.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Nucleus sampling; 1 is off.")] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum tokens of a completion; a truncated one counts as failed.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the sampling.")] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Estimate pass@1, pass@10 and pass@100 of policies, with confidence intervals, by source and difficulty.
    A stored evaluation is looked up; evaluations that differ only in the seed are pooled.

    Problems with fewer than k judged samples are left out of pass@k, and their number is reported. Runs whose
    names end in a seed, such as `mine/seed-0` and `mine/seed-1`, are compared together as `mine`.

    Examples: `spo eval mine@200 --problems "split = 'test' and source = 'starter'" --samples 100` --
    `spo eval --compare reference mine`
    """
    opened = open_store(store)
    if compare:
        return _compare(opened, policies, as_json)
    from trainer.policies import find_policy
    from trainer.rollouts import SamplingSettings

    settings = SamplingSettings(
        samples_per_problem=samples, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
    )
    chosen = [find_policy(opened, name) for name in policies]
    use_server()
    finish(_evaluate_each(opened, store, chosen, problems, settings, seed, as_json), as_json)


def _evaluate_each(
    opened: Store,
    store: str,
    chosen: list[PublishedPolicy],
    problems: str,
    settings: SamplingSettings,
    seed: int,
    as_json: bool,
) -> list[dict]:
    """Evaluate policies one after another, and show each result when it is ready."""
    from flows.stages.evaluate import evaluate_flow
    from flows.work.rollouts import select_problems
    from trainer.evaluation import settings_key, stored, summary_of

    key, summaries = settings_key(settings, select_problems(store, problems), seed), []
    for policy in chosen:
        evaluate_flow(
            store, str(policy.folder), policy.policy_id, problems, settings.model_dump(), policy.run_id, seed
        )
        rows = stored(opened, policy.policy_id, key)
        summary = summary_of(policy.policy_id, rows)
        if not as_json:
            _show(opened, summary, rows)
        summaries.append(asdict(summary))
    return summaries


def _show(store: Store, summary: Evaluation, rows: pl.DataFrame) -> None:
    """Groups and totals of one policy, on standard output."""
    from flows.display.terminal import show_table
    from pipeline.evaluation import by_group

    groups = store.read("problems", ["problem_id", "source", "difficulty"])
    table = [{name: _cell(value) for name, value in group.items()} for group in by_group(rows, groups)]
    estimates = {"pass@1": summary.pass_at_1, "pass@10": summary.pass_at_10, "pass@100": summary.pass_at_100}
    total = {
        "source": "all",
        "difficulty": "",
        "problems": summary.problems,
        **{name: _cell(estimate) for name, estimate in estimates.items()},
        "distinct correct": summary.distinct_correct,
    }
    title = f"{summary.policy_id}: {summary.samples:,} judged samples; 95 % intervals over problems"
    show_table(title, [*table, total], sys.stdout)
    if summary.evaluations > 1:
        echo(f"pooled from {summary.evaluations} evaluations that differ only in the seed")
    for name, estimate in estimates.items():
        if estimate and estimate.left_out:
            echo(_left_out(name, estimate))
    if summary.judge_errors:
        echo(f"{summary.judge_errors:,} samples have no verdict and count neither as success nor as failure")
    total_samples = sum(summary.verdicts.values())
    shares = [f"{verdict} {count / total_samples:.1%}" for verdict, count in summary.verdicts.items()]
    entropy = "" if summary.token_entropy is None else f"; token entropy {summary.token_entropy:.3f} nats"
    echo(f"{', '.join(shares)}{entropy}")


def _left_out(metric: str, estimate: Estimate) -> str:
    left_out = f"{estimate.left_out:,} were left out because they have too few judged samples"
    return f"{metric} is over {estimate.problems:,} problems; {left_out}"


def _compare(store: Store, names: list[str], as_json: bool) -> None:
    """Compare each further policy or run with the first one."""
    from pipeline.evaluation import differences, pair, policies_of

    if len(names) < 2:
        raise typer.BadParameter(
            "give at least two policies; the others are compared with the first", param_hint="POLICIES"
        )
    first, evaluations, comparisons = names[0], store.read("evaluations"), []
    for other in names[1:]:
        pairing = pair(evaluations, policies_of(evaluations, first), policies_of(evaluations, other))
        metrics = differences(pairing)
        sides = {"a": first, "b": other, "a_policies": pairing.a, "b_policies": pairing.b}
        comparisons.append(
            sides
            | {"settings": json.loads(pairing.comparable), "not_evaluated": pairing.absent}
            | {"metrics": [asdict(metric) for metric in metrics]}
        )
        if not as_json:
            _show_comparison(first, other, pairing, metrics)
    if as_json:
        typer.echo(json.dumps(comparisons))


def _show_comparison(first: str, other: str, pairing: Pairing, metrics: list[Difference]) -> None:
    from flows.display.terminal import show_table

    rows = [
        {
            "metric": metric.metric,
            first: _cell(metric.a),
            other: _cell(metric.b),
            "change": f"{metric.change.mean:+.3f}",
            "interval": f"[{metric.change.low:+.3f}, {metric.change.high:+.3f}]",
            "problems": metric.change.problems,
            "left out": metric.change.left_out,
        }
        for metric in metrics
    ]
    seeds = len(pairing.b)
    over = "problems" if seeds == 1 == len(pairing.a) else "problems and seeds"
    title = f"{other} against {first}, paired by problem, 95 % intervals over {over}"
    show_table(title, rows, sys.stdout)
    if seeds > 1:
        echo(f"{other} is the mean of {seeds} seeds: {', '.join(pairing.b)}")
    if pairing.absent:
        echo(f"left out, because not evaluated with the same settings: {', '.join(pairing.absent)}")


def _cell(value: Estimate | float | str | None) -> object:
    return "-" if value is None else value if isinstance(value, int | float | str) else str(value)
