"""`spo prompt`: what a policy sees of a problem, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store
from flows.commands.completion import problems


def prompt(
    problem: Annotated[str, typer.Argument(help="A problem_id.", autocompletion=problems)],
    policy: Annotated[Path, typer.Option(help="Folder of the policy.")],
    language: Annotated[str, typer.Option(help="Language that a program is asked in.")] = "python3",
    tokens: Annotated[bool, typer.Option("--tokens", help="List every token with its id.")] = False,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Show the prompt of a problem as a policy sees it, with special tokens spelt out.

    Examples: `spo prompt mbpp/11 --policy models/qwen` -- `spo prompt mbpp/11 --policy models/qwen --tokens`
    -- `spo prompt mbpp/11 --policy models/qwen --json`
    """
    from flows.display.terminal import echo
    from pipeline.store import connect
    from sandbox.languages import UnknownLanguage, require_language
    from trainer.policies import in_language, load_policy, read_problems

    with connect(open_store(store)) as connection:
        known = read_problems(connection, [problem])
    if problem not in known:
        raise typer.BadParameter(
            f"no problem {problem} in {store}; `spo sql` lists them", param_hint="PROBLEM"
        )
    loaded = load_policy(policy)
    try:
        asked = in_language(known[problem], require_language(language).name)
    except (UnknownLanguage, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--language") from error
    ids = loaded.prompt_ids(asked)
    special = set(loaded.tokenizer.all_special_ids)
    rows = [
        {"id": token, "text": loaded.tokenizer.decode([token]), "special": token in special} for token in ids
    ]
    text = loaded.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not as_json:
        if tokens:
            for row in rows:
                echo(f"{row['id']:>7} {'*' if row['special'] else ' '} {row['text']!r}")
        else:
            echo(text)
    result = {"problem": problem, "tokens": len(ids), "prompt": text, "pieces": rows}
    finish(result if as_json else {"problem": problem, "tokens": len(ids)}, as_json)
