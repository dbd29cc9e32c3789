"""`spo judge`: judge one program on one problem, with a readable result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, TimeFactorOption, open_store
from flows.commands.completion import problems
from flows.display.terminal import VisibleConsole, echo

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.store import Store
    from sandbox import Judgement, Submission

COLOURS = {"accepted": "green", "judge_error": "magenta", "language_unavailable": "magenta"}
KEPT_BYTES = 1 << 20
CONTEXT_LINES = 4
NOT_ACCEPTED, NOT_JUDGED = 1, 3
WIDTH = 48


ProblemOption = Annotated[
    str | None,
    typer.Option(
        help="Problem id in the store; an unambiguous end of the id, after a /, is enough. Not needed for"
        " a trajectory.",
        autocompletion=problems,
    ),
]


def judge(
    program: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID", help="A program, whose suffix gives its language, or the id of a trajectory."
        ),
    ],
    problem: ProblemOption = None,
    language: Annotated[
        str | None, typer.Option(help="The language, if the file suffix does not determine it.")
    ] = None,
    all_tests: Annotated[
        bool, typer.Option("--all-tests", help="Run the tests after the first failure, too.")
    ] = False,
    time_factor: TimeFactorOption = 1.0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Judge a program on a problem's tests. Shows a table of the tests and the first difference of the first
    failing test. Exit code 0: accepted; 1: not accepted; 3: it could not be judged.

    Examples: `spo judge solution.cpp --problem kth2020/airlinehub` -- `spo judge 0f3a9c --all-tests`
    """
    from dataclasses import replace

    from pipeline.labelling import CheckerUnavailable, SubmissionBuilder
    from sandbox import Pool, SandboxUnavailable

    opened = open_store(store)
    row = find_program(opened, program, problem, language)
    problem_id = row["problem_id"]
    try:
        submission = replace(
            SubmissionBuilder(opened, [problem_id]).submission(row, key=program),
            stop_at_first_failure=not all_tests,
            keep_bytes=KEPT_BYTES,
        )
        with Pool(1, time_factor=time_factor) as pool:
            judgement = pool.judge(submission)
    except (SandboxUnavailable, CheckerUnavailable) as error:
        echo(f"spo: {problem_id} cannot be judged: {error}", err=True)
        raise typer.Exit(NOT_JUDGED) from error
    print_judgement(problem_id, submission, judgement, as_json)
    raise typer.Exit(exit_code(judgement.verdict))


def print_judgement(problem_id: str, submission: Submission, judgement: Judgement, as_json: bool) -> None:
    """On standard output: tables for people, or one JSON line."""
    from dataclasses import asdict

    if as_json:
        fields = asdict(judgement)
        del fields["outputs"]
        typer.echo(json.dumps(fields | {"problem_id": problem_id}))
        return
    console = VisibleConsole(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(*render_judgement(problem_id, submission, judgement), sep="\n")


def exit_code(verdict: str) -> int:
    """0 for accepted, NOT_JUDGED for verdicts that say nothing of the program, 1 for the others."""
    from pipeline.store import NOT_A_REWARD

    return 0 if verdict == "accepted" else NOT_JUDGED if verdict in NOT_A_REWARD else NOT_ACCEPTED


def find_program(store: Store, program: str, problem: str | None, language: str | None) -> dict[str, Any]:
    """problem_id, program, language and files of a file or of a trajectory. Raises BadParameter."""
    file = Path(program)
    if not file.is_file():
        return find_trajectory(store, program, problem)
    if problem is None:
        raise typer.BadParameter("a file needs the problem that it solves", param_hint="--problem")
    return {
        "problem_id": find_problem(store, problem),
        "program": file.read_text(encoding="utf-8", errors="surrogateescape"),
        "language": language_of_file(file, language),
    }


def find_trajectory(store: Store, wanted: str, problem: str | None) -> dict[str, Any]:
    """The trajectory with an id, or with a beginning of it that no other one has. Raises BadParameter."""
    import polars as pl

    columns = ("trajectory_id", "problem_id", "program", "language", "files")
    scan = store.snapshot("trajectories").scan().filter(pl.col("trajectory_id").str.starts_with(wanted))
    rows = scan.select(columns).unique("trajectory_id").head(2).collect().to_dicts() if wanted else []
    if len(rows) != 1:
        few = "no trajectory" if not rows else "more than one trajectory"
        raise typer.BadParameter(f"no file {wanted}, and {few} with such an id", param_hint="FILE|ID")
    return rows[0] | {"problem_id": find_problem(store, problem or rows[0]["problem_id"])}


def language_of_file(file: Path, language: str | None) -> str:
    """The name of a program's language: `language`, which may be any of its names, else by the file's suffix.
    Raises BadParameter.
    """
    from sandbox.languages import UnknownLanguage, language_of_suffix, require_language

    if language:
        try:
            return require_language(language).name
        except UnknownLanguage as error:
            raise typer.BadParameter(str(error), param_hint="--language") from error
    row = language_of_suffix(file.suffix)
    if row is None:
        reason = f"no language has the suffix {file.suffix}" if file.suffix else f"{file} has no suffix"
        raise typer.BadParameter(f"{reason}; give --language", param_hint="FILE")
    return row.name


def find_problem(store: Store, wanted: str) -> str:
    """The id of a problem by its id or the end of it. Raises BadParameter, with similar ids if it is unknown,
    or with the reason if it cannot be judged.
    """
    import difflib

    import polars as pl

    from pipeline.labelling import CheckerUnavailable, problem_checker

    problems = store.snapshot("problems").scan().drop("statement").collect()
    ids = problems["problem_id"].to_list()
    matches = [wanted] if wanted in ids else [each for each in ids if each.endswith("/" + wanted)]
    if len(matches) != 1:
        similar = matches or difflib.get_close_matches(wanted, ids, 5, 0.4)
        hint = f"; did you mean {', '.join(similar[:5])}?" if similar else ""
        raise typer.BadParameter(
            f"no single problem {wanted} among the {len(ids)} of the store{hint}", param_hint="--problem"
        )
    row = problems.row(by_predicate=pl.col("problem_id") == matches[0], named=True)
    reason = "" if row["test_count"] else "it has no tests"
    try:
        problem_checker(row)
    except CheckerUnavailable as error:
        reason = reason or str(error)
    if reason:
        raise typer.BadParameter(f"{matches[0]} cannot be judged: {reason}", param_hint="--problem")
    return matches[0]


def render_judgement(problem_id: str, submission: Submission, judgement: Judgement) -> list[RenderableType]:
    """The table of tests, a summary line, and the first failure."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    # On a narrow terminal only the last column is truncated.
    for name, longest in (("test", 40), ("verdict", 21)):
        values = [test.test_id if name == "test" else test.verdict for test in judgement.tests]
        table.add_column(name, no_wrap=True, min_width=min(longest, max(map(len, values), default=0)))
    for name in ("CPU ms", "wall ms", "MB"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for test in judgement.tests:
        numbers = (f"{1000 * test.cpu_s:.0f}", f"{1000 * test.wall_s:.0f}", f"{test.memory_mb:.0f}")
        table.add_row(escape(test.test_id), coloured(test.verdict), *numbers, escape(test.detail))
    limits, toolchain = submission.limits, judgement.toolchain or submission.language
    conditions = f"{toolchain}; {limits.time_s:g} s, {limits.memory_mb} MB; {judgement.tier}"
    parts: list[RenderableType] = [table] if judgement.tests else []
    passed = f"{judgement.passed} of {judgement.total} tests of {escape(problem_id)}"
    parts.append(f"{coloured(judgement.verdict)} {passed} [dim]({escape(conditions)})[/]")
    if judgement.compile_output:
        parts.append(escape(judgement.compile_output.strip()))
    return [*parts, *render_first_failure(submission, judgement)]


def coloured(verdict: str) -> str:
    return f"[bold {COLOURS.get(verdict, 'red')}]{verdict.replace('_', ' ')}[/]"


def render_first_failure(submission: Submission, judgement: Judgement) -> list[RenderableType]:
    """Input, expected and actual output of the first failing test, around the first line that differs."""
    from rich.markup import escape

    test = next((test for test in submission.tests if test.test_id == judgement.first_failure), None)
    output = next((output for output in judgement.outputs if output.test_id == judgement.first_failure), None)
    if test is None or output is None:
        return []
    parts: list[RenderableType] = [
        f"\n[bold]test {escape(test.test_id)}[/]\n[dim]input[/]",
        escape(first_lines(test.input)),
    ]
    if test.mode == "stdin" and test.expected_output is not None:
        parts += ["[dim]output[/]", side_by_side(test.expected_output, output.stdout)]
    elif output.stdout.strip():
        parts += ["[dim]printed[/]", escape(first_lines(output.stdout))]
    if output.stderr.strip():
        parts += [
            "[dim]end of standard error[/]",
            escape("\n".join(output.stderr.strip().splitlines()[-CONTEXT_LINES * 2 :])),
        ]
    return parts


def first_lines(text: str) -> str:
    lines = text.rstrip().splitlines()
    more = [f"... {len(lines)} lines"] if len(lines) > 2 * CONTEXT_LINES else []
    return "\n".join([shorten(line) for line in lines[: 2 * CONTEXT_LINES]] + more)


def shorten(line: str, width: int = 2 * WIDTH) -> str:
    from pipeline.text import visible_line

    line = visible_line(line)
    return line if len(line) <= width else line[:width] + "..."


def side_by_side(expected: str, got: str) -> Table:
    """Both outputs line by line, from a few lines before the first difference."""
    from itertools import islice, zip_longest

    from rich.table import Table

    def same(a: str | None, b: str | None) -> bool:
        return (a or "").split() == (b or "").split()

    pairs = list(zip_longest(expected.rstrip().splitlines(), got.rstrip().splitlines()))
    first = next((number for number, pair in enumerate(pairs) if not same(*pair)), 0)
    start = max(0, first - CONTEXT_LINES)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("line", "expected", "got"):
        table.add_column(name, justify="right" if name == "line" else "left", no_wrap=True)
    for number, (wanted, line) in islice(enumerate(pairs, 1), start, start + 2 * CONTEXT_LINES + 1):
        cells = ("[dim]nothing[/]" if cell is None else None for cell in (wanted, line))
        words = different_words(shorten(wanted or "", WIDTH), shorten(line or "", WIDTH))
        table.add_row(str(number), *(cell or word for cell, word in zip(cells, words, strict=True)))
    if start + 2 * CONTEXT_LINES + 1 < len(pairs):
        table.add_row("", f"... {len(pairs)} lines", "", style="dim")
    return table


def different_words(expected: str, got: str) -> tuple[str, str]:
    """Both lines in markup: words of only one of them are green in `expected` and red in `got`."""
    import difflib
    import re

    from rich.markup import escape

    one, other = (re.findall(r"\s+|\S+", line) for line in (expected, got))
    shown: tuple[list[str], list[str]] = ([], [])
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        for part, text, colour in ((0, "".join(one[a:b]), "green"), (1, "".join(other[c:d]), "red")):
            plain = kind == "equal" or not text.strip()
            shown[part].append(escape(text) if plain else f"[bold {colour}]{escape(text)}[/]")
    return "".join(shown[0]), "".join(shown[1])
