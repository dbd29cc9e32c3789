"""`spo push`: a policy with its model card, to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store
from flows.commands.completion import PolicyArgument

TOKEN = "HF_TOKEN"
CARD = "README.md"


def push(
    policy: PolicyArgument,
    target: Annotated[
        str, typer.Argument(help="A new folder; with --hub, the repository OWNER/NAME on the Hub.")
    ],
    hub: Annotated[
        bool, typer.Option("--hub", help=f"Upload to the Hugging Face Hub, with the token in {TOKEN}.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="With --hub: a new repository is public.")] = False,
    licence: Annotated[str, typer.Option(help="Licence of the weights, as the Hub names it.")] = "other",
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Write a policy's weights, tokenizer and prompt files with a model card: sources and corpus ids,
    settings, figures with intervals, versions and licences.

    Examples: `spo push mine models/mine` -- `HF_TOKEN=... spo push mine my-team/mine --hub`
    """
    from trainer.evaluation import model_card
    from trainer.policies import find_policy

    opened = open_store(store)
    published_policy = find_policy(opened, policy)
    if published_policy.folder is None:
        raise typer.BadParameter(f"policy {policy} has no weights here", param_hint="POLICY")
    card = model_card(opened, published_policy, licence)
    if hub:
        where = push_to_hub(published_policy.folder, card, target, private=not public)
    else:
        where = push_to_folder(published_policy.folder, card, Path(target))
    finish({"policy": published_policy.policy_id, "pushed": where}, as_json)


def push_to_folder(source: Path, card: str, target: Path) -> str:
    """Raises BadParameter if something is there already."""
    from pipeline.store import publish_folder

    if os.path.lexists(target):
        raise typer.BadParameter(f"{target} exists; name a new folder", param_hint="TARGET")
    publish_folder(target, lambda folder: write_files(source, card, folder))
    return str(target)


def write_files(source: Path, card: str, folder: Path) -> None:
    """All files of the policy but the run's list of them, and the card."""
    from trainer.policies import MANIFEST

    for path in sorted(source.iterdir()):
        if path.is_file() and not path.is_symlink() and path.name not in (MANIFEST, CARD):
            shutil.copyfile(path, folder / path.name)
    (folder / CARD).write_text(card)


def push_to_hub(source: Path, card: str, repository: str, *, private: bool) -> str:
    """Raises BadParameter without a token, or for a name that is not OWNER/NAME."""
    from huggingface_hub import HfApi

    token = os.environ.get(TOKEN)
    if not token:
        raise typer.BadParameter(
            f"the Hub needs a token that may write: set {TOKEN}, or leave --hub out and name a folder",
            param_hint="--hub",
        )
    if repository.count("/") != 1:
        raise typer.BadParameter(f"{repository!r} is not OWNER/NAME", param_hint="TARGET")
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        write_files(source, card, Path(folder))
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder))
