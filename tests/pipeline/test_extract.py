"""The program in a completion, by cases worked out by hand, and by what the sources of real samples
extracted themselves.
"""

import gzip
import itertools
import json
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from pipeline.text import detect_language, extract_program, reasoning_length

sys.path.append(str(Path(__file__).parent))
from extraction_cases import CASES as FOUND_CASES

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")

ONE = "a = int(input())\nprint(a)\n"
TWO = "n = int(input())\nprint(n + 1)\n"
CPP = "#include <iostream>\nint main() { std::cout << 1; }\n"

CASES = {
    "one block": (f"Here it is:\n```python\n{ONE}```\nDone.", None, (ONE, "fence", "python3")),
    "the last of several": (
        f"```python\n{ONE}```\nBetter:\n```python\n{TWO}```\n",
        None,
        (TWO, "fence", "python3"),
    ),
    "output after it": (
        f"```python\n{ONE}```\nprints\n```\n3\n```\n```text\n4\n```",
        "python3",
        (ONE, "fence", "python3"),
    ),
    "output after it, named": (
        f"```python\n{ONE}```\nprints\n```output\n3\n```",
        None,
        (ONE, "fence", "python3"),
    ),
    "another language after it": (
        f"```python\n{ONE}```\nIn C++:\n```cpp\n{CPP}```",
        "python3",
        (ONE, "fence", "python3"),
    ),
    "a relative is taken": (f"```c\n{CPP}```", "cpp", (CPP, "fence", "c")),
    "unfinished": (f"I think\n```python\n{ONE}", None, (ONE, "open_fence", "python3")),
    "a whole one before an unfinished one": (
        f"```python\n{ONE}```\n```python\nprint(",
        None,
        ("print(", "open_fence", "python3"),
    ),
    "an empty one after it": (f"```python\n{ONE}```\n```python\n\n```", None, (ONE, "fence", "python3")),
    "no fence but a program": (ONE, None, (ONE, "text", None)),
    "no program at all": ("I am sorry, I cannot solve this.", None, ("", "none", None)),
    "nothing": ("", None, ("", "none", None)),
    "tildes": (f"~~~python\n{ONE}~~~", None, (ONE, "fence", "python3")),
    "a longer fence holds a shorter one": (
        f"````python\n{ONE}```\n````",
        None,
        (ONE + "```\n", "fence", "python3"),
    ),
    "windows line ends": (f"```python\n{ONE}```".replace("\n", "\r\n"), None, (ONE, "fence", "python3")),
    "opened within a line": (f"Answer: ```python\n{ONE}```", None, (ONE, "fence", "python3")),
    "code in a line is no fence": (
        f"Use `a` and ```b``` here.\n```python\n{ONE}```",
        None,
        (ONE, "fence", "python3"),
    ),
    "reopened without an end": (
        f"```python\nimport sys\n```python\n{ONE}```",
        None,
        (ONE, "fence", "python3"),
    ),
    "attributes in the info string": (
        f"```{{.python .numberLines}}\n{ONE}```",
        None,
        (ONE, "fence", "python3"),
    ),
    "backticks in a comment": (
        f"```python\n# ``` fence\n{ONE}```",
        None,
        (f"# ``` fence\n{ONE}", "fence", "python3"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    completion, language, expected = CASES[name]
    assert extract_program(completion, language) == expected


@pytest.mark.parametrize("name", FOUND_CASES)
def test_programs_of_completions_as_models_write_them(name):
    completion, program, language = FOUND_CASES[name]
    assert extract_program(completion, language)[0].strip("\n") == program.strip("\n")


RULES = {
    "call": '{"name": "submit", "arguments": {"code": "print(1)"}}',
    "tag": f"<answer>\n{ONE}</answer>",
    "reasoning_cut": f"<think>\n```python\n{ONE}```\n",
    "none": "",
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_named(rule):
    assert extract_program(RULES[rule])[1] == rule


STUB = 'def double(n):\n    """Twice n."""\n'
CONTINUED = {
    "a body": ("    return 2 * n\n", STUB + "    return 2 * n\n", "continuation"),
    "a body in a fence": ("```python\n    return 2 * n\n```", STUB + "    return 2 * n\n", "continuation"),
    "the whole function": (
        "def double(n):\n    return n + n\n",
        "def double(n):\n    return n + n\n",
        "text",
    ),
    "the whole function in a fence": (
        "```python\ndef double(n):\n    return n + n\n```",
        "def double(n):\n    return n + n\n",
        "fence",
    ),
    "nothing": ("\n", "", "none"),
}


@pytest.mark.parametrize("name", CONTINUED)
def test_continuations_of_a_stub(name):
    completion, program, rule = CONTINUED[name]
    assert extract_program(completion, "python3", STUB)[:2] == (program, rule)


@pytest.mark.parametrize(
    "completion, program",
    [
        ("if n:\n        return 1\n    return 0", "def f(n):\n    if n:\n        return 1\n    return 0"),
        ("    return 1", "def f(n):\n    \n    return 1"),
    ],
)
def test_a_stub_that_ends_in_an_indentation_is_continued_in_that_line(completion, program):
    extracted = extract_program(completion, "python3", "def f(n):\n    ")
    assert extracted[:2] == (program, "continuation")
    compile(program, "f", "exec")


def test_length_of_the_reasoning():
    assert reasoning_length("<think>\nab\n</think>\nanswer") == len("<think>\nab\n</think>")
    assert reasoning_length("answer") == 0
    assert reasoning_length("<think>cut") == len("<think>cut")


LANGUAGE_CASES = {
    "python3": "x = input()\nprint(x)",
    "python2": "n = int(raw_input())\nprint n",
    "cpp": CPP,
    "c": '#include <stdio.h>\nint main() { int a; scanf("%d", &a); printf("%d", a); }',
    "java": "import java.util.*;\n"
    "public class Main { public static void main(String[] a) { System.out.println(1); } }",
    "csharp": "using System;\nclass P { static void Main() { Console.WriteLine(1); } }",
    "go": 'package main\nimport "fmt"\nfunc main() { fmt.Println(1) }',
    "haskell": "main = interact $ show . sum . map read . words",
    "rust": 'use std::io;\nfn main() { let mut s = String::new(); println!("{}", s); }',
    "javascript": "const lines = require('fs').readFileSync(0).toString();\nconsole.log(lines.length);",
    "ruby": "n = gets.to_i\nputs n * 2",
    "php": "<?php\necho 1;",
    "kotlin": "fun main() {\n  val n = readLine()!!.toInt()\n  println(n)\n}",
    "pascal": "var n: integer;\nbegin\n  readln(n);\n  writeln(n);\nend.",
    "scala": "object Main {\n  def main(args: Array[String]): Unit = {\n  }\n}",
    "unknown": "The answer is 42.",
}


@pytest.mark.parametrize("language", LANGUAGE_CASES)
def test_language_of_a_small_program(language):
    assert detect_language(LANGUAGE_CASES[language]) == language


@pytest.mark.parametrize(
    "piece",
    ["for x in ", "if (", "\n", "a, ", "def f(", "public int f(", "```\n", "fn f(", "class A ", "x = ", "# "],
)
def test_texts_that_nobody_wrote_take_no_time(piece):
    text = piece * (200_000 // len(piece))
    begin = time.process_time()
    detect_language(text)
    extract_program(text)
    assert time.process_time() - begin < 10  # looked through again from every place, it would be minutes


@pytest.fixture(scope="module")
def samples():
    with gzip.open(DATA / "model_samples.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in itertools.islice(lines, 0, None, 5)]


@needs_bundle
def test_extraction_agrees_with_what_the_sources_took(samples):
    """LiveCodeBench and MapCoder recorded both the answer and the program they took from it; white space
    aside. Where they took nothing, or MapCoder took another language than the one asked for, there is
    nothing to compare with.
    """
    same: dict[str, Counter] = defaultdict(Counter)
    for row in samples:
        if row["completion"] and row["code"].strip() and row["language"] == "python3":
            stub = None
            if row["model"] == "CodeGen-16B-mono":  # these completions continue a prompt
                stub = row["code"].removesuffix(row["completion"])
            program = extract_program(row["completion"], row["language"], stub)[0]
            same[row["model"]][program.split() == row["code"].split()] += 1
    shares = {model: counts[True] / counts.total() for model, counts in same.items()}
    assert len(shares) == 8 and min(shares.values()) > 0.97, shares


@needs_bundle
def test_language_agrees_with_what_the_sources_say(samples):
    programs = [
        (row["language"], row["code"])
        for row in samples
        if len(row["code"]) > 100 and row["model"] != "CodeGen-16B-mono"
    ]
    right = Counter()
    for language, code in programs:
        right[language, detect_language(code) == language] += 1
    for language in ("python3", "cpp", "java", "c", "go", "rust", "ruby", "csharp"):
        assert right[language, True] > 0.95 * (right[language, True] + right[language, False]), language
