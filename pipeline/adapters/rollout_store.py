"""lance-context: RolloutStore (0.6.7), a Lance data set `*.lance` of turns; `pip install lance-context`.

Records as its API takes them: `id`, `rollout_id`, `problem_id`, `sequence_order`, `role`, `content`,
`model_input_string`, `model_output_string`, `rationale` (reasoning), `output_tokens`, `output_logprobs`,
`reward`, `raw_reward`, `policy_version`, `include_in_training`, `user_metadata` (JSON text), and others. A
rollout is a trajectory: its last turn of the assistant is the answer, the turns before it are the prompt. The
claim is based on `raw_reward` if there is one, else on `reward`. Records that `spo corpus export --format
rollout_store` wrote have all columns of the store in `user_metadata.spo`, and are read without a loss.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceError, SourceFile, register
from pipeline.adapters.lines import JsonRow, parse, parse_nested_json
from pipeline.adapters.own_part import own_columns
from pipeline.adapters.rollouts import path_name, sample, score_claim
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.source_policy import allowed_roots, open_regular, printable
from pipeline.adapters.source_tree import list_tree
from pipeline.adapters.tables import json_bytes
from pipeline.adapters.trees import folder_file

DECODER = Path(__file__).with_name("rollout_store_decoder.py")
# The package reserves much address space.
MEMORY_BYTES, CPU_S = 16 << 30, 600
ADVICE = "pip install lance-context==0.6.7"


class RolloutStore(RowAdapter):
    name = "rollout_store"

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        root = Path(source)
        stores = [root] if root.name.endswith(".lance") else sorted(root.glob("*.lance"))
        stores = [folder for folder in stores if folder.is_dir()]
        if not stores:
            raise SourceError(f"no folder *.lance in {source}")
        if importlib.util.find_spec("lance_context") is None:
            raise SourceError(f"reading a RolloutStore needs lance-context: {ADVICE}")
        if limit is not None:
            raise SourceError("rollout_store reads whole stores: leave --limit out")
        return [described(folder) for folder in stores]

    def sample_key(self, row: JsonRow) -> SampleKey:
        raise NotImplementedError

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        line = 0
        for line, turns in enumerate(rollouts_of(file), start=1):
            value = {"turns": turns}
            yield from self.translate(JsonRow(line, partial(json_bytes, value), value, len(str(turns))), file)

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        turns = row.value["turns"]
        answers = [turn for turn in turns if turn.get("role") in ("assistant", "model", None)]
        if not answers:
            raise ValueError("the rollout has no turn of the assistant")
        answer = answers[-1]
        meta = metadata_of(answer)
        before = turns[: turns.index(answer)]
        text = answer.get("model_output_string") or answer.get("content") or ""
        if "spo" in meta:
            own = own_columns(meta["spo"], before[0].get("content", "") if before else "", text)
            own["token_ids"] = answer.get("output_tokens")
            yield ReadTrajectory(row.line, row.raw, own, row.size)
            return
        message = {"role": "assistant", "content": text, "reasoning": answer.get("rationale")}
        asked = [
            {"role": turn.get("role") or "user", "content": turn.get("content") or ""} for turn in before
        ]
        policy = str(answer.get("policy_version") or path_name(file))
        reward = answer.get("raw_reward", answer.get("reward"))
        yield sample(
            row,
            asked or answer.get("model_input_string") or answer.get("problem_text"),
            [message],
            problem_id=answer.get("problem_id"),
            origin="earlier_run",
            policy_id=policy,
            run_id=path_name(file),
            source_key=str(answer["rollout_id"]),
            token_ids=answer.get("output_tokens"),
            **score_claim(reward, "reward", "RolloutStore"),
        )


register(RolloutStore())


def described(folder: Path) -> SourceFile:
    roots = allowed_roots(folder)
    tree = list_tree(folder, roots)
    return folder_file(
        folder, printable(f"{folder.resolve().parent.name}/{folder.name}"), tree.files, roots, tree.skipped
    )


def metadata_of(turn: dict[str, Any]) -> dict[str, Any]:
    held = turn.get("user_metadata") or turn.get("metadata")
    value = parse_nested_json(held) if isinstance(held, str) and held.lstrip()[:1] == "{" else held
    return value if isinstance(value, dict) else {}


def rollouts_of(file: SourceFile) -> Iterator[list[dict[str, Any]]]:
    """The turns of each rollout, in order. Raises ValueError if the store cannot be read."""
    turns: dict[str, list[dict[str, Any]]] = {}
    for record in records_of(file):
        turns.setdefault(str(record["rollout_id"]), []).append(record)
    for name in sorted(turns):
        yield sorted(turns[name], key=lambda turn: (turn.get("sequence_order") or 0, str(turn.get("id"))))


def records_of(file: SourceFile) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(file, Path(folder) / "copy.lance")
        command = [sys.executable, "-P", str(DECODER), f"{folder}/copy.lance", str(MEMORY_BYTES), str(CPU_S)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=folder
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            for number, line in enumerate(process.stdout, start=1):
                row = parse(number, line.rstrip(b"\n"))
                if isinstance(row, Refused):
                    raise ValueError(f"record {number}: {row.reason}")
                yield row.value
            fault = process.stderr.read().decode(errors="replace").strip().splitlines()
        if process.returncode:
            raise ValueError(f"lance-context cannot read it: {fault[-1] if fault else process.returncode}")


def copy_tree(file: SourceFile, target: Path) -> None:
    """A copy of the regular files of a store; links are not followed."""
    for entry in list_tree(Path(file.path), file.roots).files:
        path = target / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(entry.path, file.roots, entry.name) as stored, open(path, "wb") as copy:
            shutil.copyfileobj(stored, copy)
