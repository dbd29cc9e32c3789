"""Benchmark of the trainer: `./run bench trainer [--rows N] [--resumes N] [--sizes 0.5b 1.3b]`; the last line
is JSON.

Everything runs on synthetic rows with random weights. An SPO step is compared with a supervised step of the
same code on the same rows: same micro-batches, forward pass, clipping and optimiser, with likelihood for a
loss. Steps of both kinds alternate, and the ratio is of medians; on a CPU, of CPU seconds on one thread,
which other work on the machine does not stretch. Memory is the peak of a process of its own for each kind (on
a GPU, of torch's allocator). The tabular figures are the worst KL(pi || pi*) over the four data sets of the
acceptance test.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.store.store import Store
from pipeline.store.tables import TABLES
from trainer.data import Mixture, Row, ScoredTokens, Source, Stream
from trainer.distributed import SingleLearner, SingleProcess
from trainer.objectives import SpoSettings
from trainer.policies import (
    Policy,
    autocast,
    completion_logprobs,
    new_policy,
    packed_batch,
    prepare,
    token_batch,
)
from trainer.run import OptimiserSettings, TrainingJob, TrainingSettings, train
from trainer.run.optim import new_optimiser
from trainer.run.speed import model_flops, peak_flops, peak_memory_gb
from trainer.run.step import Trainer, micro_batches

REFERENCE = "bench"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CPU_SHAPES = {"prompt": 120, "completion": 200, "sequences": 16}
GPU_SHAPES = {"prompt": 512, "completion": 1536, "sequences": 32}
ROOMY_BYTES = 100e9
# Random weights in the shape of well-known models of this size.
SIZES = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
    },
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
    "1.3b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
}


def random_policy(size: str, device: torch.device) -> Policy:
    config = LlamaConfig(
        **SIZES[size],
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return Policy(LlamaForCausalLM(config).to(device), None, "plain")


def random_rows(vocabulary: int, prompt: int, completion: int, sequences: int, seed: int = 0) -> list[Row]:
    """Rows of 75 % to 100 % of the given lengths, and scores that put residuals in an ordinary range."""
    rng = np.random.default_rng(seed)

    def tokens(longest: int) -> np.ndarray:
        return rng.integers(1, vocabulary, int(rng.integers(3 * longest // 4, longest + 1)))

    rows = []
    for i in range(sequences):
        p, c = tokens(prompt), tokens(completion)
        logprob = -len(c) * float(np.log(vocabulary))
        reward, others = -float(rng.random() < 0.8), -np.ones(8)
        rows.append(Row(f"r{i}", "p", "bench", p, c, logprob, logprob, reward, "", others))
    return rows


def supervised_step(trainer: Trainer, rows: list[Row]) -> None:
    """What a step of the trainer does, with the likelihood of the completions for a loss."""
    policy, optimiser, settings = trainer.learner.policy, trainer.learner.optimiser, trainer.settings
    policy.model.train()
    total = sum(len(row.completion_ids) for row in rows)
    for group in micro_batches(rows, settings):
        prompts, completions = [rows[i].prompt_ids for i in group], [rows[i].completion_ids for i in group]
        packed = settings.layout == "packed"
        batch = (
            packed_batch(prompts, completions, settings.row_tokens)
            if packed
            else token_batch(prompts, completions)
        )
        with autocast(policy.device, settings.precision):
            logprob = completion_logprobs(policy.model, batch.to(policy.device), head=settings.head).logprob
        loss = -logprob.sum() / total
        if not torch.isfinite(loss.detach()):
            raise ArithmeticError("the supervised loss is not finite")
        loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), trainer.optimiser.clip_norm)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def one_step(kind: str, trainer: Trainer, rows: list[Row]) -> float:
    """Seconds of a step, on a CPU those that it computed. Step 1, for the gate of step 0 asks for true
    reference scores.
    """
    device = trainer.learner.policy.device
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    if kind == "spo":
        trainer.step(1, rows)
    else:
        supervised_step(trainer, rows)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def step_settings(device: torch.device, like_gpu: bool) -> TrainingSettings:
    if not like_gpu:
        return TrainingSettings(steps=100, batch_tokens=4096)
    # What is recomputed counts for nothing in MFU: with room for all activations of a micro-batch none is.
    roomy = device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory > ROOMY_BYTES
    return TrainingSettings(
        steps=100,
        precision="bf16",
        layout="packed",
        row_tokens=2048,
        batch_tokens=16384,
        activation_checkpointing=not roomy,
    )


def ready(size: str, device: torch.device, like_gpu: bool) -> tuple[Trainer, list[Row]]:
    policy, settings = random_policy(size, device), step_settings(device, like_gpu)
    prepare(policy, lora=None, activation_checkpointing=settings.activation_checkpointing)
    shapes = GPU_SHAPES if like_gpu else CPU_SHAPES
    if like_gpu and device.type == "cpu":
        shapes = shapes | {"sequences": 3}
    learner = SingleLearner(policy, new_optimiser(policy))
    trainer = Trainer(learner, SpoSettings().build(), settings, OptimiserSettings(learning_rate=1e-6))
    return trainer, random_rows(SIZES[size]["vocab_size"], **shapes)


def step_speed(size: str, device: torch.device, rounds: int, like_gpu: bool) -> dict[str, float | None]:
    trainer, rows = ready(size, device, like_gpu)
    seconds: dict[str, list[float]] = {"spo": [], "sft": []}
    for turn in range(rounds + 1):
        for kind in ("spo", "sft") if turn % 2 else ("sft", "spo"):
            seconds[kind].append(one_step(kind, trainer, rows))
    spo, sft = (statistics.median(seconds[kind][1:]) for kind in ("spo", "sft"))
    peak = peak_flops(device)
    return {
        "spo_vs_sft_speed": sft / spo,
        "tokens_s": sum(row.tokens for row in rows) / spo,
        "mfu": model_flops(trainer.learner.policy.model, rows) / (spo * peak) if peak else None,
    }


def step_memory(size: str, kind: str, device: torch.device, like_gpu: bool) -> float:
    """Peak GB of a few steps of one kind, in a process of its own."""
    trainer, rows = ready(size, device, like_gpu)
    for _ in range(3):
        one_step(kind, trainer, rows)
    return peak_memory_gb(device)


def memory_of_own_process(size: str, kind: str, device: torch.device, like_gpu: bool) -> float:
    command = [sys.executable, "-P", __file__, "--memory-of", kind, "--sizes", size, "--device", str(device)]
    command += ["--like-gpu"] if like_gpu else []
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def synthetic_store(folder: Path, rows: int, prompt: int, completion: int, vocabulary: int) -> Store:
    """Judged and scored human programs for a hundred problems, and reference samples of each, for Q0."""
    store, rng = Store(folder), np.random.default_rng(0)
    ids = [f"{i:032x}" for i in range(rows)]
    problem_ids = [f"bench/{i % 100}" for i in range(rows)]
    source = {"batch_id": "bench", "source_file": "bench", "source_line": 1}
    append(
        store,
        "problems",
        [
            {
                "problem_id": f"bench/{i}",
                "source": "bench",
                "split": "train",
                "title": "t",
                "statement": "s",
                "input_mode": "stdin",
                "checker": "tokens",
                "case_sensitive": True,
                "tags": [],
                "test_set_hash": "h",
                "test_count": 1,
                **source,
            }
            for i in range(100)
        ],
    )
    append(
        store,
        "trajectories",
        [
            {
                "trajectory_id": i,
                "problem_id": p,
                "origin": "earlier_training",
                "policy_id": REFERENCE,
                "source_key": i,
                "temperature": 1.0,
                "top_p": 1.0,
                "program": "print(1)",
                "extraction": "whole",
                "language": "python3",
                "behaviour_logprob": -1.0,
                "created_at": NOW,
                **source,
            }
            for i, p in zip(ids, problem_ids, strict=True)
        ],
    )
    append(
        store,
        "verdicts",
        [
            {
                "trajectory_id": i,
                "test_set_hash": "h",
                "judge_version": "1",
                "attempt": 1,
                "problem_id": p,
                "verdict": "accepted" if n % 5 == 0 else "wrong_answer",
                "passed": int(n % 5 == 0),
                "total": 1,
                "tests": [],
                "cpu_s": 0.1,
                "tier": "bench",
                "judged_at": NOW,
            }
            for n, (i, p) in enumerate(zip(ids, problem_ids, strict=True))
        ],
    )

    def token_lists(longest: int) -> pl.Series:
        lengths = rng.integers(3 * longest // 4, longest + 1, rows)
        flat = pl.Series(rng.integers(1, vocabulary, int(lengths.sum()), dtype=np.int32))
        owner = np.repeat(np.arange(rows), lengths)
        return (
            pl.DataFrame({"owner": owner, "ids": flat})
            .group_by("owner", maintain_order=True)
            .agg("ids")["ids"]
        )

    scores = pl.DataFrame(
        {
            "trajectory_id": ids,
            "reference": REFERENCE,
            "problem_id": problem_ids,
            "prompt_ids": token_lists(prompt),
            "completion_ids": token_lists(completion),
            "logprobs": [[0.0]] * rows,
            "logprob_sum": [-1.0] * rows,
            "scored_at": NOW,
        }
    )
    schema = TABLES["reference_scores"].schema.create_empty().schema
    store.append("reference_scores", scores.cast(schema), producer="bench", sequence=0)
    return store


def append(store: Store, table: str, rows: list[dict]) -> None:
    schema = TABLES[table].schema.create_empty().schema
    store.append(table, pl.DataFrame(rows, schema=schema), producer="bench", sequence=0)


def stream_of(store: Store, sequences: int = 64, seed: int = 0) -> Stream:
    sources = [
        Source(name="successes", where="j.verdict = 'accepted'", weight=0.5),
        Source(name="failures", where="j.verdict <> 'accepted'", weight=0.5),
    ]
    mixture = Mixture(batch_sequences=sequences, source=sources)
    return Stream(store, mixture, ScoredTokens(store, REFERENCE), reference_policy=REFERENCE, seed=seed)


def stream_speed(store: Store, batches: int) -> dict[str, float]:
    """Batches from the store to packed tensors, as the trainer does it; opening the store is timed apart."""
    stream = stream_of(store, sequences=256)
    started = time.perf_counter()
    stream.advance()
    opened = time.perf_counter() - started
    tokens, started = 0, time.perf_counter()
    for step in range(batches):
        rows = stream.batch(step)
        tokens += packed_batch([r.prompt_ids for r in rows], [r.completion_ids for r in rows], 2048).tokens
    return {"stream_tokens_s": tokens / (time.perf_counter() - started), "stream_open_s": opened}


def rows_equal(store: Store, steps: int = 20) -> float:
    """Whether 1, 2 and 4 ranks, each with a stream of its own, together train on the same rows, none of
    them twice.
    """
    settings = TrainingSettings(batch_tokens=2000)
    selected: dict[int, list[list[str]]] = {}
    for world in (1, 2, 4):
        selected[world] = [[] for _ in range(steps)]
        for rank in range(world):
            ranks, stream = SingleProcess(), stream_of(store)
            ranks.rank, ranks.world = rank, world
            stream.advance()
            for step in range(steps):
                rows = stream.batch(step)
                groups = micro_batches(rows, settings)
                for place, counts in ranks.share(len(groups)):
                    selected[world][step] += [rows[i].trajectory_id for i in groups[place]] if counts else []
    return float(
        all(list(map(sorted, selected[world])) == list(map(sorted, selected[1])) for world in (2, 4))
    )


def small_run(
    store: Store, folder: Path, steps: int, stop_after: int | None = None, pause_s: float = 0.0
) -> dict:
    """A run of a very small model that may be stopped after a step; returns its weights."""
    policy = new_policy(["abc def"], vocab_size=300, layers=1, width=16, heads=2, seed=0)
    settings = TrainingSettings(steps=steps, checkpoint_every=3, gate_nats=1e9)

    def on_step(figures: dict) -> None:
        time.sleep(pause_s)
        if figures["step"] == stop_after:
            raise KeyboardInterrupt

    job = TrainingJob(
        folder=folder,
        policy=policy,
        stream=stream_of(store, sequences=16),
        objective=SpoSettings().build(),
        settings=settings,
        optimiser=OptimiserSettings(learning_rate=1e-3),
        on_step=on_step,
    )
    return train(job).model.state_dict()


def resumes_equal(folder: Path, resumes: int) -> dict[str, float]:
    """Runs stopped after random steps and one that is killed with SIGKILL, each resumed: the share that
    ends bit-equal.
    """
    store, steps = synthetic_store(folder / "small", 60, 12, 10, 256), 16  # an epoch is 4 to 6 steps
    whole, rng, equal = small_run(store, folder / "whole", steps), np.random.default_rng(0), 0
    for number in range(resumes):
        target = folder / f"cut-{number}"
        try:
            small_run(store, target, steps, stop_after=int(rng.integers(0, steps - 1)))
        except KeyboardInterrupt:
            equal += same(whole, small_run(store, target, steps))
    command = [
        sys.executable,
        "-P",
        __file__,
        "--small-run",
        str(folder / "killed"),
        "--folder",
        str(folder / "small"),
    ]
    child = subprocess.Popen(command)
    log = folder / "killed" / "metrics.jsonl"
    while not log.exists() or log.read_text().count("\n") < 5:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    killed_early = not (folder / "killed" / "final").exists()
    equal += killed_early and same(whole, small_run(store, folder / "killed", steps))
    return {"resume_bit_equal": equal / (resumes + 1)}


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def data_wait(store: Store, folder: Path, steps: int) -> float:
    """Share of a run's time in which the step waits for its batch, the opening of the store before step 0
    left out.
    """
    policy = random_policy("tiny", torch.device("cpu"))
    policy.model.save_pretrained(folder / "reference")
    policy.save = lambda target: policy.model.save_pretrained(target)
    lines: list[dict] = []
    job = TrainingJob(
        folder=folder / "wait",
        policy=policy,
        stream=stream_of(store, sequences=8),
        objective=SpoSettings().build(),
        settings=TrainingSettings(steps=steps, gate_nats=1e9, batch_tokens=4096, checkpoint_every=10**6),
        optimiser=OptimiserSettings(learning_rate=1e-6),
        on_step=lines.append,
    )
    train(job)
    return sum(line["data_seconds"] for line in lines[1:]) / sum(line["seconds"] for line in lines[1:])


def tabular() -> dict[str, float]:
    path = Path(__file__).parents[1] / "trainer" / "test_objective.py"
    spec = importlib.util.spec_from_file_location("test_objective", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_default_dtype(torch.float64)
    toy = module.Toy()
    behaviours = list(toy.behaviours().values())
    fits = {
        "tabular_kl_squared": [toy.fit(behaviour, "squared") for behaviour in behaviours],
        "tabular_kl_ce": list(toy.fit_each(torch.stack(behaviours), "cross_entropy")),
    }
    worst = {name: max(map(toy.kl_to_optimum, fitted)) for name, fitted in fits.items()}
    torch.set_default_dtype(torch.float32)
    return worst


TARGETS = {
    "spo_vs_sft_speed": ">= 0.95",
    "spo_vs_sft_memory": "<= 1.05",
    "data_wait_share": "< 0.01",
    "stream_tokens_s": ">= 5e6",
    "resume_bit_equal": "1",
    "rows_equal_1_2_4": "1",
    "tabular_kl_squared": "< 1e-6",
    "tabular_kl_ce": "< 1e-3",
    "mfu": ">= 0.35 at 0.5b, >= 0.40 at 1.3b",
}


PARTS = ("step", "stream", "resume", "tabular")


def sized_figures(size: str, device: torch.device, rounds: int, like_gpu: bool) -> dict[str, float | None]:
    memory = {kind: memory_of_own_process(size, kind, device, like_gpu) for kind in ("spo", "sft")}
    speed = step_speed(size, device, rounds, like_gpu)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # for the processes of the next size
    return speed | {"spo_vs_sft_memory": memory["spo"] / memory["sft"], "peak_gb": memory["spo"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the stream's store")
    parser.add_argument(
        "--row-tokens", type=int, default=600, help="longest row of the stream's store, half of it prompt"
    )
    parser.add_argument("--batches", type=int, default=60, help="batches of 256 drawn for the stream's speed")
    parser.add_argument("--rounds", type=int, default=8, help="timed steps of each kind")
    parser.add_argument("--steps", type=int, default=20, help="steps of the run whose waiting is measured")
    parser.add_argument("--resumes", type=int, default=20)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--sizes", nargs="+", choices=list(SIZES), help="default: tiny on a CPU, 0.5b and 1.3b on a GPU"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the benchmark; default: all"
    )
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if left out")
    parser.add_argument(
        "--like-gpu",
        action="store_true",
        help="a GPU's settings (bf16, packed rows of 2,048) on a CPU: a check",
    )
    parser.add_argument("--memory-of", choices=["spo", "sft"], help=argparse.SUPPRESS)
    parser.add_argument("--small-run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    like_gpu = options.like_gpu or device.type == "cuda"
    if device.type == "cpu":
        torch.set_num_threads(1)
    if options.memory_of:
        return print(step_memory(options.sizes[0], options.memory_of, device, like_gpu))
    if options.small_run:
        small_run(Store(options.folder), options.small_run, 16, pause_s=0.1)
        return None
    sizes = options.sizes or (["0.5b", "1.3b"] if device.type == "cuda" else ["tiny"])
    folder = Path(tempfile.mkdtemp(prefix="bench-trainer-", dir=options.folder))
    try:
        by_size = (
            {size: sized_figures(size, device, options.rounds, like_gpu) for size in sizes}
            if "step" in options.only
            else {}
        )
        result = {
            name: by_size[sizes[-1]][name] for name in ("spo_vs_sft_speed", "spo_vs_sft_memory") if by_size
        }
        if "stream" in options.only:
            store = synthetic_store(
                folder / "store", options.rows, options.row_tokens // 2, options.row_tokens // 2, 4096
            )
            result |= {
                "data_wait_share": data_wait(store, folder, options.steps),
                **stream_speed(store, options.batches),
            }
            result |= {"rows_equal_1_2_4": rows_equal(store)}
        result |= resumes_equal(folder, options.resumes) if "resume" in options.only else {}
        result |= tabular() if "tabular" in options.only else {}
    finally:
        shutil.rmtree(folder)
    for size, figures in by_size.items():
        result |= {
            f"{name}_{size}": figures[name]
            for name in ("tokens_s", "mfu", "peak_gb")
            if figures[name] is not None
        }
    for name, value in result.items():
        print(f"{name:20} {value:14.6g}  {TARGETS.get(name, TARGETS.get(name.partition('_')[0], ''))}")
    print(json.dumps({name: float(f"{value:.4g}") for name, value in result.items()}))
    return None


if __name__ == "__main__":
    main()
