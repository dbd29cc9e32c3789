"""Credit per token: log-probabilities of a completion under the policies that scored it, and differences."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.view.connections import row, rows

if TYPE_CHECKING:
    import duckdb

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 64_000_000
MAX_TOKENS = 8_192  # that a page shows
LEVELS = 8  # of the heat map, on each side of zero

BEHAVIOUR = "behaviour"  # the policy that sampled the trajectory
DEFAULT_BETA = 0.1  # of SPO
COLOURS = ("ratio", "policy", "reference", "gain")  # gain: Q_t - Q0

SCORES = """
SELECT s.reference, s.completion_ids, s.logprobs, s.logprob_sum, r.tokenizer, r.weights, r.folder
FROM reference_scores s
LEFT JOIN (
    SELECT reference, any_value(tokenizer) AS tokenizer, any_value(weights) AS weights,
        string_split(arg_min(folder, begun_at), '/')[-1] AS folder, min(begun_at) AS begun_at
    FROM reference_policies GROUP BY reference
) r USING (reference)
WHERE s.trajectory_id = $id ORDER BY r.begun_at, s.reference LIMIT 20
"""
# Samples at temperature 1 of the published policies with these weights.
SAMPLES = """
SELECT sum(trials)::INTEGER AS trials, sum(successes)::INTEGER AS successes FROM reference_counts
WHERE problem_id = $problem AND policy_id IN (
    SELECT policy_id FROM policies WHERE json_extract_string(details, '$.fingerprint.weights') = $weights
) HAVING sum(trials) > 0
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


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of a trajectory's completion under a policy, nats per token.

    `name` is that in an address: a fingerprint, BEHAVIOUR, or the folder that it was computed from.
    """

    name: str
    label: str
    ids: list[int]
    logprobs: list[float] | None
    tokenizer: str | None
    weights: str | None = None


@dataclass(frozen=True)
class Choice:
    """What the page asks for: names of two policies (empty: chosen here), what is coloured, and beta."""

    policy: str = ""
    reference: str = ""
    colour: str = ""
    beta: float = DEFAULT_BETA


def scored_policies(
    connection: duckdb.DuckDBPyConnection, trajectory: dict[str, Any], computed: Sequence[Scored] = ()
) -> list[Scored]:
    """Every policy under which the log-probabilities of a trajectory are known, references first."""
    stored = [
        Scored(
            one["reference"],
            f"{one['folder'] or 'reference'} ({one['reference']})",
            one["completion_ids"],
            one["logprobs"],
            one["tokenizer"],
            one["weights"],
        )
        for one in rows(connection, SCORES, {"id": trajectory["trajectory_id"]})
    ]
    sampled, behaviour = trajectory["token_ids"], trajectory["token_logprobs"]
    own = []
    if sampled and behaviour:
        tokenizer = next((one.tokenizer for one in stored if one.ids == sampled), None)
        label = f"{trajectory['policy_id']}, which sampled it"
        own = [Scored(BEHAVIOUR, label, sampled, behaviour, tokenizer)]
    return [*stored, *own, *computed]


def read_credit(
    connection: duckdb.DuckDBPyConnection,
    trajectory: dict[str, Any],
    tokenizers: Tokenizers,
    choice: Choice = Choice(),
    computed: Sequence[Scored] = (),
) -> dict[str, Any] | None:
    """The heat map of a trajectory: a policy beside a reference, token by token; None if no policy scored it.

    `tokens`: id, text (None without the tokenizer), `reference` and `policy` (nats, None where unknown),
    `ratio` (policy minus reference), `q` (Q_t of the method: Q0 + beta * the sum of the ratios until here)
    and `level` (-LEVELS to LEVELS, of what `coloured` names). Two policies are compared only where they
    scored the same tokens.
    """
    known = {one.name: one for one in scored_policies(connection, trajectory, computed)}
    if not known:
        return None
    others = [name for name in known if name != BEHAVIOUR]
    reference = known.get(choice.reference) or (known[others[0]] if others else None)
    fitting = [
        one
        for one in known.values()
        if one is not reference and (reference is None or one.ids == reference.ids)
    ]
    preferred = [one for one in fitting if one.name in (choice.policy, BEHAVIOUR)] or fitting
    policy = next((one for one in fitting if one.name == choice.policy), preferred[0] if preferred else None)
    q0, samples = soft_value(connection, trajectory["problem_id"], reference, choice.beta)
    shown = reference or policy
    assert shown is not None
    decode = next(
        (d for one in (reference, policy) if one and (d := tokenizers.decoder(one.tokenizer))), None
    )
    tokens, q = [], q0
    for i, token in enumerate(shown.ids[:MAX_TOKENS]):
        one = _token(
            token,
            decode(token) if decode else None,
            reference.logprobs[i] if reference and reference.logprobs else None,
            policy.logprobs[i] if policy and policy.logprobs else None,
        )
        q = q + choice.beta * one["ratio"] if one["ratio"] is not None else q
        tokens.append(one | {"q": q if one["ratio"] is not None else None, "gain": q - q0})
    return _with_levels(tokens, choice.colour, choice.beta) | {
        "choices": list(known.values()),
        "unlike": [one.label for one in known.values() if one is not reference and one not in fitting],
        "reference": reference,
        "policy": policy,
        "total": len(shown.ids),
        "beta": choice.beta,
        "q0": q0,
        "samples": samples,
        "has_texts": any(one["text"] is not None for one in tokens),
    }


def soft_value(
    connection: duckdb.DuckDBPyConnection, problem: str, reference: Scored | None, beta: float
) -> tuple[float, dict[str, Any] | None]:
    """Q0 of a problem under the reward `binary`, and the reference's samples that it is made from.

    The smoothed estimate of `trainer/objectives/soft_value.py` with its default of half a pseudo-sample at
    either end, for rewards -1 and 0.
    """
    samples = None
    if reference is not None and reference.weights:
        samples = row(connection, SAMPLES, {"problem": problem, "weights": reference.weights})
    trials, successes = (samples["trials"], samples["successes"]) if samples else (0, 0)
    failed = math.exp(-1 / beta)
    mean = (successes + 0.5 + (trials - successes + 0.5) * failed) / (trials + 1)
    return beta * math.log(mean), samples


def _token(token: int, text: str | None, reference: float | None, policy: float | None) -> dict[str, Any]:
    ratio = policy - reference if policy is not None and reference is not None else None
    return {"id": token, "text": text, "reference": reference, "policy": policy, "ratio": ratio}


def _with_levels(tokens: list[dict[str, Any]], colour: str, beta: float) -> dict[str, Any]:
    """The tokens with their colours: of what is asked for, or of the first of these that is known."""
    values = {
        name: [one[name] for one in tokens if one[name] is not None and math.isfinite(one[name])]
        for name in COLOURS
    }
    if all(one["ratio"] is None for one in tokens):
        values["gain"] = []
    coloured = colour if values.get(colour) else next((name for name in COLOURS if values[name]), "ratio")
    largest = max(map(abs, values[coloured]), default=0.0)
    # Rounding differs between the sampler and the scorer: below this, a ratio or its sum is not a difference.
    scale = max(largest, {"ratio": 1e-3, "gain": 1e-3 * beta}.get(coloured, 1e-9))
    for one in tokens:
        value = one[coloured]
        finite = value is not None and math.isfinite(value)
        one["level"] = round(LEVELS * value / scale) if finite else 0
    sums = {
        name: sum(one[name] for one in tokens)
        if tokens and all(one[name] is not None for one in tokens)
        else None
        for name in ("reference", "policy", "ratio")
    }
    return {"tokens": tokens, "coloured": coloured, "largest": largest, "sums": sums}


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
