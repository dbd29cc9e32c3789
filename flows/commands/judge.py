"""`spo judge`: one program against one problem, for a person; `spo serve-judge`: the judge over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import DATA, STORE, JsonOption, StoreOption, TimeFactorOption, open_store
from flows.display.terminal import VisibleConsole, echo

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.store import Store
    from sandbox import Judgement, Submission

COLOURS = {"accepted": "green", "judge_error": "magenta", "language_unavailable": "magenta"}
KEPT_BYTES = 1 << 20
CONTEXT_LINES = 4
WIDTH = 48
TOKEN_VARIABLE = "SPO_JUDGE_TOKEN"
TOKEN_NAME = "judge-token"


def judge(
    file: Annotated[
        Path,
        typer.Argument(help="The program; its suffix says the language.", exists=True, dir_okay=False),
    ],
    problem: Annotated[
        str, typer.Option(help="Problem id in the store; the end of one will do where only one ends so.")
    ],
    language: Annotated[str | None, typer.Option(help="The language, instead of the suffix's.")] = None,
    first_failure: Annotated[
        bool, typer.Option("--first-failure", help="Stop at the first test that fails.")
    ] = False,
    time_factor: TimeFactorOption = 1.0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Judge a program on a problem's tests: a table of them, and where the first failure differs. Exit code 1
    if it fails.

    Example: `spo judge solution.cpp --problem kth2020/airlinehub`
    """
    from dataclasses import asdict, replace

    from pipeline.labelling import Judgeables
    from sandbox import Pool

    name = language_of_file(file, language)
    opened = open_store(store)
    problem_id = find_problem(opened, problem)
    source = file.read_text(encoding="utf-8", errors="surrogateescape")
    row = {"problem_id": problem_id, "program": source, "language": name}
    submission = replace(
        Judgeables(opened, [problem_id]).submission(row, key=str(file)),
        stop_at_first_failure=first_failure,
        keep_bytes=KEPT_BYTES,
    )
    with Pool(1, time_factor=time_factor) as pool:
        judgement = pool.judge(submission)
    if as_json:
        found = asdict(judgement)
        del found["outputs"]
        typer.echo(json.dumps(found | {"problem_id": problem_id}))
    else:
        console = VisibleConsole(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(*shown(problem_id, submission, judgement), sep="\n")
    raise typer.Exit(0 if judgement.verdict == "accepted" else 1)


def language_of_file(file: Path, language: str | None) -> str:
    """The language of a program: `language` by any of its names, or else by the file's suffix. Raises
    BadParameter.
    """
    from sandbox.languages import UnknownLanguage, language_of_suffix, require_language

    if language:
        try:
            return require_language(language).name
        except UnknownLanguage as error:
            raise typer.BadParameter(str(error), param_hint="--language") from error
    found = language_of_suffix(file.suffix)
    if found is None:
        suffix = f"suffix {file.suffix}" if file.suffix else "file without a suffix"
        raise typer.BadParameter(f"no language is known by the {suffix}; give --language", param_hint="FILE")
    return found.name


def find_problem(store: Store, wanted: str) -> str:
    """The id that is meant. Raises BadParameter with those that come near, or why the problem cannot be
    judged.
    """
    import difflib

    import polars as pl

    from pipeline.labelling import CheckerMissing, checker_of

    problems = store.snapshot("problems").scan().drop("statement").collect()
    ids = problems["problem_id"].to_list()
    found = [wanted] if wanted in ids else [each for each in ids if each.endswith("/" + wanted)]
    if len(found) != 1:
        near = found or difflib.get_close_matches(wanted, ids, 5, 0.4)
        hint = f"; did you mean {', '.join(near[:5])}?" if near else ""
        raise typer.BadParameter(
            f"no problem {wanted} among the {len(ids)} of the store{hint}", param_hint="--problem"
        )
    row = problems.row(by_predicate=pl.col("problem_id") == found[0], named=True)
    lacks = "" if row["test_count"] else "it has no tests"
    try:
        checker_of(row)
    except CheckerMissing as error:
        lacks = lacks or str(error)
    if lacks:
        raise typer.BadParameter(f"{found[0]} cannot be judged: {lacks}", param_hint="--problem")
    return found[0]


def shown(problem_id: str, submission: Submission, judgement: Judgement) -> list[RenderableType]:
    """The table of tests, the sum of it, and the first failure."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    # On a narrow terminal the last column gives way, and no other.
    for name, longest in (("test", 40), ("verdict", 21)):
        values = [test.test_id if name == "test" else test.verdict for test in judgement.tests]
        table.add_column(name, no_wrap=True, min_width=min(longest, max(map(len, values), default=0)))
    for name in ("CPU ms", "wall ms", "MB"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for test in judgement.tests:
        numbers = (f"{1000 * test.cpu_s:.0f}", f"{1000 * test.wall_s:.0f}", f"{test.memory_mb:.0f}")
        table.add_row(escape(test.test_id), coloured(test.verdict), *numbers, escape(test.detail))
    limits = submission.limits
    under = f"{judgement.toolchain or submission.language}; {limits.time_s:g} s, {limits.memory_mb} MB; {judgement.tier}"
    parts: list[RenderableType] = [table] if judgement.tests else []
    passed = f"{judgement.passed} of {judgement.total} tests of {escape(problem_id)}"
    parts.append(f"{coloured(judgement.verdict)} {passed} [dim]({escape(under)})[/]")
    if judgement.compile_output:
        parts.append(escape(judgement.compile_output.strip()))
    return [*parts, *first_failure_of(submission, judgement)]


def coloured(verdict: str) -> str:
    return f"[bold {COLOURS.get(verdict, 'red')}]{verdict.replace('_', ' ')}[/]"


def first_failure_of(submission: Submission, judgement: Judgement) -> list[RenderableType]:
    """Input, what was expected and what came of the first failing test, around the first line that differs."""
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
            "[dim]standard error, its end[/]",
            escape("\n".join(output.stderr.strip().splitlines()[-CONTEXT_LINES * 2 :])),
        ]
    return parts


def first_lines(text: str) -> str:
    lines = text.rstrip().splitlines()
    more = [f"... {len(lines)} lines"] if len(lines) > 2 * CONTEXT_LINES else []
    return "\n".join([cut(line) for line in lines[: 2 * CONTEXT_LINES]] + more)


def cut(line: str, width: int = 2 * WIDTH) -> str:
    from pipeline.text import visible_line

    line = visible_line(line)
    return line if len(line) <= width else line[:width] + "..."


def side_by_side(expected: str, got: str) -> Table:
    """Both outputs line by line, from a little before the first that differs."""
    from itertools import islice, zip_longest

    from rich.markup import escape
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
        style = "" if same(wanted, line) else "red"
        cells = ("[dim]nothing[/]" if cell is None else escape(cut(cell, WIDTH)) for cell in (wanted, line))
        table.add_row(str(number), *cells, style=style)
    if start + 2 * CONTEXT_LINES + 1 < len(pairs):
        table.add_row("", f"... {len(pairs)} lines", "", style="dim")
    return table


def serve_judge(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback, a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Sandbox workers; default: as many as `spo label` has.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File whose first line is the token; or set {TOKEN_VARIABLE}. Default: one that is made in the data folder.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Serve the judge over HTTP: `/run_code` as SandboxFusion does (for verl and others), and `/judge` for
    many at once.

    Every request needs the token: `-H "authorization: Bearer $(cat data/judge-token)"`.

    Example: `spo serve-judge --port 8080`, then `curl -H "authorization: Bearer $(cat data/judge-token)" -H
    'content-type: application/json' -d '{"code": "print(1)", "language": "python"}' 127.0.0.1:8080/run_code`
    """
    import uvicorn

    from sandbox import Pool
    from sandbox.service import application, is_loopback, server_config

    everywhere = not is_loopback(host)
    token, origin = judge_token(token_file, everywhere)
    with Pool(workers) as pool:
        app = application(pool, token, everywhere)
        echo(
            f"judge: http://{host}:{port}/run_code, {len(pool.workers)} workers, {pool.tier}; the token is in {origin}",
            err=True,
        )
        uvicorn.Server(server_config(app, host=host, port=port)).run()


def judge_token(file: Path | None, everywhere: bool) -> tuple[str, str]:
    """The service's token and where it is. Raises BadParameter for an empty one, and beyond loopback for
    none of the user's own.
    """
    from sandbox.service import checked_token

    if file:
        token, origin = (file.read_text().splitlines() or [""])[0].strip(), str(file)
    elif TOKEN_VARIABLE in os.environ:
        token, origin = os.environ[TOKEN_VARIABLE].strip(), f"${TOKEN_VARIABLE}"
    elif everywhere:
        raise typer.BadParameter(
            f"other machines can reach it: give --token-file, or set {TOKEN_VARIABLE}", param_hint="--host"
        )
    else:
        token, origin = own_token(DATA / TOKEN_NAME), str(DATA / TOKEN_NAME)
    try:
        checked_token(token)
    except ValueError as error:
        raise typer.BadParameter(f"{origin}: {error}", param_hint="--token-file") from error
    return token, origin


def own_token(file: Path) -> str:
    """The token in a file that only its owner can read; made where there is none. Raises BadParameter for
    any other file.
    """
    import secrets
    import stat
    import tempfile

    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(file):
        made, name = tempfile.mkstemp(dir=file.parent)  # for its owner alone
        with open(made, "w") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):  # of two first starts, one makes it, whole
            os.link(name, file)
        os.unlink(name)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}; remove it", param_hint="--token-file") from error
    with open(descriptor) as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise typer.BadParameter(
                f"{file} is not a file that you alone can read; remove it, and a new one is made",
                param_hint="--token-file",
            )
        return opened.readline().strip()
