"""Pieces of work of peers.py, each a process: `python peers_work.py WORK FOLDER [...]` prints JSON {cpu_s}.

Peers run in environments of their own, so that each function imports what it needs. CPU seconds are those of
the work with its reading and writing, without the start of the interpreter and its imports.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BANDS, BAND_ROWS = 25, 5
SFT = {"sequences": 16, "tokens": 128, "steps": 6, "rate": 1e-4}


def used_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    begin = used_s()
    outcome = work()
    return {"cpu_s": round(used_s() - begin, 3), "outcome": outcome}


def prepare(folder: Path, rows: str, programs: str, judged: str) -> dict[str, Any]:
    """A store, the same tables as plain Parquet, programs as JSON lines, and submissions to judge."""
    sys.path.insert(0, str(ROOT))
    import pyarrow.parquet as pq

    from pipeline.ingest import ingest
    from pipeline.store import Store
    from tests.benchmarks.scale_rows import grow, problem_lines, starter, trajectory_rows
    from tests.benchmarks.starts import starter_submissions
    from trainer.policies import new_policy

    base, store = starter(), Store(folder / "store")
    (folder / "problems.jsonl").write_text("".join(json.dumps(line) + "\n" for line in problem_lines(base)))
    ingest(store, "plain", str(folder / "problems.jsonl"))
    grow(store, int(rows), lambda line: print(line, file=sys.stderr))
    for table in ("problems", "trajectories", "verdicts"):
        pq.write_table(store.read(table).to_arrow(), folder / f"{table}.parquet", compression="zstd")
    some = trajectory_rows(base, 10**9, int(programs)).drop("outcome")
    Store(folder / "programs").append("trajectories", some, producer="peers", sequence=0)
    (folder / "texts").mkdir()
    with open(folder / "texts" / "programs.jsonl", "w") as lines:
        for name, problem, text in some.select("trajectory_id", "problem_id", "program").iter_rows():
            lines.write(json.dumps({"id": name, "text": text, "metadata": {"problem": problem}}) + "\n")
    submissions = [
        {"program": one.program, "tests": [[test.input, test.expected_output] for test in one.tests]}
        for one in starter_submissions(int(judged))
    ]
    (folder / "submissions.json").write_text(json.dumps(submissions))
    new_policy([row[0] for row in store.read("problems", ["statement"]).head(500).iter_rows()]).save(
        folder / "policy"
    )
    return {"cpu_s": 0}


def deduplicate(folder: Path) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))
    from pipeline.dedup import deduplicate
    from pipeline.store import Store

    return timed(lambda: deduplicate(Store(folder / "programs")).clusters)


def datatrove(folder: Path) -> dict[str, Any]:
    """Signatures, buckets, clusters and the filter, on files, in this process. All programs are compared, not
    only those of one problem.
    """
    import numpy as np
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    class Signature(MinhashDedupSignature):
        """With words as split() finds them."""

        def get_shingles(self, text: str) -> np.ndarray:
            words = text.split()
            grams = zip(*(words[place:] for place in range(5)), strict=False)
            return np.fromiter([self._hash_func(" ".join(gram)) for gram in grams], dtype=np.uint64).reshape(
                (-1, 1)
            )

    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=BAND_ROWS)

    def work() -> int:
        with tempfile.TemporaryDirectory() as place:
            texts, signatures, buckets, removed = (
                str(folder / "texts"),
                *(f"{place}/{name}" for name in ("signatures", "buckets", "removed")),
            )
            steps = [
                [JsonlReader(texts), Signature(signatures, config)],
                [MinhashDedupBuckets(signatures, buckets, config=config)],
                [MinhashDedupCluster(buckets, removed, config=config)],
                [
                    JsonlReader(texts),
                    MinhashDedupFilter(removed),
                    JsonlWriter(f"{place}/out", compression=None),
                ],
            ]
            for number, pipeline in enumerate(steps):
                for rank in range(BANDS if number == 1 else 1):
                    data = None
                    for step in pipeline:
                        data = step(data, rank, BANDS if number == 1 else 1)
                    if data is not None:
                        for _ in data:
                            pass
            return sum(1 for file in Path(place, "out").glob("*") for _ in open(file))

    return timed(work)


QUESTIONS = (
    "select origin, count(*) as n from trajectories group by all order by all",
    "select policy_id, avg((verdict = 'accepted')::double) as rate from judged group by all order by all",
    "select avg(rate) as rate from"
    " (select problem_id, avg((verdict = 'accepted')::double) as rate from judged group by all)",
    "select language, verdict, count(*) as n from judged group by all order by all",
    "select count(*) as n from problems anti join (select problem_id from judged where verdict = 'accepted')"
    " using (problem_id)",
    "select verdict, avg(length(program)) as size from judged group by all order by all",
    "select trajectory_id from judged where verdict <> 'accepted'"
    " order by created_at desc, trajectory_id limit 20",
    "select trajectory_id, verdict from judged where problem_id = 'scale/00017' order by all",
    "select policy_step // 10 as step, avg((verdict = 'accepted')::double) as rate from judged"
    " where origin = 'online' group by all order by all",
    "select count(*) as n from"
    " (select problem_id, program from trajectories group by all having count(*) > 1)",
)


def sql(folder: Path) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))
    from pipeline.store import Store, connect, query

    def work() -> list[int]:
        with connect(Store(folder / "store")) as connection:
            return [query(connection, question).height for question in QUESTIONS]

    return timed(work)


def pandas(folder: Path) -> dict[str, Any]:
    """The same questions on data frames, each column read once."""
    import pandas as pd

    def work() -> list[int]:
        trajectories = pd.read_parquet(
            folder / "trajectories.parquet",
            columns=["trajectory_id", "problem_id", "origin", "policy_id", "policy_step", "language",
                     "program", "created_at"],
        )  # fmt: skip
        verdicts = pd.read_parquet(
            folder / "verdicts.parquet", columns=["trajectory_id", "verdict", "attempt"]
        )
        problems = pd.read_parquet(folder / "problems.parquet", columns=["problem_id"])
        verdicts = verdicts.sort_values("attempt").drop_duplicates("trajectory_id", keep="last")
        judged = trajectories.merge(verdicts, on="trajectory_id")
        judged["right"] = judged["verdict"] == "accepted"
        solved = judged.loc[judged["right"], "problem_id"].unique()
        failed = judged[~judged["right"]].sort_values(
            ["created_at", "trajectory_id"], ascending=[False, True]
        )
        online = judged[judged["origin"] == "online"]
        answers = [
            trajectories.groupby("origin").size(),
            judged.groupby("policy_id")["right"].mean(),
            [judged.groupby("problem_id")["right"].mean().mean()],
            judged.groupby(["language", "verdict"]).size(),
            [(~problems["problem_id"].isin(solved)).sum()],
            judged.assign(size=judged["program"].str.len()).groupby("verdict")["size"].mean(),
            failed["trajectory_id"].head(20),
            judged.loc[judged["problem_id"] == "scale/00017", ["trajectory_id", "verdict"]],
            online.groupby(online["policy_step"] // 10)["right"].mean(),
            [(trajectories.groupby(["problem_id", "program"]).size() > 1).sum()],
        ]
        return [len(answer) for answer in answers]

    return timed(work)


def sft_rows(vocabulary: int) -> list[list[int]]:
    import random

    draws = random.Random(0)
    return [
        [draws.randrange(1, vocabulary) for _ in range(SFT["tokens"])] for _ in range(int(SFT["sequences"]))
    ]


def own_sft(folder: Path) -> dict[str, Any]:
    """Supervised steps as the trainer makes them."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from tests.benchmarks.trainer import SingleLearner, Trainer, new_optimiser, supervised_step
    from trainer.data.row_pool import Row
    from trainer.objectives import SpoSettings
    from trainer.policies import load_policy
    from trainer.run import OptimiserSettings, TrainingSettings

    policy = load_policy(folder / "policy")
    settings = TrainingSettings(steps=100, batch_tokens=int(SFT["sequences"] * SFT["tokens"]))
    optimiser = OptimiserSettings(learning_rate=SFT["rate"])
    trainer = Trainer(
        SingleLearner(policy, new_optimiser(policy)), SpoSettings().build(), settings, optimiser
    )
    rows = [
        Row(f"r{i}", "p", "bench", np.array(ids[:1]), np.array(ids[1:]), -1.0, -1.0, -1.0, "", np.zeros(1))
        for i, ids in enumerate(sft_rows(len(policy.tokenizer)))
    ]
    supervised_step(trainer, rows)

    def work() -> None:
        for _ in range(int(SFT["steps"])):
            supervised_step(trainer, rows)

    return timed(work)


def trl_sft(folder: Path) -> dict[str, Any]:
    """The same number of steps of TRL's trainer, after one that warms up."""
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder / "policy")
    rows = datasets.Dataset.from_dict({"input_ids": sft_rows(len(tokenizer))})
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            marks.append(used_s())

    settings = SFTConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=int(SFT["sequences"]), use_cpu=True,
        max_steps=int(SFT["steps"]) + 1, learning_rate=SFT["rate"], report_to=[], save_strategy="no",
        logging_strategy="no", gradient_checkpointing=False, bf16=False, dataloader_pin_memory=False,
        disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=rows, processing_class=tokenizer, callbacks=[Clock()]
    )
    trainer.train()
    return {"cpu_s": round(marks[-1] - marks[0], 3)}


def judge(folder: Path, *, shared_jails: bool = False) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))
    from contextlib import closing

    from sandbox import Limits, Submission, Test
    from sandbox.isolation import establish
    from sandbox.judging import Judge

    submissions = [
        Submission(
            one["program"], "python3",
            tuple(Test(str(n), "stdin", *test) for n, test in enumerate(one["tests"])), Limits(time_s=2.0),
        )
        for one in json.loads((folder / "submissions.json").read_text())
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as cache, closing(establish(Path(cache))) as isolation:
        with Judge(isolation, Path(cache), shared_jails) as warm:
            warm.judge(submissions[0])

        def work() -> int:
            with Judge(isolation, Path(cache), shared_jails) as judge:
                return sum(judge.judge(one).verdict == "accepted" for one in submissions)

        return timed(work)


def judge_shared(folder: Path) -> dict[str, Any]:
    return judge(folder, shared_jails=True)


def spawn(folder: Path) -> dict[str, Any]:
    """One process per test, up to the first failure, without any isolation."""
    import subprocess

    def passes(program: str, given: str, expected: str) -> bool:
        command = [sys.executable, "-I", "-c", program]
        try:
            done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and done.stdout.split() == expected.split()

    def work() -> int:
        submissions = json.loads((folder / "submissions.json").read_text())
        return sum(all(passes(one["program"], *test) for test in one["tests"]) for one in submissions)

    return timed(work)


def dmoj(folder: Path) -> dict[str, Any]:
    """One launch of DMOJ's executor per test, up to the first failure."""
    from dmoj import executors, judgeenv

    judgeenv.env.runtime = {"python3": sys.executable}
    executors.load_executors()
    kind = executors.executors["PY3"].Executor

    def passes(program: Any, given: str, expected: str) -> bool:
        process = program.launch(time=2, memory=262_144, pipe_stderr=True)
        out, _ = process.communicate(given.encode())
        return process.returncode == 0 and out.split() == expected.encode().split()

    def work() -> int:
        right = 0
        for one in json.loads((folder / "submissions.json").read_text()):
            program = kind("peer", one["program"].encode())
            right += all(passes(program, *test) for test in one["tests"])
            program.cleanup()
        return right

    return timed(work)


WORK = {
    work.__name__: work
    for work in (
        prepare, deduplicate, datatrove, sql, pandas, own_sft, trl_sft, judge, judge_shared, spawn, dmoj,
    )
}  # fmt: skip


def main() -> None:
    name, folder, *more = sys.argv[1:]
    print(json.dumps(WORK[name](Path(folder), *more)))


if __name__ == "__main__":
    main()
