"""Names of runs and policies from the path of a file: the nearest part that tells something.

`runs/a/rollouts/step_3/traces.jsonl` belongs to the run `a`: folders that only say what kind of file is in
them are passed over.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

GENERIC = frozenset(
    """
    rollout rollouts rollout_data rollout_data_dir validation validation_data val valid train training eval
    evals evaluation evaluations test sample samples completion completions output outputs result results
    response responses generation generations prediction predictions dump dumps data dataset log logs trace
    traces stream monitor monitors file files all effective checkpoint checkpoints ckpt ckpts artifacts
    annotations buffer humaneval mbpp livecodebench
    """.split()  # noqa: SIM905
)
NUMBERED = re.compile(
    r"(?:global_)?(?:step|epoch|iter|iteration|part|shard|rank|worker)?[-_]?\d+|v\d+", re.IGNORECASE
)
MOST_PARTS = 4


def is_telling(part: str) -> bool:
    """Whether a folder's name tells more than what kind of file is in it."""
    return bool(part.strip("./~")) and part.lower() not in GENERIC and not NUMBERED.fullmatch(part)


def source_name(folder: Path) -> str:
    """The name of a source folder: its last parts, from the nearest one that is telling."""
    parts = folder.resolve().parts[1:]
    for count in range(1, min(MOST_PARTS, len(parts)) + 1):
        if is_telling(parts[-count]):
            return "/".join(parts[-count:])
    return "/".join(parts[-1:])


def telling_name(file_name: str) -> tuple[str, int]:
    """(nearest telling folder above a file, or the first folder, how many folders it is above the file)."""
    folders = PurePosixPath(file_name).parts[:-1]
    for count, part in enumerate(reversed(folders)):
        if is_telling(part):
            return part, count
    return (folders[0], len(folders) - 1) if folders else (file_name.partition(".")[0], 0)


def named_folder(path: str, above: int) -> str:
    """The absolute path of the folder that gave a name; "" if the path is not known."""
    if not path:
        return ""
    if "://" in path:
        return "/".join(path.split("/")[: -1 - above] or [path])
    parents = Path(path).resolve().parents
    return str(parents[min(above, len(parents) - 1)])
