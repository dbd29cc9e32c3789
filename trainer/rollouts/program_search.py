"""Trajectories that a search found, of origin `search`: off-policy data that no plain sampling would have
given.

* `temperatures`: samples at each of several temperatures;
* `best_of`: n samples a problem, all recorded, the chosen one marked: most public tests passed, then
  likeliest;
* `beam`: the most likely completions by beam search;
* `edit`: near-misses of anybody, changed in one place (`trainer/rollouts/edits.py`);
* `resample`: near-misses of anybody up to a line, and the rest by the policy.

How a row was made stands in its column `search`. Only plain draws keep temperature and top_p: the rest must
never count for Q0. A search is named, and its chunks carry (name, chunk) in their commits, so that a killed
one goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, Field

from pipeline.labelling import Judgeables
from pipeline.store import Store, Trajectories, connect, query, trajectory_id
from sandbox import Pool
from trainer.data import generator
from trainer.policies import Policy
from trainer.rollouts.edits import edits
from trainer.rollouts.generation import Provenance, SamplingSettings, chunk_seed, sampler_of, trajectories
from trainer.rollouts.sampling import Sample, sample

Method = Literal["temperatures", "best_of", "beam", "edit", "resample"]
CHUNK_PROBLEMS = 32
EDITOR = "edits"  # policy_id of edited programs: no policy wrote them

# Failing programs that run; equal ones once. The judge stops at the first failure: `passed` is a lower bound,
# and may be 0.
NEAR_MISSES = """
select problem_id, trajectory_id, program, passed, total from judged
where list_contains($problems, problem_id) and language = 'python3' and verdict <> 'accepted' and reward_binary is not null
  and (verdict = 'wrong_answer' or passed > 0) and search is null
qualify row_number() over (partition by problem_id, md5(program) order by trajectory_id) = 1
"""


class SearchSettings(BaseModel):
    """One search. `samples` are those of a problem: draws (a temperature), beams, edits, or continuations."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: Method
    samples: int = Field(8, ge=1)
    temperatures: tuple[float, ...] = Field((0.4, 0.7, 1.0, 1.3), description="of the method temperatures")
    max_new_tokens: int = Field(256, ge=1)
    batch_size: int = Field(256, ge=1)
    parents: int = Field(
        4, ge=1, description="edit, resample: near-misses of a problem that are taken, the nearest first"
    )


def search(
    store: Store,
    policy: Policy,
    problems: pl.DataFrame,
    settings: SearchSettings,
    provenance: Provenance,
    *,
    seed: int = 0,
    pool: Pool | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Search on problems (columns problem_id, statement) and append what is found; returns how many rows were
    appended now.

    `best_of` needs a pool to run public tests in; without one the likeliest is chosen.
    """
    provenance = provenance.model_copy(update={"origin": "search"})
    producer, added = f"search/{provenance.name}", 0
    done = store.last_sequence("trajectories", producer) + 1
    for chunk in range(done, -(-problems.height // CHUNK_PROBLEMS)):
        part = problems.slice(chunk * CHUNK_PROBLEMS, CHUNK_PROBLEMS)
        rows = METHODS[settings.method](
            store, policy, part, settings, provenance, chunk_seed(seed, provenance.name, chunk), pool
        )
        rows = rows.unique("trajectory_id", keep="first", maintain_order=True)
        store.append("trajectories", rows, producer=producer, sequence=chunk)
        added += rows.height
        if on_progress:
            on_progress(min((chunk + 1) * CHUNK_PROBLEMS, problems.height), problems.height)
    return added


def drawn(
    policy: Policy,
    part: pl.DataFrame,
    settings: SearchSettings,
    provenance: Provenance,
    temperature: float,
    seed: int,
) -> pl.DataFrame:
    """Plain draws at a temperature."""
    plain = SamplingSettings(
        samples_per_problem=settings.samples,
        temperature=temperature,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
    )
    samples = list(sampler_of(policy).draw(part["statement"].to_list(), plain, seed))
    return trajectories(samples, part["problem_id"].to_list(), plain, provenance)


def at_temperatures(store, policy, part, settings, provenance, seed, pool) -> pl.DataFrame:
    found = [
        marked(
            drawn(policy, part, settings, provenance, temperature, seed + place), {"method": "temperatures"}
        )
        for place, temperature in enumerate(settings.temperatures)
    ]
    return pl.concat(found)


def best_of(store, policy, part, settings, provenance, seed, pool) -> pl.DataFrame:
    rows = drawn(policy, part, settings, provenance, 1.0, seed)
    return with_chosen(rows, public_tests_passed(store, pool, rows) if pool else [None] * rows.height)


def with_chosen(rows: pl.DataFrame, passed: Sequence[int | None]) -> pl.DataFrame:
    """Rows with a mark on one of each problem: most public tests passed, of these the likeliest. `passed`:
    None if not run.
    """
    ranked = rows.with_columns(public=pl.Series(passed, dtype=pl.Int64)).select(
        "public",
        n=pl.len().over("problem_id"),
        rank=pl.struct(pl.col("public").fill_null(0), "behaviour_logprob")
        .rank("ordinal", descending=True)
        .over("problem_id"),
    )
    said = [
        {"method": "best_of", "n": n, "chosen": rank == 1, "public_tests_passed": public}
        for public, n, rank in ranked.iter_rows()
    ]
    return rows.with_columns(search=pl.Series([json.dumps(each) for each in said], dtype=pl.String))


def public_tests_passed(store: Store, pool: Pool, rows: pl.DataFrame) -> list[int]:
    """How many of its problem's public tests each row's program passes, before the first that it fails."""
    problems = Judgeables(store, rows["problem_id"].unique().to_list())
    submissions = []
    for place, row in enumerate(rows.select("problem_id", "program", "language").to_dicts()):
        whole, public = problems.submission(row, key=str(place)), problems.public_tests(row["problem_id"])
        chosen = tuple(test for test in whole.tests if test.test_id in public)
        if chosen:
            submissions.append(replace(whole, tests=chosen))
    passed = [0] * rows.height
    for judgement in pool.stream(iter(submissions)):
        passed[int(judgement.key)] = judgement.passed
    return passed


@torch.inference_mode()
def beams(store, policy, part, settings, provenance, seed, pool) -> pl.DataFrame:
    """The `samples` most likely completions that a beam of as many finds (transformers' own beam search)."""
    policy.model.eval()
    samples = []
    for place, statement in enumerate(part["statement"]):
        prompt = policy.prompt_ids(statement)
        ids = torch.tensor([prompt], device=policy.device)
        out = policy.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=settings.max_new_tokens,
            do_sample=False,
            num_beams=settings.samples,
            num_return_sequences=settings.samples,
            pad_token_id=policy.pad_id,
            eos_token_id=sorted(policy.stop_ids),
            length_penalty=0.0,
        )
        for number, row in enumerate(out[:, len(prompt) :].tolist()):
            end = next((at for at, token in enumerate(row) if token in policy.stop_ids), None)
            tokens = row if end is None else row[: end + 1]
            reason = "length" if end is None else "stop"
            samples.append(Sample(place, number, tokens, policy.completion_text(tokens), reason, None))
    rows = trajectories(samples, part["problem_id"].to_list(), SamplingSettings(), provenance)
    return marked(undrawn(rows), {"method": "beam", "beams": settings.samples})


def edited(store, policy, part, settings, provenance, seed, pool) -> pl.DataFrame:
    found: list[dict] = []
    for parent in near_misses(store, part, settings.parents).iter_rows(named=True):
        all_edits = edits(parent["program"])
        order = generator(seed, "edits", parent["trajectory_id"]).permutation(len(all_edits))
        for place in order[: max(1, settings.samples // settings.parents)]:
            edit = all_edits[int(place)]
            found.append(
                {
                    "problem_id": parent["problem_id"],
                    "origin": "search",
                    "policy_id": EDITOR,
                    "run_id": provenance.run_id,
                    "source_key": f"{provenance.name}#{parent['trajectory_id']}#{place}",
                    "program": edit.program,
                    "extraction": "given",
                    "language": "python3",
                    "created_at": datetime.now(UTC),
                    "batch_id": provenance.name,
                    "source_file": f"search/{provenance.name}",
                    "source_line": len(found) + 1,
                    "search": json.dumps(
                        {"method": "edit", "parent": parent["trajectory_id"], "what": edit.what}
                    ),
                }
            )
    return pl.DataFrame(
        [{"trajectory_id": trajectory_id(row), **row} for row in found],
        schema=None if found else Trajectories.create_empty().schema,
        schema_overrides={"search": pl.String, "run_id": pl.String},
    )


def resampled(store, policy, part, settings, provenance, seed, pool) -> pl.DataFrame:
    """Continuations of near-misses from the end of a line, drawn at temperature 1."""
    parents = near_misses(store, part, settings.parents)
    places = {problem: place for place, problem in enumerate(part["problem_id"])}
    prompts, kept, about = [], [], []
    for parent in parents.iter_rows(named=True):
        lines = parent["program"].splitlines(keepends=True)
        draws = generator(seed, "cut", parent["trajectory_id"])
        for _ in range(max(1, settings.samples // settings.parents)):
            cut = int(draws.integers(0, max(1, len(lines))))
            # A chat policy's program stands in a fence, which stays open here.
            beginning = policy.completion_of_program("".join(lines[:cut]))
            beginning = beginning.removesuffix("```") if policy.template == "chat" else beginning
            prefix = policy.completion_ids(beginning)[:-1] if cut else []
            prompts.append(policy.prompt_ids(part["statement"][places[parent["problem_id"]]]) + prefix)
            kept.append(prefix)
            about.append(
                {
                    "method": "resample",
                    "parent": parent["trajectory_id"],
                    "lines_kept": cut,
                    "temperature": 1.0,
                }
            )
    samples = []
    drawn_now = sample(
        policy,
        prompts,
        1,
        max_new_tokens=settings.max_new_tokens,
        seed=seed % 2**31,
        batch_size=settings.batch_size,
    )
    numbers: dict[str, int] = {}
    for one in sorted(drawn_now, key=lambda each: each.prompt_index):
        tokens = kept[one.prompt_index] + (one.token_ids or [])
        problem = parents["problem_id"][one.prompt_index // max(1, settings.samples // settings.parents)]
        number = numbers[problem] = numbers.get(problem, -1) + 1
        samples.append((places[problem], number, tokens, one.finish_reason, about[one.prompt_index]))
    samples.sort(key=lambda each: each[:2])
    made = [
        Sample(place, number, ids, policy.completion_text(ids), reason, None)
        for place, number, ids, reason, _ in samples
    ]
    rows = trajectories(made, part["problem_id"].to_list(), SamplingSettings(), provenance)
    return undrawn(rows).with_columns(
        search=pl.Series([json.dumps(each[4]) for each in samples], dtype=pl.String)
    )


def near_misses(store: Store, part: pl.DataFrame, count: int) -> pl.DataFrame:
    """The failing programs of each problem that passed most tests before they failed: at most `count` a
    problem.
    """
    with connect(store) as connection:
        found = query(connection, NEAR_MISSES, {"problems": part["problem_id"].to_list()})
    share = pl.col("passed") / pl.col("total")
    return (
        found.sort("problem_id", -share, "trajectory_id")
        .group_by("problem_id", maintain_order=True)
        .head(count)
    )


def undrawn(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that are no draws of the policy: without temperature and log-probability."""
    return rows.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("temperature", "top_p", "behaviour_logprob")
    )


def marked(rows: pl.DataFrame, how: dict) -> pl.DataFrame:
    return rows.with_columns(search=pl.lit(json.dumps(how), dtype=pl.String))


METHODS: dict[str, Callable[..., pl.DataFrame]] = {
    "temperatures": at_temperatures,
    "best_of": best_of,
    "beam": beams,
    "edit": edited,
    "resample": resampled,
}
