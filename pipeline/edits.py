"""Small edits of a Python program, one place at a time: what most often lies between a near-miss and a right program.

Comparisons and their strictness, arithmetic and boolean operators, numbers by one, min for max, one argument more or less to
`range`. The edits are enumerated in the order of the syntax tree, so that (program, number) names one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Add, ast.Pow), ast.Div: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mod, ast.Div), ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd, ast.BitXor), ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,), ast.RShift: (ast.LShift,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
NAMES = {"min": ("max",), "max": ("min", "sum"), "sum": ("max", "len"), "any": ("all",), "all": ("any",), "sorted": ("list",)}


@dataclass(frozen=True)
class Edit:
    """A program with one place changed; `what` names the place by line and the change."""

    program: str
    what: str


def edits(program: str) -> list[Edit]:
    """Every program one edit away, each once and none equal to the program; [] for one that is no Python."""
    try:
        plain = ast.unparse(ast.parse(program))
        count = len(list(ast.walk(ast.parse(program))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: dict[str, Edit] = {}
    for place in range(count):
        for change in range(len(list(changes(node_at(ast.parse(program), place))))):
            tree = ast.parse(program)
            node = node_at(tree, place)
            what, apply = list(changes(node))[change]
            apply()
            text = ast.unparse(tree) + "\n"
            if text.rstrip() != plain and text not in found:
                found[text] = Edit(text, f"line {getattr(node, 'lineno', 0)}: {what}")
    return list(found.values())


def node_at(tree: ast.AST, place: int) -> ast.AST:
    return next(node for number, node in enumerate(ast.walk(tree)) if number == place)


def changes(node: ast.AST) -> Iterator[tuple[str, Callable[[], None]]]:
    """(what, function that does it in place) for each change of a node."""

    def setting(owner: ast.AST, field: str, value: object) -> Callable[[], None]:
        return lambda: setattr(owner, field, value)

    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS.get(type(operator), ()):
                swapped = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield f"{type(operator).__name__} -> {other.__name__}", setting(node, "ops", swapped)
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield f"{type(node.op).__name__} -> {other.__name__}", setting(node, "op", other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "without the minus", setting(node, "op", ast.UAdd())
    elif isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 10**6:
        for value in (node.value + 1, node.value - 1):
            yield f"{node.value} -> {value}", setting(node, "value", value)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        for other_name in NAMES.get(node.id, ()):
            yield f"{node.id} -> {other_name}", setting(node, "id", other_name)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and node.args:
        last = len(node.args) - 1 if len(node.args) < 3 else 1
        for sign, shift in (("+", ast.Add()), ("-", ast.Sub())):
            wider = ast.BinOp(node.args[last], shift, ast.Constant(1))
            yield f"end of range {sign} 1", setting(node, "args", [*node.args[:last], wider, *node.args[last + 1 :]])
