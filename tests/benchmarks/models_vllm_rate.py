"""Tokens per CPU-second of vLLM: run by `models.py --vllm PYTHON` in an environment with vLLM, which need not
have anything of this project. Arguments: the folder of a model, and a file of requests. Prints one JSON line.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ |= {
    # The engine in this process, whose CPU time is counted.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
from vllm import LLM, SamplingParams  # type: ignore[import-not-found]


def main() -> None:
    folder, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    model = LLM(
        folder, skip_tokenizer_init=True, dtype="float32", max_model_len=512, enforce_eager=True,
        max_num_seqs=asked["rows"], kv_cache_memory_bytes=500_000_000,
    )  # fmt: skip
    # Without a limit to the distribution, as Q0 asks; a seed would give each row a generator of its own.
    sampling = SamplingParams(
        temperature=1.0, top_p=1.0, top_k=0, max_tokens=asked["max_new_tokens"], detokenize=False,
        stop_token_ids=asked["stop_ids"],
    )  # fmt: skip
    prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
    rates = []
    for _ in range(asked["rounds"]):
        started = time.process_time()
        made = model.generate(prompts, sampling, use_tqdm=False)
        tokens = sum(len(row.outputs[0].token_ids) for row in made)
        rates.append(tokens / (time.process_time() - started))
    print(json.dumps({"tokens_per_cpu_s": sorted(rates)[len(rates) // 2]}))


main()
