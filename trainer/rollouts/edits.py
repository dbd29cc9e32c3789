"""Small edits of a Python program, one place at a time: what most often separates a near-miss from a correct
program.

Comparisons and their strictness, arithmetic and boolean operators, numbers by one, min for max, one argument
more or less to `range`. The edits are enumerated in the order of the syntax tree, so that (program, number)
names one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.Pow),
    ast.Div: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mod, ast.Div),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
NAMES = {
    "min": ("max",),
    "max": ("min", "sum"),
    "sum": ("max", "len"),
    "any": ("all",),
    "all": ("any",),
    "sorted": ("list",),
}


@dataclass(frozen=True)
class Edit:
    """A program with one place changed; `what` names the place by line and the change."""

    program: str
    what: str


@dataclass(frozen=True)
class Change:
    """Another value for one field of a node of the syntax tree, and its description."""

    what: str
    field: str
    value: object


def edits(program: str) -> list[Edit]:
    """Every program one edit away, each once and none equal to the program; [] if it is not Python.

    The program is parsed once: each change is made in the tree, written out and reverted.
    """
    try:
        tree = ast.parse(program)
        plain = ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    unique: dict[str, Edit] = {}
    for node in list(ast.walk(tree)):
        for change in list(changes(node)):
            before = getattr(node, change.field)
            setattr(node, change.field, change.value)
            text = ast.unparse(tree) + "\n"
            setattr(node, change.field, before)
            if text.rstrip() != plain and text not in unique:
                unique[text] = Edit(text, f"line {getattr(node, 'lineno', 0)}: {change.what}")
    return list(unique.values())


def changes(node: ast.AST) -> Iterator[Change]:
    """Each change of a node."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS.get(type(operator), ()):
                swapped = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                yield Change(f"{type(operator).__name__} -> {other.__name__}", "ops", swapped)
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield Change(f"{type(node.op).__name__} -> {other.__name__}", "op", other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Change("without the minus", "op", ast.UAdd())
    elif isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 10**6:
        for value in (node.value + 1, node.value - 1):
            yield Change(f"{node.value} -> {value}", "value", value)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        for other_name in NAMES.get(node.id, ()):
            yield Change(f"{node.id} -> {other_name}", "id", other_name)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "range"
        and node.args
    ):
        last = len(node.args) - 1 if len(node.args) < 3 else 1
        for sign, shift in (("+", ast.Add()), ("-", ast.Sub())):
            wider = ast.BinOp(node.args[last], shift, ast.Constant(1))
            yield Change(f"end of range {sign} 1", "args", [*node.args[:last], wider, *node.args[last + 1 :]])
