"""Credit per token: log-probabilities of a completion under the policies that scored it, and differences."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.view.connections import rows

if TYPE_CHECKING:
    import duckdb

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 64_000_000
MAX_TOKENS = 8_192  # that a page shows
LEVELS = 8  # of the heat map, on each side of zero

SCORES = """
SELECT s.reference, s.completion_ids, s.logprobs, s.logprob_sum,
    (SELECT any_value(tokenizer) FROM reference_policies r WHERE r.reference = s.reference) AS tokenizer
FROM reference_scores s WHERE s.trajectory_id = $id ORDER BY s.scored_at, s.reference LIMIT 8
"""


class Tokenizers:
    """Texts of tokens, from `tokenizer.json` files below a folder of the user.

    A row of the store names a tokenizer by its hash only. Files are found by looking through the folder,
    links are not followed, and reading one runs no code of its policy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_file: dict[tuple[str, int, int], tuple[str, Callable[[int], str]]] = {}

    def decoder(self, name: str | None) -> Callable[[int], str] | None:
        """The text of a token under the tokenizer of this hash; None if the folder does not have it."""
        if not name:
            return None
        for path in _files_named(self.folder, TOKENIZER):
            read = self._read(path)
            if read and read[0] == name:
                return read[1]
        return None

    def _read(self, path: Path) -> tuple[str, Callable[[int], str]] | None:
        from tokenizers import Tokenizer

        status = path.lstat()
        key = (str(path), status.st_mtime_ns, status.st_size)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TOKENIZER_BYTES:
            return None
        if key not in self._by_file:
            try:
                tokenizer = Tokenizer.from_file(str(path))
            # The library raises plain Exception for a file that is not a tokenizer.
            except Exception:
                return None
            self._by_file[key] = (tokenizer_hash(tokenizer), _decoder(tokenizer))
        return self._by_file[key]


def tokenizer_hash(tokenizer: Any) -> str:
    """The hash under which `reference_policies.tokenizer` has it. `trainer/policies/fingerprints.py`, which
    needs torch, computes the same.
    """
    state = json.loads(tokenizer.to_str())
    state = {name: value for name, value in state.items() if name not in ("padding", "truncation")}
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


def read_credit(
    connection: duckdb.DuckDBPyConnection, trajectory: dict[str, Any], tokenizers: Tokenizers
) -> list[dict[str, Any]]:
    """One heat map per reference policy that scored a trajectory.

    `tokens`: id, text (None without the tokenizer), `reference` and `behaviour` (nats, None where unknown),
    `ratio` (behaviour minus reference) and `level` (-LEVELS to LEVELS, of what `coloured` names). The two are
    compared only where the scored tokens are the sampled ones.
    """
    sampled, behaviour = trajectory["token_ids"], trajectory["token_logprobs"]
    scores = rows(connection, SCORES, {"id": trajectory["trajectory_id"]})
    if not scores and sampled and behaviour:
        scores = [{"reference": None, "completion_ids": sampled, "logprobs": None, "tokenizer": None}]
    maps = []
    for score in scores:
        ids, reference = score["completion_ids"], score["logprobs"]
        same = bool(behaviour) and sampled == ids
        decode = tokenizers.decoder(score["tokenizer"])
        tokens = [
            _token(
                token,
                decode(token) if decode else None,
                reference[i] if reference else None,
                behaviour[i] if same else None,
            )
            for i, token in enumerate(ids[:MAX_TOKENS])
        ]
        maps.append(_with_levels(score, tokens, len(ids)))
    return maps


def _token(token: int, text: str | None, reference: float | None, behaviour: float | None) -> dict[str, Any]:
    known = reference is not None and behaviour is not None
    ratio = behaviour - reference if known else None  # type: ignore[operator]
    return {"id": token, "text": text, "reference": reference, "behaviour": behaviour, "ratio": ratio}


def _with_levels(score: dict[str, Any], tokens: list[dict[str, Any]], total: int) -> dict[str, Any]:
    """The heat map of a score: colours are the ratio where it is known, else the log-probability."""
    coloured = "ratio" if any(one["ratio"] is not None for one in tokens) else "reference"
    if all(one[coloured] is None for one in tokens):
        coloured = "behaviour"
    values = [one[coloured] for one in tokens if one[coloured] is not None and math.isfinite(one[coloured])]
    largest = max(map(abs, values), default=0.0)
    # Rounding differs between the sampler and the scorer: below this, a ratio is not a difference.
    scale = max(largest, 1e-3 if coloured == "ratio" else 1e-9)
    for one in tokens:
        value = one[coloured]
        finite = value is not None and math.isfinite(value)
        one["level"] = round(LEVELS * value / scale) if finite else 0
    sums = {
        name: sum(one[name] for one in tokens)
        if tokens and all(one[name] is not None for one in tokens)
        else None
        for name in ("reference", "behaviour", "ratio")
    }
    return {
        "reference": score["reference"],
        "tokens": tokens,
        "total": total,
        "coloured": coloured,
        "largest": largest,
        "sums": sums,
        "has_texts": any(one["text"] is not None for one in tokens),
    }


def _decoder(tokenizer: Any) -> Callable[[int], str]:
    def decode(token: int) -> str:
        return tokenizer.decode([token], skip_special_tokens=False)

    return decode


def _files_named(folder: Path, name: str, depth: int = 5) -> list[Path]:
    policy_folders = []
    for place, folders, files in os.walk(folder, followlinks=False):
        if len(Path(place).relative_to(folder).parts) >= depth:
            folders.clear()
        folders.sort()
        if name in files:
            policy_folders.append(Path(place) / name)
    return policy_folders[:500]
