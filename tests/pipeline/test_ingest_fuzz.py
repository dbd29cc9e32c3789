"""Mutated rows of every format: nothing crashes, and every row is accounted for.

`fuzz_everything` reads as many rows as wanted through all adapters; the suite reads a few, the benchmark
100,000.
"""

import gzip
import itertools
import json
import os
import random
import sys
import traceback
from pathlib import Path

import polars as pl
import pytest

from pipeline.adapters import BUILT_IN, SourceFile, find
from pipeline.adapters.bundle import HUMAN, MODEL, PROBLEMS
from pipeline.adapters.code_contests import read_row
from pipeline.ingest.admission import Admission
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store
from pipeline.store.tables import TABLES

sys.path.append(str(Path(__file__).parent))
from test_polygon import FILES as POLYGON

ROWS = 300
DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
STARTER = Path(__file__).parents[2] / "data" / "starter"
ODD_VALUES = [
    None,
    True,
    -1,
    0,
    1 << 70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "\ud800",
    "é" * 50,
    [],
    {},
    [None],
    [[]],
    {"": 1},
    [1, "a"],
    "accepted",
    "stdin",
    {"kind": None},
    [{"input": 1}],
    [{"input": "1", "output": "2"}],
    "python3",
    {"input": ["1"], "output": []},
]
ODD_BYTES = [
    b"\0",
    b"\xff\xfe",
    b"\xc3",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"\r",
    b"\n",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"\xef\xbb\xbf",
    b",",
]


def bundle_rows():
    problem = {
        "problem_id": "a/1",
        "source": "a",
        "split": "train",
        "title": None,
        "statement": "Do.",
        "io_mode": "stdin",
        "tags": ["t"],
        "time_limit_s": 1,
        "memory_limit_mb": None,
        "checker": {"kind": "token", "case_sensitive": False},
        "difficulty": 3,
        "license": "x",
        "tests_quality": "full",
        "public_tests": [{"input": "1", "output": "2"}],
        "hidden_tests": [{"assert": "f()"}],
    }
    human = {
        "problem_id": "a/1",
        "solution_id": "s",
        "language": "python3",
        "source": "print(2)",
        "verdict": "accepted",
        "verdict_basis": "b",
        "author_kind": "human",
    }
    model = {
        "problem_id": "a/1",
        "sample_id": "m#1",
        "model": "m",
        "mode": "generate",
        "sampling": {"n": 2, "temperature": 0.5},
        "language": "cpp",
        "code": "int main(){}",
        "completion": "```cpp\nint main(){}\n```",
        "verdict": None,
        "verdict_basis": "b",
    }
    return {PROBLEMS: problem, HUMAN: human, MODEL: model}


def plain_rows():
    problem = {
        "problem_id": "a/1",
        "title": "t",
        "statement": "Do.",
        "checker": {"kind": "float", "float_tol": 1e-6},
        "tags": ["t"],
        "time_limit_s": 1.0,
        "tests": [{"test_id": "1", "kind": "public", "input": "1", "expected_output": "2"}],
        "split": "test",
    }
    trajectory = {
        "problem_id": "a/1",
        "origin": "search",
        "policy_id": "p",
        "completion": "```python\nprint(2)\n```",
        "token_ids": [1, 2],
        "temperature": 1.0,
        "behaviour_logprob": -2.5,
        "token_logprobs": [-2, -0.5],
        "policy_step": 3,
        "claimed_verdict": "WA",
        "source_key": "k",
    }
    return [problem, trajectory]


def changed(value, generator):
    """A JSON value with one change somewhere inside."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        if generator.random() < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if generator.random() < 0.1:
            return value | {f"{key}x": value[key]}
        return value | {key: changed(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.7:
        place = generator.randrange(len(value))
        return [*value[:place], changed(value[place], generator), *value[place + 1 :]]
    return generator.choice(ODD_VALUES)


def mutated(row, generator):
    """A row as bytes, after some changes to its values or to its bytes."""
    for _ in range(generator.choice([0, 1, 1, 2, 5])):
        row = changed(row, generator) if isinstance(row, dict) else row
    raw = json.dumps(row).encode()
    for _ in range(generator.choice([0, 0, 0, 1, 3])):
        place = generator.randrange(len(raw) + 1)
        match generator.randrange(4):
            case 0:
                raw = raw[:place] + generator.choice(ODD_BYTES) + raw[place:]
            case 1:
                raw = raw[:place] + raw[place + generator.randrange(1, 9) :]
            case 2:
                raw = raw[:place]
            case 3:
                raw = raw[:place] + raw[place // 2 :]
    return raw


def lines_in(text):
    """Rows that a file holds: its lines that are not blank."""
    return sum(bool(line.strip()) for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def accounted(store, batch):
    assert batch.read == batch.accepted + batch.present + batch.quarantined
    own = pl.col("batch_id") == batch.batch_id
    held = {name: store.read(name).filter(own).height for name in ("problems", "trajectories", "quarantine")}
    assert (
        held["problems"] + held["trajectories"] == batch.accepted and held["quarantine"] == batch.quarantined
    )
    return batch.read


@pytest.mark.parametrize("seed", range(2))
def test_plain(tmp_path, seed):
    generator = random.Random(seed)
    good = plain_rows()
    rows = [json.dumps(row).encode() for row in good] + [
        mutated(generator.choice(good), generator) for _ in range(ROWS)
    ]
    text = b"\n".join(rows)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text)
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "plain", str(path))
    assert accounted(store, batch) == lines_in(text)
    assert batch.accepted + batch.present > 10 and batch.quarantined > 100


def test_bundle(tmp_path):
    generator = random.Random(5)
    folder = tmp_path / "bundle"
    folder.mkdir()
    read = {}
    for name, good in bundle_rows().items():
        text = b"\n".join([json.dumps(good).encode(), *(mutated(good, generator) for _ in range(ROWS))])
        (folder / name).write_bytes(gzip.compress(text))
        read[name] = lines_in(text)
    store = Store(tmp_path / "store")
    batches = ingest(store, "bundle", str(folder))
    assert {Path(batch.source_file).name: accounted(store, batch) for batch in batches} == read
    # The bounded sample reads the same broken files.
    for batch in ingest(Store(tmp_path / "other"), "bundle", str(folder), limit=3):
        accounted(Store(tmp_path / "other"), batch)


def test_code_contests_rows(tmp_path):
    generator = random.Random(9)
    tests, programs = (
        {"input": ["1"], "output": ["2"]},
        {"language": [3, 2], "solution": ["print(2)", "int main(){}"]},
    )
    good = {
        "name": "p",
        "description": "Do.",
        "public_tests": tests,
        "private_tests": tests,
        "generated_tests": tests,
        "source": 2,
        "difficulty": 7,
        "solutions": programs,
        "incorrect_solutions": programs,
        "cf_rating": 800,
        "cf_tags": ["a"],
        "time_limit": {"seconds": 1, "nanos": 0},
        "memory_limit_bytes": 1 << 28,
        "input_file": "",
        "output_file": "",
    }
    store = Store(tmp_path / "store")
    admission = Admission(store, "batch", "code_contests", SourceFile("f", "f", "0", 0))
    items = [
        item for number in range(ROWS) for item in read_row(number, changed(good, generator), "train", None)
    ]
    chunk = admission.decide(items)
    assert (
        admission.counts.read == len(items) and chunk.quarantine.height == admission.counts.quarantined > 50
    )
    assert chunk.problems.height + chunk.trajectories.height == admission.counts.accepted
    for table, rows in chunk.tables():
        store.append(table, rows, producer="test", sequence=1)


ANSWER = "First\n```python\nprint(2)\n```"
MESSAGES = [
    {"role": "user", "content": "Print two for a given one."},
    {"role": "assistant", "content": ANSWER},
]
IO = json.dumps({"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]})
CASES = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
CONTEST = {
    "id": "1/A",
    "title": "t",
    "description": "Do.",
    "input_format": "i",
    "output_format": "o",
    "interaction_format": None,
    "note": None,
    "examples": [{"input": "1", "output": "2"}],
    "official_tests": [{"input": "3", "output": "4"}],
    "official_tests_complete": True,
    "time_limit": 1.0,
    "memory_limit": 256.0,
    "rating": 800,
    "tags": ["a"],
    "input_mode": "stdio",
    "generated_checker": "c",
    "prompt": "p",
    "generation": ANSWER,
    "finish_reason": "stop",
}
CALLED = {
    "task_id": "HumanEval/1",
    "prompt": "def f(a):\n",
    "canonical_solution": "    return a\n",
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    "base_input": [[1]],
    "plus_input": [[2]],
    "atol": 0,
}
NODES = [
    {"parent": None, "message": MESSAGES[0], "sampled": False},
    {
        "parent": 0,
        "message": MESSAGES[1],
        "sampled": True,
        "token_ids": [1, 2],
        "mask": [False, True],
        "logprobs": [-0.5],
    },
]
RESPONSE = {
    "status_code": 200,
    "body": {"model": "m", "choices": [{"index": 0, "message": MESSAGES[1], "finish_reason": "stop"}]},
}
# Good rows of each adapter that reads rows, in its source's schema, and the name of a file that holds them.
INSPECTED = {
    "id": "a/1",
    "epoch": 1,
    "input": "p",
    "output": {"choices": [{"message": {"role": "assistant", "content": ANSWER}, "stop_reason": "stop"}]},
    "scores": {"verify": {"value": "C"}},
}
LM_EVAL = {
    "doc_id": 0,
    "doc": {"task_id": "a/1"},
    "arguments": {"gen_args_0": {"arg_0": "Print twice n.", "arg_1": {"temperature": 0.0}}},
    "resps": [[ANSWER]],
    "filter": "none",
    "metrics": ["pass@1"],
    "pass@1": 1.0,
}
ATIF = {
    "schema_version": "ATIF-v1.8",
    "agent": {"name": "a", "version": "1", "model_name": "m"},
    "steps": [
        {"step_id": 1, "source": "user", "message": "Print twice n."},
        {"step_id": 2, "source": "agent", "message": ANSWER},
    ],
    "extra": {"task_id": "a/1", "reward": 1.0},
}
VERL_PROBLEM = {
    "data_source": "taco",
    "prompt": [{"role": "user", "content": "Print twice n."}],
    "ability": "code",
    "reward_model": {"ground_truth": '{"inputs": ["3\\n"], "outputs": ["6\\n"]}', "style": "rule"},
    "extra_info": {"index": 0, "split": "train"},
}
RESULT = {
    "type": "succeeded",
    "message": {
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
    },
}
ROWS_OF = {
    "plain": ("rows.jsonl", plain_rows()),
    "apps": (
        "train.jsonl",
        [
            {
                "problem_id": 1,
                "question": "Q",
                "solutions": json.dumps(["print(2)", "print(4)"]),
                "input_output": IO,
                "difficulty": "x",
                "url": "u",
                "starter_code": "",
            }
        ],
    ),
    "taco": (
        "train.jsonl",
        [
            {
                "question": "Q",
                "solutions": json.dumps(["print(2)"]),
                "input_output": IO,
                "starter_code": "",
                "difficulty": "EASY",
                "name": "n",
                "source": "codeforces",
                "url": "https://codeforces.com/contest/1/problem/A",
                "tags": "['a']",
                "time_limit": "2 seconds",
                "memory_limit": "256 megabytes",
            }
        ],
    ),
    "code_contests_plus": (
        "part.jsonl",
        [
            {
                "source": "Codeforces",
                "id": "1_A",
                "title": "t",
                "description": "Do.",
                "time_limit": 2000,
                "memory_limit": 256,
                "checker": "c",
                "validator": "v",
                "generator": "g",
                "correct_submissions": [{"code": "print(2)", "language": "py3"}],
                "incorrect_submissions": [{"code": "print(3)", "language": "cpp"}],
                "test_cases": [{"input": "1", "output": "2"}],
            }
        ],
    ),
    "livecodebench": (
        "test.jsonl",
        [
            {
                "question_title": "t",
                "question_content": "Do.",
                "platform": "atcoder",
                "question_id": "a_1",
                "starter_code": "",
                "difficulty": "easy",
                "public_test_cases": json.dumps(CASES),
                "private_test_cases": json.dumps(CASES),
                "metadata": "{}",
            }
        ],
    ),
    "livecodebench_results": (
        "Scenario.codegeneration_2_0.2_eval_all.json",
        [
            {
                "question_id": "a_1",
                "output_list": [ANSWER, "no"],
                "code_list": ["print(2)", ""],
                "graded_list": [True, False],
                "metadata": ["{}", json.dumps({"error_code": -2})],
            }
        ],
    ),
    "codeforces": ("test.jsonl", [CONTEST]),
    "codeforces_cots": ("train.jsonl", [CONTEST]),
    "leetcode": (
        "train.jsonl",
        [
            CALLED
            | {
                "task_id": "a-b",
                "problem_description": "Do.",
                "starter_code": "class Solution:",
                "completion": "class Solution: pass",
                "tags": ["a"],
                "difficulty": "Easy",
            }
        ],
    ),
    "mbpp": (
        "mbpp.jsonl",
        [
            {
                "task_id": 700,
                "text": "Do.",
                "code": "def f(): pass",
                "test_list": ["assert f() is None"],
                "test_setup_code": "",
                "challenge_test_list": [],
            }
        ],
    ),
    "humaneval": (
        "HumanEval.jsonl",
        [CALLED, {key: value for key, value in CALLED.items() if key != "test"}],
    ),
    "evalplus": (
        "samples.jsonl",
        [
            {"task_id": "Mbpp/2", "solution": "def f(): pass"},
            {
                "items": [
                    {
                        "task_id": "HumanEval/1",
                        "solution": "def f(): pass",
                        "base_status": "pass",
                        "plus_status": "fail",
                    }
                ]
            },
        ],
    ),
    "trl": (
        "completions_00001.jsonl",
        [
            {"step": 1, "prompt": MESSAGES[:1], "completion": MESSAGES[1:], "passed": 1.0, "advantage": 0.5},
        ],
    ),
    "verl": (
        "1.jsonl",
        [{"input": "Do.", "output": ANSWER, "gts": "", "score": 1.0, "step": 1, "problem_id": "a/1"}],
    ),
    "prime_rl": (
        "step_3/train_rollouts.jsonl",
        [
            {
                "id": "x",
                "task": {"data": {"id": "a/1"}},
                "nodes": NODES,
                "calls": [{"node": 1, "sampling": {"temperature": 1.0}}],
                "rewards": {"r": {"score": 1.0, "weight": 1.0}},
                "info": {},
                "errors": [],
            },
            {
                "example_id": 1,
                "prompt": MESSAGES[:1],
                "completion": MESSAGES[1:],
                "reward": 0.5,
                "info": {"problem_id": "a/1"},
            },
        ],
    ),
    "openrlhf": ("out.jsonl", [{"input": "Do.", "output": ANSWER, "reward": 0.1, "problem_id": "a/1"}]),
    "trinity": (
        "out.jsonl",
        [
            {
                "eid": {"batch": 1, "task": 2, "run": 0, "step": 0, "suffix": "s"},
                "type": "single_turn",
                "info": {"model_version": 1},
                "prompt_text": "Do.",
                "response_text": ANSWER,
                "reward": 1.0,
                "messages": MESSAGES,
                "problem_id": "a/1",
            }
        ],
    ),
    "openai_batch": ("out.jsonl", [{"id": "b", "custom_id": "a/1#0", "response": RESPONSE, "error": None}]),
    "atif": ("a.jsonl", [ATIF]),
    "inspect_ai": ("log.json", [{"version": 2, "eval": {"model": "m"}, "samples": [INSPECTED]}]),
    "lm_eval": ("samples_t_1.jsonl", [LM_EVAL]),
    "lighteval": (
        "details.jsonl",
        [
            {
                "doc": {"id": "a/1", "query": "Print twice n."},
                "metric": {"pass@1": 1.0},
                "model_response": {"input": "Print twice n.", "text": [ANSWER], "reasonings": []},
            }
        ],
    ),
    "rl_problems": ("p.jsonl", [VERL_PROBLEM]),
    "samples": ("s.jsonl", [{"problem_id": "a/1", "prompt": "p", "response": ANSWER, "reward": 1.0}]),
    "anthropic_batch": ("out.jsonl", [{"custom_id": "a/1#0", "result": RESULT}]),
    "nemo_gym": (
        "rollouts.jsonl",
        [
            {
                "responses_create_params": {"input": [{"role": "user", "content": "Do."}]},
                "response": {
                    "id": "r",
                    "model": "m",
                    "output": [{"type": "message", "content": [{"type": "output_text", "text": ANSWER}]}],
                },
                "reward": 1.0,
                "problem_id": "a/1",
            }
        ],
    ),
    "bigcode": ("generations_humaneval.json", [{"items": ["def f(): pass", ""], "first": 0, "count": 2}]),
    "codeforces_submissions": (
        "s.jsonl",
        [
            {
                "submission_id": "1",
                "source": "print(1)",
                "contestId": "1",
                "problem_index": "A",
                "programmingLanguage": "PyPy 3",
                "verdict": "OK",
                "passedTestCount": 1.0,
            }
        ],
    ),
    "code_contests_o": (
        "train.jsonl",
        [
            {
                "name": "1_A. P",
                "description": "Do.",
                "corner_cases": [{"input": {"stdin": "1"}, "output": {"stdout": "2"}}],
                "checker": "c",
                "commands": ["./gen"],
            }
        ],
    ),
    "robust_tests": (
        "t.jsonl",
        [{"source": "codeforces", "id": "1_A", "test_cases": [{"input": "1", "output": "2"}]}],
    ),
    "kodcode": (
        "k.jsonl",
        [
            {
                "question_id": "k",
                "question": "Do.",
                "solution": "def f(): return 1",
                "test": "from solution import f\n\ndef test_f():\n    assert f() == 1\n",
                "test_info": [{"function_name": "f", "function_declaration": "def f():"}],
            }
        ],
    ),
}
FOLDERS = ("kattis", "polygon", "folders")
PACKAGE = {
    "problem.yaml": "name: P\nlimits: {memory: 256}\nvalidator_flags: case_sensitive\n",
    "problem_statement/problem.en.tex": "Do.",
    "data/sample/1.in": "1\n",
    "data/sample/1.ans": "2\n",
    "submissions/accepted/a.py": "print(2)",
    "submissions/wrong_answer/b.cpp": "int main() {}",
}


def test_every_adapter_is_fuzzed():
    # Bytes of a capture store are changed in `test_interchange.py`; the code that reads a RolloutStore is in
    # a process of its own, and its package is not in the lock.
    elsewhere = {"bundle", "code_contests", "tinker_capture", "rollout_store"}
    assert {*ROWS_OF, *FOLDERS, *elsewhere} == {*BUILT_IN}


def real_rows(adapter):
    """Real lines of what an adapter reads, where they are at hand."""
    if adapter == "plain":
        with gzip.open(STARTER / "problems.jsonl.gz", "rt") as lines:
            return [json.loads(line) for line in itertools.islice(lines, 5)]
    return []


def mutated_file(folder, adapter, rows, generator):
    """A file of mutated rows; for packages and folders of programs a tree of mutated files."""
    folder.mkdir(parents=True)
    if adapter in FOLDERS:
        return mutated_tree(folder, adapter, rows, generator)
    name, good = ROWS_OF[adapter]
    good = good + real_rows(adapter)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    made = [json.dumps(row).encode() for row in good]
    if path.suffix == ".json":
        # The first odd byte ends a document, so its values are changed, and its end is cut off.
        made += [
            json.dumps(changed(generator.choice(good), generator)).encode() for _ in range(rows - len(good))
        ]
        path.write_bytes(b"[" + b",\n".join(made))
    else:
        made += [mutated(generator.choice(good), generator) for _ in range(rows - len(good))]
        path.write_bytes(b"\n".join(made))
    return path


def mutated_tree(folder, adapter, rows, generator):
    for number in range(max(1, rows // 4)):
        for name, text in (POLYGON if adapter == "polygon" else PACKAGE).items():
            if adapter == "folders" and not name.startswith("submissions"):
                continue
            path = folder / f"p{number}" / name
            if adapter == "folders":
                path = folder / "a" / "1" / Path(name).parent.name / f"{number}{Path(name).suffix}"
            kind = generator.randrange(8)
            if kind == 0 and name not in ("problem.yaml", "problem.xml"):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            text = mutated(text, generator) if kind == 1 else text.encode()
            (
                path.with_suffix(".odd")
                if kind == 2 and name not in ("problem.yaml", "problem.xml")
                else path
            ).write_bytes(text)
    return folder


def items_of(adapter, source):
    """What an adapter makes of each file of a source. TRL writes tables, which hold no odd types: its rows
    go in as lines.
    """
    if adapter != "trl":
        return [list(find(adapter).read(file)) for file in find(adapter).files(str(source), None)]
    lines = enumerate(source.read_bytes().split(b"\n"), start=1)
    file = SourceFile("", "run/x", "", 0)
    return [[item for line, raw in lines if raw.strip() for item in find(adapter).reread(raw, line, file)]]


def fuzz(store, folder, adapter, rows, seed):
    """Read a mutated source through an adapter into a store; (rows read, what is wrong or None)."""
    source = mutated_file(folder, adapter, rows, random.Random(seed))
    files = items_of(adapter, source)
    wrong = None
    for number, items in enumerate(files):
        admission = Admission(store, f"{adapter}-{seed}-{number}", adapter, SourceFile("f", "f", "0", 0))
        chunk = admission.decide(items)
        counts = admission.counts
        if counts.read != len(items) or chunk.quarantine.height != counts.quarantined:
            wrong = (
                f"{len(items)} items, {counts.read} accounted for, {chunk.quarantine.height} in quarantine"
            )
        elif chunk.problems.height + chunk.trajectories.height != counts.accepted:
            wrong = "accepted rows that are not there"
        for table, frame in chunk.tables():
            if frame.height:
                store.append(table, frame, producer=f"fuzz/{adapter}/{seed}/{number}", sequence=1)
    if adapter in ("plain", "verl", "openrlhf") and len({item.line for item in files[0]}) != lines_in(
        source.read_bytes()
    ):
        wrong = "lines that gave no item"
    read = sum(len(items) if adapter in FOLDERS else len({item.line for item in items}) for items in files)
    return read, wrong


def fuzz_everything(folder, rows, seed=0):
    """Fuzz all adapters with about that many rows in all: {fuzzed, crashed, unaccounted}; says on stdout
    what went wrong.
    """
    store = Store(folder / "store")
    rng = random.Random(seed)
    store.append("problems", problem_a1(), producer="fuzz", sequence=1)
    names = [*ROWS_OF, *FOLDERS]
    actual = {"fuzzed": 0, "crashed": 0, "unaccounted": 0}
    # Reading many files of mutated rows at once would be one large chunk; portions keep memory and time even.
    for portion in itertools.count():
        if actual["fuzzed"] >= rows:
            return actual
        adapter = names[portion % len(names)]
        size = min(100 if adapter in FOLDERS else 2_000, -(-rows // len(names)))
        try:
            read, wrong = fuzz(store, folder / f"{portion}", adapter, size, rng.randrange(1 << 30))
        except Exception:
            actual["crashed"] += 1
            read, wrong = size, None
            print(f"{adapter}: {traceback.format_exc()}")
        actual["fuzzed"] += read
        if wrong:
            actual["unaccounted"] += 1
            print(f"{adapter}: {wrong}")


def problem_a1():
    """The problem that the trajectories of good rows are for."""
    types = TABLES["problems"].schema.create_empty().schema
    row = {
        "problem_id": "a/1",
        "source": "a",
        "split": "none",
        "title": "",
        "statement": "Print two for a given one.",
        "input_mode": "stdin",
        "checker": "tokens",
        "case_sensitive": True,
        "tags": [],
        "test_set_hash": "-",
        "test_count": 0,
        "batch_id": "-",
        "source_file": "-",
        "source_line": 0,
    }
    return pl.DataFrame([row], schema={name: types[name] for name in row})


def test_all_adapters(tmp_path):
    assert (
        fuzz_everything(tmp_path, 20 * (len(ROWS_OF) + len(FOLDERS)), seed=3).items()
        >= {"crashed": 0, "unaccounted": 0}.items()
    )


@pytest.mark.soak
def test_a_hundred_thousand_rows(tmp_path):
    actual = fuzz_everything(tmp_path, 100_000, seed=11)
    assert actual["fuzzed"] >= 100_000 and (actual["crashed"], actual["unaccounted"]) == (0, 0)
