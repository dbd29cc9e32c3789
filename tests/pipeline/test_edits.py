"""Edits of a long program: one parse for all of them, and each change is taken back before the next."""

import ast

from trainer.rollouts.edits import edits

# 1,500 nodes of the syntax tree and more, few of them places to change.
PLACES = 8
LONG = "".join(
    f"if a{n} < {n}:\n    b{n} = max(a{n}, -{n}) * {n + 7}\n" + "f(x, y)[z] = g(u, v)\n" * 13
    for n in range(PLACES)
)


def test_a_long_program_is_parsed_once_and_written_once_for_each_change(monkeypatch):
    calls = {"parse": 0, "unparse": 0}

    def counted(name):
        real = getattr(ast, name)

        def call(*arguments):
            calls[name] += 1
            return real(*arguments)

        return call

    nodes = len(list(ast.walk(ast.parse(LONG))))
    plain = ast.unparse(ast.parse(LONG)).split("\n")
    for name in calls:
        monkeypatch.setattr(ast, name, counted(name))
    actual = edits(LONG)
    # Of each place: two comparisons, two other names of max, no minus, two other operators, and three numbers
    # by one.
    assert nodes >= 1_500 and calls == {"parse": 1, "unparse": 1 + PLACES * (2 + 2 + 1 + 2 + 6)}
    assert len(actual) == len({edit.program for edit in actual}) > 10 * PLACES
    for edit in actual:
        lines = edit.program.rstrip("\n").split("\n")
        changed = [
            number
            for number, (one, other) in enumerate(zip(lines, plain, strict=True), start=1)
            if one != other
        ]
        assert [f"line {number}" for number in changed] == [edit.what.partition(":")[0]]


def test_edits_come_in_the_order_of_the_syntax_tree():
    assert [edit.what for edit in edits("x = 1 < y\nz = min(x, 2)\n")] == [
        "line 1: Lt -> LtE",
        "line 1: Lt -> Gt",
        "line 1: 1 -> 2",
        "line 1: 1 -> 0",
        "line 2: min -> max",
        "line 2: 2 -> 3",
        "line 2: 2 -> 1",
    ]
