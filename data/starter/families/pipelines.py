"""Tasks of the form: take values, keep those that meet a condition, change each, print something of what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from families.parts import COUNT, Change, Condition, Finish
from families.sources import Source
from families.task import Task, lines, swaps, title_of

UNCHANGED = Change("", "", "x", "x + 1", "x")
ALWAYS = Condition("", "{}", "True", "x > 0", "true")


def phrase_of(source: Source, condition: Condition, change: Change) -> str:
    """'the squares of the even numbers from 1 to n': the words for the values that are left."""
    selection = f"the {condition.phrase.format(source.noun)}{source.where}"
    return f"the {change.phrase} of {selection}" if change.slug else selection


def comprehension(condition: Condition, change: Change) -> str:
    if not condition.slug:
        return f"[{change.code} for x in a]" if change.slug else "list(a)"
    return f"[{change.code} for x in a if {condition.code}]"


def loop(condition: Condition, body: str) -> str:
    if not condition.slug:
        return f"for x in a:\n    {body}"
    return f"for x in a:\n    if {condition.code}:\n        {body}"


def functional(condition: Condition, change: Change) -> str:
    steps = [f"a = filter(lambda x: {condition.code}, a)"] if condition.slug else []
    if change.slug:
        steps.append(f"a = map(lambda x: {change.code}, a)")
    return "\n".join([*steps, "b = list(a)"])


def imports_for(code: str) -> str:
    return "import math" if "math." in code else ""


def correct_programs(source: Source, condition: Condition, change: Change, finish: Finish) -> dict[str, str]:
    """The same task in up to five ways of writing."""
    head, show = imports_for(finish.code), f"print({finish.code})"
    collect = f"b = {comprehension(condition, change)}"
    made = {
        "comprehension": lines(head, source.read, collect, show),
        "loop": lines(head, source.read, "b = []", loop(condition, f"b.append({change.code})"), show),
        "functional": lines(head, source.read, functional(condition, change), show),
    }
    if finish.start:
        made["running"] = lines(source.read, finish.start, loop(condition, finish.step.format(change.code)), "print(s)")
    if source.other_read:
        made["other-reading"] = lines(head, source.other_read, collect, show)
    return made


def wrong_programs(source: Source, condition: Condition, change: Change, finish: Finish) -> dict[str, str]:
    """Candidates: the nearest mistake in every part, a skipped value, a lost case, a misread line, a misspelt name."""
    base = correct_programs(source, condition, change, finish)
    plain, looped = base["comprehension"], base["loop"]
    made = swaps(
        plain,
        near_condition=(condition.code, condition.near) if condition.slug else ("", ""),
        forgets_condition=(f" if {condition.code}", "") if condition.slug else ("", ""),
        near_change=(f"[{change.code} for", f"[{change.near} for") if change.slug else ("", ""),
        forgets_change=(f"[{change.code} for", "[x for") if change.slug else ("", ""),
        near_finish=(f"print({finish.code})", f"print({finish.near})"),
        stops_early=("n + 1)", "n)"),
    )
    return made | swaps(
        looped,
        skips_first=("for x in a:", "for x in list(a)[1:]:"),
        skips_last=("for x in a:", "for x in list(a)[:-1]:"),
        misreads=("list(map(int, input().split()))", "[int(input())]"),
        reads_number=("a = input()", "a = int(input())"),
        misspells=("b.append(", "c.append("),
    )


def hanging_program(source: Source, condition: Condition, change: Change, finish: Finish) -> str:
    """A while loop whose step sits inside the condition, so that the first value left out is looked at for ever."""
    if not condition.slug:
        return ""
    body = f"while i < len(a):\n    x = a[i]\n    if {condition.code}:\n        b.append({change.code})\n        i += 1"
    return lines(imports_for(finish.code), source.read, "i = 0", "b = []", body, f"print({finish.code})")


CPP_FINISHES = {
    "sum": ("long long s = 0;", "s += {};", "s"),
    "count": ("long long s = 0;", "s += 1;", "s"),
    "largest": ("long long s = 0, k = 0;", "if (k == 0 || {0} > s) s = {0}; k += 1;", "s"),
    "smallest": ("long long s = 0, k = 0;", "if (k == 0 || {0} < s) s = {0}; k += 1;", "s"),
}


def cpp_program(condition: Condition, change: Change, finish: Finish) -> str:
    """The C++ form of a task on a list of numbers; empty where the finish has none."""
    if finish.slug not in CPP_FINISHES:
        return ""
    start, step, shown = CPP_FINISHES[finish.slug]
    body = step.format(change.cpp)
    return lines(
        "#include <iostream>",
        "#include <cstdlib>",
        "using namespace std;",
        "int main() {",
        "    long long n, x;",
        "    cin >> n;",
        f"    {start}",
        "    for (int i = 0; i < n; i++) {",
        "        cin >> x;",
        f"        if ({condition.cpp}) {{ {body} }}",
        "    }",
        f"    cout << {shown} << endl;",
        "}",
    )


def answer_of(source: Source, condition: Condition, change: Change, finish: Finish) -> Callable[[str], str]:
    def answer(text: str) -> str:
        selected = [value for value in source.values(text) if condition.holds(value)]
        return finish.answer([change.of(value) for value in selected])

    return answer


def pipeline_task(
    family: str,
    source: Source,
    condition: Condition,
    change: Change,
    finish: Finish,
    parts: tuple[str, ...],
    cpp: bool = False,
) -> Task:
    wanted = finish.phrase.format(phrase_of(source, condition, change))
    return Task(
        family=family,
        parts=parts,
        title=title_of(wanted),
        statement=f"{source.given}, print {wanted}.{finish.empty}",
        difficulty=1 + bool(condition.slug) + bool(change.slug),
        answer=answer_of(source, condition, change, finish),
        example=source.example,
        edges=source.edges,
        correct=correct_programs(source, condition, change, finish),
        wrong=wrong_programs(source, condition, change, finish),
        cpp=cpp_program(condition, change, finish) if cpp else "",
        hang=hanging_program(source, condition, change, finish),
    )


def pipeline_family(
    family: str,
    sources: dict[str, Source],
    finishes: tuple[Finish, ...],
    *,
    conditions: bool = True,
    changes: bool = True,
    plain: bool = True,
    cpp: bool = False,
) -> Callable[[], Iterator[Task]]:
    """All tasks of a family: sources x conditions x changes x finishes. With `plain` the unchanged values occur too."""

    def tasks() -> Iterator[Task]:
        for (name, source), finish in product(sources.items(), finishes):
            some_conditions = source.conditions if conditions else (ALWAYS,)
            # A count does not depend on what the values are changed to.
            some_changes = (
                ((UNCHANGED,) if plain else ()) + (source.changes if changes and finish is not COUNT else ())
            ) or (UNCHANGED,)
            for condition, change in product(some_conditions, some_changes):
                parts = (
                    name if len(sources) > 1 else "",
                    finish.slug,
                    condition.slug,
                    change.slug or ("plain" if changes else ""),
                )
                yield pipeline_task(
                    family, source, condition, change, finish, tuple(part for part in parts if part), cpp
                )

    return tasks
