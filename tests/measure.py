"""The shape of the code in figures: modules by shelf, long functions, circles, annotations, mutation score,
golden runs.

    ./run measure              # all of it; mutants are looked up where neither code nor tests changed
    ./run measure --quick      # without the golden runs and mutants

Ends with one JSON line. Guest code (`sandbox/isolation/guest/`) runs in the jail's bare interpreter and is
not asked for annotations.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("sandbox", "pipeline", "trainer", "flows")
LONG_LINES = 50
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def shelf_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1] if len(parts) > 2 else "."


def functions(path: Path) -> Iterator[FunctionNode]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, FunctionNode):
            yield node


def is_guest(path: Path) -> bool:
    return "guest" in path.parts


def long_functions() -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines"
        for room in ROOMS
        for path in modules(room)
        for node in functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONG_LINES
    ]


def annotated_share() -> float:
    """Share of functions outside guest code that say what they return; `__init__` returns nothing and
    counts as saying so.
    """
    actual = [
        node.returns is not None or node.name == "__init__"
        for room in ROOMS
        for path in modules(room)
        if not is_guest(path)
        for node in functions(path)
    ]
    return sum(actual) / len(actual)


def directly_in(room: str) -> int:
    return sum(path.name not in ("__init__.py", "__main__.py") for path in (ROOT / room).glob("*.py"))


def circles(graph: grimp.ImportGraph) -> list[str]:
    """Packages whose parts import each other in a circle, with one import that closes it."""
    actual = []
    for package in [
        *ROOMS,
        *(m for m in graph.modules if m.split(".")[0] in ROOMS and graph.find_children(m)),
    ]:
        for breaker in graph.nominate_cycle_breakers(package):
            actual.append(f"{package}: {breaker[0]} -> {breaker[1]}")
    return actual


def upward_imports(graph: grimp.ImportGraph) -> list[str]:
    height = {room: place for place, room in enumerate(ROOMS)}
    return [
        f"{importer} -> {imported}"
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
        if height[imported.split(".")[0]] > height[importer.split(".")[0]]
    ]


def print_shelves() -> None:
    for room in ROOMS:
        counts: dict[str, int] = {}
        for path in modules(room):
            if path.name != "__init__.py":
                counts[shelf_of(path)] = counts.get(shelf_of(path), 0) + 1
        print(f"{room}: " + ", ".join(f"{shelf} {count}" for shelf, count in sorted(counts.items())))


def golden_equal() -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "tests/golden"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


def mutation_score() -> float:
    command = [sys.executable, "tests/mutation/run.py", "--json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(json.loads(output.splitlines()[-1])["mutation_score"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without golden runs and mutants")
    quick = parser.parse_args().quick
    graph = grimp.build_graph(*ROOMS)
    lists = {"over_50": long_functions(), "circles": circles(graph), "upward_imports": upward_imports(graph)}
    print_shelves()
    for name, lines in lists.items():
        print("\n".join([f"{name}: {len(lines)}", *(f"  {line}" for line in lines)]))
    figures = {
        "modules_pipeline": directly_in("pipeline"),
        "modules_trainer": directly_in("trainer"),
        **{name: len(lines) for name, lines in lists.items()},
        "annotated": round(annotated_share(), 4),
    }
    if not quick:
        figures |= {"mutation_score": mutation_score(), "golden_equal": golden_equal()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
