"""Writes the starter problems and their programs: `python data/starter/generate.py [--out FOLDER]`.

Everything follows from the code of `families/` and one seed, so the same code writes the same rows. The claimed verdict
of every Python program is worked out by running it on the problem's tests: wrong candidates that pass are dropped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent))

from families.catalogue import FAMILIES
from families.task import Family, Task
from families.trial import passes, verdict_of

SEED = 20250310
PUBLIC_TESTS, HIDDEN_TESTS, PLAIN_HIDDEN_TESTS, CANDIDATES = 2, 7, 3, 40
TEST_SHARE, VALID_SHARE = 0.14, 0.06
MAX_STATEMENT = 220
WRONG_PER_PROBLEM, HANG_EVERY, CPP_EVERY = 4, 12, 2


def chosen_tasks(family: Family) -> list[Task]:
    """`family.count` of the family's combinations, chosen so that all parts occur about equally often."""
    tasks = [task for task in family.tasks() if len(task.statement) <= MAX_STATEMENT]
    Random(f"{SEED}/{family.name}").shuffle(tasks)
    chosen: list[Task] = []
    seen: Counter[tuple[int, str]] = Counter()
    while tasks and len(chosen) < family.count:
        # The task whose parts are the rarest so far; the shuffled order settles ties.
        best = min(tasks, key=lambda task: sum(seen[part] for part in enumerate(task.parts)))
        tasks.remove(best)
        if not is_constant(best):
            chosen.append(best)
            seen.update(enumerate(best.parts))
    return chosen


def drawn_inputs(task: Task) -> list[str]:
    """Different random inputs of a task."""
    random = Random(f"{SEED}/{task.family}/{task.parts}")
    return list(dict.fromkeys(task.example(random) for _ in range(CANDIDATES)))


def is_constant(task: Task) -> bool:
    """True where one answer fits everything (the largest negative number greater than 5): no problem at all."""
    return len({task.answer(text) for text in (*task.edges, *drawn_inputs(task))}) == 1


def split_of(tasks: list[Task]) -> dict[tuple[str, ...], str]:
    """Split by parts: a task leaves training only while each of its parts stays there in another task."""
    order = list(tasks)
    Random(f"{SEED}/split/{tasks[0].family}").shuffle(order)
    left = Counter(part for task in tasks for part in enumerate(task.parts))
    quota = {"test": max(2, round(len(tasks) * TEST_SHARE)), "valid": max(1, round(len(tasks) * VALID_SHARE))}
    splits = {task.parts: "train" for task in tasks}
    for task in order:
        wanted = next((split for split, count in quota.items() if count), None)
        if wanted and all(left[part] > 1 for part in enumerate(task.parts)):
            left.subtract(enumerate(task.parts))
            splits[task.parts] = wanted
            quota[wanted] -= 1
    return splits


def inputs_of(task: Task) -> list[str]:
    """Public inputs, then inputs that unmask wrong programs that nothing before has unmasked, then edges and others."""
    inputs = drawn_inputs(task)
    public, others = inputs[:PUBLIC_TESTS], inputs[PUBLIC_TESTS:]
    edges = [edge for edge in task.edges if edge not in public]
    Random(f"{SEED}/edges/{task.family}/{task.parts}").shuffle(edges)
    masked = survivors_of(task, list(task.wrong.values()), public)
    hidden: list[str] = []
    pool = list(dict.fromkeys([*edges, *others]))
    for text in pool:
        survivors = survivors_of(task, masked, [text])
        if len(survivors) < len(masked) and len(hidden) < HIDDEN_TESTS - PLAIN_HIDDEN_TESTS:
            hidden.append(text)
            masked = survivors
    rest = [text for text in pool if text not in hidden]
    return [*public, *hidden, *rest[: HIDDEN_TESTS - len(hidden)]]


def survivors_of(task: Task, programs: list[str], inputs: list[str]) -> list[str]:
    """The programs that still pass."""
    return [program for program in programs if all(passes(program, text, task.answer(text)) for text in inputs)]


def tests_of(task: Task) -> list[dict[str, str]]:
    tests = []
    for number, text in enumerate(inputs_of(task)):
        public = number < PUBLIC_TESTS
        name = f"public-{number + 1}" if public else f"private-{number - PUBLIC_TESTS + 1}"
        tests.append(
            {
                "test_id": name,
                "kind": "public" if public else "private",
                "mode": "stdin",
                "input": text,
                "expected_output": task.answer(text) + "\n",
            }
        )
    return tests


def problem_row(task: Task, split: str) -> dict[str, object]:
    return {
        "problem_id": f"starter/{task.family}/{'-'.join(task.parts)}",
        "title": task.title,
        "statement": task.statement,
        "input_mode": "stdin",
        "time_limit_s": 1.0,
        "memory_limit_mb": 256,
        "checker": {"kind": "tokens"},
        "tags": [task.family],
        "difficulty": str(task.difficulty),
        "split": split,
        "licence": "Apache-2.0",
        "tests": tests_of(task),
    }


def _row(problem_id: str, style: str, language: str, program: str, verdict: str, basis: str) -> dict[str, str]:
    return {
        "source_key": f"{problem_id}#{style}",
        "problem_id": problem_id,
        "origin": "human",
        "policy_id": "human",
        "language": language,
        "program": program,
        "claimed_verdict": verdict,
        "claimed_basis": basis,
    }


REFERENCE = "reference solution of the generator"
HANGS = "a loop that never ends on the first failing test"


def solution_rows(task: Task, problem: dict[str, object], number: int) -> Iterator[dict[str, str]]:
    """The task's programs with verdicts that were worked out, not guessed. A correct one that fails is an error."""
    problem_id, tests = str(problem["problem_id"]), problem["tests"]
    assert isinstance(tests, list)
    programs: set[str] = set()
    for style, program in task.correct.items():
        verdict = verdict_of(program, tests)
        if verdict != "accepted":
            raise AssertionError(f"{problem_id}#{style}: claimed accepted, is {verdict}:\n{program}")
        if program not in programs:
            yield _row(problem_id, style, "python3", program, verdict, REFERENCE)
        programs.add(program)
    if task.cpp and number % CPP_EVERY == 0:
        yield _row(problem_id, "cpp", "cpp", task.cpp, "accepted", REFERENCE)
    yield from _wrong_rows(task, problem_id, tests, number, programs)


def _wrong_rows(
    task: Task, problem_id: str, tests: list[dict[str, str]], number: int, programs: set[str]
) -> Iterator[dict[str, str]]:
    candidates = list(task.wrong.items())
    Random(f"{SEED}/wrong/{problem_id}").shuffle(candidates)
    generated = 0
    for style, program in candidates:
        verdict = verdict_of(program, tests)
        if verdict != "accepted" and program not in programs and generated < WRONG_PER_PROBLEM:
            programs.add(program)
            generated += 1
            yield _row(problem_id, f"wrong-{style}", "python3", program, verdict, REFERENCE)
    if task.hang and number % HANG_EVERY == 5 and verdict_of(task.hang, tests) == "time_limit_exceeded":
        yield _row(problem_id, "wrong-hangs", "python3", task.hang, "time_limit_exceeded", HANGS)


def generate() -> tuple[list[dict[str, object]], list[dict[str, str]]]:
    """All problems and all solutions, in the order of the catalogue."""
    problems: list[dict[str, object]] = []
    solutions: list[dict[str, str]] = []
    for family in FAMILIES:
        tasks = chosen_tasks(family)
        splits = split_of(tasks)
        for task in tasks:
            problem = problem_row(task, splits[task.parts])
            solutions.extend(solution_rows(task, problem, len(problems)))
            problems.append(problem)
    return problems, solutions


def write_rows(path: Path, rows: list) -> None:
    """Gzipped JSON lines; no time and no name in the header, so that the same rows are the same bytes."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=9) as packed:
        packed.write(text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    folder = parser.parse_args().out
    problems, solutions = generate()
    write_rows(folder / "problems.jsonl.gz", problems)
    write_rows(folder / "solutions.jsonl.gz", solutions)
    print(f"{len(problems)} problems {dict(Counter(p['split'] for p in problems))}")
    print(f"{len(solutions)} programs {dict(Counter(s['claimed_verdict'] for s in solutions))}")


if __name__ == "__main__":
    main()
