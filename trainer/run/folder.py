"""The folder of a run: which names in it are the run's own, and what it says of others."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from trainer.policies import ASIDE, MANIFEST, damage, has_weights, is_real_folder
from trainer.run.config import SAVED
from trainer.run.exclusive import LOCK
from trainer.run.log import LOG, REJECTED, REPLAY
from trainer.run.row_log import ROWS, ROWS_BEFORE
from trainer.run.validation import BEST
from trainer.run.weights import WEIGHTS

FINAL = "final"  # the folder of the final policy
BEGUN_FROM = "reference.json"  # fingerprint of the reference that the run was begun with
SERVED = "served"  # copies of policies that servers read
OF_LOGGERS = {"tensorboard", "trackio", "wandb"}
OWN_NAMES = {LOG, REPLAY, REJECTED, ROWS, ROWS_BEFORE, WEIGHTS, SAVED, BEGUN_FROM, LOCK, FINAL, BEST, SERVED}
OWN_NAMES |= OF_LOGGERS
_NUMBER = "(0|[1-9][0-9]*)"
_OWN_FOLDERS = re.compile(rf"(checkpoint|policy)-{_NUMBER}")
_UNFINISHED = re.compile(rf"\.((checkpoint|policy)-{_NUMBER}|{FINAL}|{BEST})\.(partial|gone)")
logger = logging.getLogger(__name__)


def inspect_folder(folder: Path) -> None:
    """Delete what a killed process of this run left half written or half deleted, and name in one line of
    the log what does not belong to the run. That is left alone.
    """
    foreign = []
    for path in sorted(folder.iterdir()):
        if _UNFINISHED.fullmatch(path.name) and is_real_folder(path):
            shutil.rmtree(path)
        elif not _is_own(path):
            foreign.append(path.name)
    if foreign:
        named = ", ".join(map(repr, foreign[:8])) + (f" and {len(foreign) - 8} more" if foreign[8:] else "")
        logger.warning("%s: not of this run, passed over: %s", folder, named)


def has_final(folder: Path) -> bool:
    """Whether a run has written its final policy, all files in their full size."""
    return _damage_of_final(folder, content=False) is None


def has_whole_final(folder: Path) -> bool:
    """Whether the content of the final policy is what was written. A damaged one is named in the log."""
    wrong = _damage_of_final(folder, content=True)
    if wrong is not None and (folder / FINAL).exists():
        logger.warning("%s: damaged final policy: %s; the run writes it again", folder / FINAL, wrong)
    return wrong is None


def _damage_of_final(folder: Path, *, content: bool) -> str | None:
    final = folder / FINAL
    if not has_weights(final):
        return "config.json is missing"
    # Versions before the manifest wrote none.
    return damage(final, content=content) if (final / MANIFEST).exists() else None


def _is_own(path: Path) -> bool:
    if path.name in OWN_NAMES or path.name.startswith((ASIDE, f".{ASIDE}")):
        return not path.is_symlink()
    if _OWN_FOLDERS.fullmatch(path.name):
        return is_real_folder(path)
    # The partial file of `write_whole`, which the next write replaces.
    return path.name.removeprefix(".").removesuffix(".partial") in OWN_NAMES
