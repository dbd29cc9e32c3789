"""Program search: off-policy trajectories of origin `search` that plain sampling would not give.

* `temperatures`: samples at each of several temperatures;
* `best_of`: n samples per problem, all recorded, the best one marked: most public tests passed, then most
  likely;
* `beam`: the most likely completions by beam search;
* `edit`: near-misses of any origin, changed in one place (`trainer/rollouts/edits.py`);
* `resample`: the beginning of a near-miss of any origin, continued by the policy.

The column `search` records how a row was made. Only plain samples keep temperature and top_p: other rows must
not count for Q0. The commits of a search carry its name and the chunk number, so that a killed search resumes
with the next chunk.
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

from pipeline.labelling import SubmissionBuilder
from pipeline.store import Store, Trajectories, connect, query, trajectory_id
from sandbox import Pool
from trainer.data import generator
from trainer.policies import Policy, Problem, problems_of
from trainer.rollouts.edits import edits
from trainer.rollouts.generation import Provenance, SamplingSettings, as_sampler, chunk_seed, trajectories
from trainer.rollouts.sampling import Sample, sample

Method = Literal["temperatures", "best_of", "beam", "edit", "resample"]
CHUNK_PROBLEMS = 32
EDITOR = "edits"  # policy_id of edited programs: no policy wrote them

# Failing programs that run, equal ones once. The judge stops at the first failure, so that `passed` is a
# lower bound and may be 0.
NEAR_MISSES = """
select problem_id, trajectory_id, program, passed, total from judged
where list_contains($problems, problem_id) and language = 'python3' and verdict <> 'accepted'
  and reward_binary is not null
  and (verdict = 'wrong_answer' or passed > 0) and search is null
qualify row_number() over (partition by problem_id, md5(program) order by trajectory_id) = 1
"""


class SearchSettings(BaseModel):
    """One search. `samples` counts per problem: samples per temperature, beams, edits, or continuations."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: Method
    samples: int = Field(8, ge=1)
    temperatures: tuple[float, ...] = Field((0.4, 0.7, 1.0, 1.3), description="of the method temperatures")
    max_new_tokens: int = Field(256, ge=1)
    batch_size: int = Field(256, ge=1)
    parents: int = Field(
        4, ge=1, description="edit, resample: near-misses used per problem, the nearest first"
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
    """Search on problems (columns problem_id, statement) and append the results; returns the number of rows
    that this call appended.

    `best_of` runs public tests in the pool; without one it marks the most likely sample.
    """
    provenance = provenance.model_copy(update={"origin": "search"})
    producer, added = f"search/{provenance.name}", 0
    done = store.last_sequence("trajectories", producer) + 1
    asked = problems_of(store, problems.slice(done * CHUNK_PROBLEMS))
    for chunk in range(done, -(-problems.height // CHUNK_PROBLEMS)):
        part = problems.slice(chunk * CHUNK_PROBLEMS, CHUNK_PROBLEMS)
        first = (chunk - done) * CHUNK_PROBLEMS
        rows = METHODS[settings.method](
            store,
            policy,
            part,
            asked[first : first + CHUNK_PROBLEMS],
            settings,
            provenance,
            chunk_seed(seed, provenance.name, chunk),
            pool,
        )
        rows = rows.unique("trajectory_id", keep="first", maintain_order=True)
        store.append("trajectories", rows, producer=producer, sequence=chunk)
        added += rows.height
        if on_progress:
            on_progress(min((chunk + 1) * CHUNK_PROBLEMS, problems.height), problems.height)
    return added


def draw_samples(
    policy: Policy,
    part: pl.DataFrame,
    asked: list[Problem],
    settings: SearchSettings,
    provenance: Provenance,
    temperature: float,
    seed: int,
) -> pl.DataFrame:
    """Plain samples at a temperature."""
    plain = SamplingSettings(
        samples_per_problem=settings.samples,
        temperature=temperature,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
    )
    samples = list(as_sampler(policy).draw(asked, plain, seed))
    return trajectories(samples, part["problem_id"].to_list(), plain, provenance)


def sample_at_temperatures(store, policy, part, asked, settings, provenance, seed, pool) -> pl.DataFrame:
    samples = [
        with_search_column(
            draw_samples(policy, part, asked, settings, provenance, temperature, seed + place),
            {"method": "temperatures"},
        )
        for place, temperature in enumerate(settings.temperatures)
    ]
    return pl.concat(samples)


def sample_best_of(store, policy, part, asked, settings, provenance, seed, pool) -> pl.DataFrame:
    rows = draw_samples(policy, part, asked, settings, provenance, 1.0, seed)
    return mark_best(rows, public_tests_passed(store, pool, rows) if pool else [None] * rows.height)


def mark_best(rows: pl.DataFrame, passed: Sequence[int | None]) -> pl.DataFrame:
    """Mark one row per problem: most public tests passed, then most likely. `passed` is None for tests that
    were not run.
    """
    ranked = rows.with_columns(public=pl.Series(passed, dtype=pl.Int64)).select(
        "public",
        n=pl.len().over("problem_id"),
        rank=pl.struct(pl.col("public").fill_null(0), "behaviour_logprob")
        .rank("ordinal", descending=True)
        .over("problem_id"),
    )
    records = [
        {"method": "best_of", "n": n, "chosen": rank == 1, "public_tests_passed": public}
        for public, n, rank in ranked.iter_rows()
    ]
    return rows.with_columns(search=pl.Series([json.dumps(each) for each in records], dtype=pl.String))


def public_tests_passed(store: Store, pool: Pool, rows: pl.DataFrame) -> list[int]:
    """How many of its problem's public tests each row's program passes, before the first that it fails."""
    problems = SubmissionBuilder(store, rows["problem_id"].unique().to_list())
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
def search_beams(store, policy, part, asked, settings, provenance, seed, pool) -> pl.DataFrame:
    """The most likely completions by the beam search of transformers, with `samples` beams."""
    policy.model.eval()
    samples = []
    for place, problem in enumerate(asked):
        prompt = policy.prompt_ids(problem)
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
    return with_search_column(without_sampling_columns(rows), {"method": "beam", "beams": settings.samples})


def edit_near_misses(store, policy, part, asked, settings, provenance, seed, pool) -> pl.DataFrame:
    edited: list[dict] = []
    for parent in near_misses(store, part, settings.parents).iter_rows(named=True):
        all_edits = edits(parent["program"])
        order = generator(seed, "edits", parent["trajectory_id"]).permutation(len(all_edits))
        for place in order[: max(1, settings.samples // settings.parents)]:
            edit = all_edits[int(place)]
            edited.append(
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
                    "source_line": len(edited) + 1,
                    "search": json.dumps(
                        {"method": "edit", "parent": parent["trajectory_id"], "what": edit.what}
                    ),
                }
            )
    return pl.DataFrame(
        [{"trajectory_id": trajectory_id(row), **row} for row in edited],
        schema=None if edited else Trajectories.create_empty().schema,
        schema_overrides={"search": pl.String, "run_id": pl.String},
    )


def resample_near_misses(store, policy, part, asked, settings, provenance, seed, pool) -> pl.DataFrame:
    """Continuations of near-misses from the end of a line, sampled at temperature 1."""
    parents = near_misses(store, part, settings.parents)
    indices = {problem: place for place, problem in enumerate(part["problem_id"])}
    prompts, prefixes, about = [], [], []
    for parent in parents.iter_rows(named=True):
        lines = parent["program"].splitlines(keepends=True)
        draws = generator(seed, "cut", parent["trajectory_id"])
        for _ in range(max(1, settings.samples // settings.parents)):
            cut = int(draws.integers(0, max(1, len(lines))))
            # A chat policy writes its program in a fence, which stays open here.
            beginning = policy.completion_of_program("".join(lines[:cut]))
            beginning = beginning.removesuffix("```") if policy.template == "chat" else beginning
            prefix = policy.completion_ids(beginning)[:-1] if cut else []
            prompts.append(policy.prompt_ids(asked[indices[parent["problem_id"]]]) + prefix)
            prefixes.append(prefix)
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
        tokens = prefixes[one.prompt_index] + (one.token_ids or [])
        problem = parents["problem_id"][one.prompt_index // max(1, settings.samples // settings.parents)]
        number = numbers[problem] = numbers.get(problem, -1) + 1
        samples.append((indices[problem], number, tokens, one.finish_reason, about[one.prompt_index]))
    samples.sort(key=lambda each: each[:2])
    results = [
        Sample(place, number, ids, policy.completion_text(ids), reason, None)
        for place, number, ids, reason, _ in samples
    ]
    rows = trajectories(results, part["problem_id"].to_list(), SamplingSettings(), provenance)
    return without_sampling_columns(rows).with_columns(
        search=pl.Series([json.dumps(each[4]) for each in samples], dtype=pl.String)
    )


def near_misses(store: Store, part: pl.DataFrame, count: int) -> pl.DataFrame:
    """The failing programs of each problem that passed most tests before they failed: at most `count`
    per problem.
    """
    with connect(store) as connection:
        rows = query(connection, NEAR_MISSES, {"problems": part["problem_id"].to_list()})
    share = pl.col("passed") / pl.col("total")
    return (
        rows.sort("problem_id", -share, "trajectory_id")
        .group_by("problem_id", maintain_order=True)
        .head(count)
    )


def without_sampling_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that are not plain samples of the policy: without temperature and log-probability."""
    return rows.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("temperature", "top_p", "behaviour_logprob")
    )


def with_search_column(rows: pl.DataFrame, how: dict) -> pl.DataFrame:
    return rows.with_columns(search=pl.lit(json.dumps(how), dtype=pl.String))


METHODS: dict[str, Callable[..., pl.DataFrame]] = {
    "temperatures": sample_at_temperatures,
    "best_of": sample_best_of,
    "beam": search_beams,
    "edit": edit_near_misses,
    "resample": resample_near_misses,
}
