"""Checkpoints of a table's log on a disk: a power cut leaves a checkpoint whole or absent, and its hash is
kept beside the log.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from deltalake import DeltaTable

from pipeline.store.data_files import content_hash
from pipeline.store.files import flush_file, flush_folder, write_whole
from pipeline.store.log_files import (
    CHECKPOINT,
    HINT,
    LOG_FOLDER,
    checkpoint_hash_name,
    checkpoint_name,
    entry_name,
    hint_version,
    versions_of,
)
from pipeline.store.places import PARTIAL, hold


def write_checkpoint(log: Path, own: Path, version: int) -> None:
    """Make a checkpoint of a version, unless it has one. `log` is the log's folder, `own` the one beside it.

    delta-rs writes checkpoints under their names at once; so it writes this one in a folder that has links to
    the entries which it needs, and it is flushed there and given its name.
    """
    name = checkpoint_name(version)
    if (log / name).exists():
        return
    with working_folder(own) as folder:
        for needed in needed_names(log, version):
            os.link(log / needed, folder / LOG_FOLDER / needed)
        DeltaTable(str(folder)).create_checkpoint()
        checkpoint = folder / LOG_FOLDER / name
        hint = (folder / LOG_FOLDER / HINT).read_text()
        flush_file(checkpoint)
        # Before the checkpoint itself, so that there is none without its hash.
        hash_file = own / checkpoint_hash_name(version, content_hash(checkpoint))
        write_whole(hash_file, hint)
        try:
            os.link(checkpoint, log / name)
        except FileExistsError:
            hash_file.unlink()
            return
    flush_folder(log)
    if hint_version(log) < version:
        write_whole(log / HINT, hint)


def needed_names(log: Path, version: int) -> list[str]:
    """The newest checkpoint before a version, and the entries from it to that version."""
    start = max(
        (checkpoint for checkpoint in versions_of(log, CHECKPOINT) if checkpoint < version), default=-1
    )
    names = [entry_name(number) for number in range(max(start, 0), version + 1)]
    return names if start < 0 else [checkpoint_name(start), *names]


@contextlib.contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    folder, descriptor = new_folder(parent)
    try:
        (folder / LOG_FOLDER).mkdir()
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(parent: Path) -> tuple[Path, int]:
    """A partial folder, and the descriptor that holds it."""
    while True:
        folder = parent / f"{uuid.uuid4().hex}{PARTIAL}"
        folder.mkdir(parents=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # a sweep came first
            continue
        if hold(descriptor, folder):
            return folder, descriptor
        os.close(descriptor)
