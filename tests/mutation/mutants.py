"""Mutants of a source file, made by cosmic-ray's operators and by one of our own for thresholds."""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import parso
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

# One replacement per kind of operator: a second wrong one is found by the same tests.
OPERATORS = (
    "core/AddNot", "core/NumberReplacer", "core/ReplaceAndWithOr", "core/ReplaceOrWithAnd",
    "core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue", "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak", "core/ZeroIterationForLoop", "core/ReplaceUnaryOperator_Delete_Not",
    "core/ReplaceUnaryOperator_USub_UAdd",
    "core/ReplaceBinaryOperator_Add_Sub", "core/ReplaceBinaryOperator_Sub_Add",
    "core/ReplaceBinaryOperator_Mul_Div", "core/ReplaceBinaryOperator_Div_Mul",
    "core/ReplaceBinaryOperator_FloorDiv_Mul", "core/ReplaceBinaryOperator_Mod_Add",
    "core/ReplaceBinaryOperator_BitAnd_BitOr", "core/ReplaceBinaryOperator_Pow_Mul",
    "core/ReplaceComparisonOperator_Lt_LtE", "core/ReplaceComparisonOperator_LtE_Lt",
    "core/ReplaceComparisonOperator_Gt_GtE", "core/ReplaceComparisonOperator_GtE_Gt",
    "core/ReplaceComparisonOperator_Eq_NotEq", "core/ReplaceComparisonOperator_NotEq_Eq",
    "core/ReplaceComparisonOperator_Is_IsNot", "core/ReplaceComparisonOperator_IsNot_Is",
)  # fmt: skip
SMALL_CHANGE = 1.07


class ThresholdReplacer(Operator):
    """A number with a decimal point, changed by 7 %: 0.7 becomes 0.749."""

    def mutation_positions(self, node: parso.tree.NodeOrLeaf) -> Iterator[tuple]:
        if node.type == "number" and "." in node.value and float(node.value) != 0:
            yield (node.start_pos, node.end_pos)

    def mutate(self, node: parso.tree.NodeOrLeaf, index: int) -> parso.tree.NodeOrLeaf:
        node.value = repr(float(node.value) * SMALL_CHANGE)
        return node

    @classmethod
    def examples(cls) -> tuple:
        return ()


@dataclass(frozen=True)
class Mutant:
    """Changed code under a name that does not depend on line numbers: `before -> after`."""

    name: str
    code: str


def of_file(path: Path) -> list[Mutant]:
    """Every mutant of a file whose code still parses and differs in more than text."""
    code = path.read_text()
    actual: dict[str, Mutant] = {}
    operators = [get_operator(name)() for name in OPERATORS] + [ThresholdReplacer()]
    for operator in operators:
        for occurrence in range(positions(code, operator)):
            changed = mutate_code(code, operator, occurrence)
            if changed and is_change(code, changed):
                name = name_of(code, changed)
                while name in actual:  # the same line occurs twice
                    name += " (again)"
                actual[name] = Mutant(name, changed)
    return list(actual.values())


def positions(code: str, operator: Operator) -> int:
    nodes, count = [get_ast(code)], 0
    while nodes:
        node = nodes.pop()
        count += sum(1 for _ in operator.mutation_positions(node))
        nodes += getattr(node, "children", [])
    return count


def is_change(code: str, changed: str) -> bool:
    """Whether what the program computes may have changed.

    Annotations are text here (`from __future__ import annotations`), decorators do not compute, and how
    arguments are passed (`*,` becomes `/,`) is not arithmetic.
    """
    try:
        return computed(code) != computed(changed)
    except SyntaxError:
        return False


def computed(code: str) -> str:
    """The syntax tree without annotations, decorators and kinds of arguments."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.arguments):
            node.args, node.posonlyargs, node.kwonlyargs = (
                [*node.posonlyargs, *node.args, *node.kwonlyargs],
                [],
                [],
            )
            node.defaults, node.kw_defaults = [*node.defaults, *filter(None, node.kw_defaults)], []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


def name_of(code: str, changed: str) -> str:
    lines = list(difflib.unified_diff(code.splitlines(), changed.splitlines(), n=0, lineterm=""))[2:]
    before = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    after = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return f"{before} -> {after}"


def sample(mutants: list[Mutant], limit: int) -> list[Mutant]:
    """At most `limit` of them, the same ones each time."""
    ranked = sorted(mutants, key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest())
    return ranked[:limit]
