"""MBPP's setup code: before the program, or in its tests where it builds objects of the program's classes."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters.setup_code import uses_the_program
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool

NODE = "class Node:\n    def __init__(self, data):\n        self.data, self.left = data, None\n"
DEPTH = NODE + "def depth(node):\n    return 0 if node is None else 1 + depth(node.left)\n"
SETUP = "root = Node(1) \r\nroot.left = Node(2)"  # as in MBPP: of several lines, without a last line end
TABLE = "limit = 7"  # without a line end


def rows():
    first = {"task_id": 11, "text": "The depth.", "code": DEPTH, "test_setup_code": SETUP}
    second = {"task_id": 12, "text": "The limit.", "code": "def most():\n    return limit\n"}
    tests = {"test_list": ["assert depth(root) == 2"], "challenge_test_list": ["assert depth(None) == 0"]}
    yield first | tests
    yield second | {
        "test_setup_code": TABLE, "test_list": ["assert most() == 7"], "challenge_test_list": [],
    }  # fmt: skip


def test_setup_code_runs_where_it_can(tmp_path):
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    store = Store(tmp_path / "store")
    ingest(store, "mbpp", str(tmp_path / "mbpp.jsonl"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        judged = query(connection, "select problem_id, verdict from judged order by all").rows()
        preambles = query(connection, "select preamble from problems order by problem_id")["preamble"]
    assert judged == [("mbpp/11", "accepted"), ("mbpp/12", "accepted")]
    assert preambles.to_list() == [None, "limit = 7"]


@pytest.mark.parametrize(
    ("code", "uses"),
    [
        ("root = Node(1)", True),
        ("class Node: pass\nroot = Node()", False),
        ("from collections import OrderedDict as O\nx = O()", False),
        ("from nodes import *\nroot = Node(1)", False),
        ("import a.b\na.c()", False),
        ("def f(x, *y): return [z for z in x + y]\nf(1)", False),
        ("try: int('x')\nexcept ValueError as error: print(error)", False),
        ("async def f(): return g()", True),
        ("not Python (", False),
    ],
)
def test_names_that_only_the_program_can_define(code, uses):
    assert uses_the_program(code) is uses
