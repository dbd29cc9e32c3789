"""tinker-cookbook: its capture store (0.6.1, `tinker_cookbook/capture/store`), the file `capture.sqlite`.

`wire_rows` has a row per sampled sequence: run, iteration, group, trajectory, policy version, tokens,
log-probabilities, and metadata (`scope` has what the capturing code named). `annotations` are events. The
store has tokens and no texts, so a tokenizer is needed to read other people's files:

    spo ingest tinker_capture RUN/capture --map tokenizer=MODEL/tokenizer.json

Without it rows are read that have their texts in the metadata (`completion`, `prompt`), as those that
`spo corpus export --format tinker_capture` wrote: they have all columns of the store in `spo`, and are read
without a loss. The problem is `problem_id` (or another key of `rollouts.ID_KEYS`) of metadata or scope, else
the one whose statement the prompt contains. A reward is `reward` in metadata or scope, or in an annotation of
the same run with the same `traj_idx` (and `iteration`, `group_idx` where it has them).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceError, SourceFile, local_file, register
from pipeline.adapters.lines import JsonRow, parse_nested_json
from pipeline.adapters.own_part import own_columns
from pipeline.adapters.rollouts import problem_id_of, sample, score_claim
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.source_policy import SourceRefused, open_regular
from pipeline.adapters.tables import json_bytes

FILE = "capture.sqlite"
ROWS = "SELECT * FROM wire_rows ORDER BY cursor"
REWARDS = "SELECT run_id, payload FROM annotations WHERE payload LIKE '%reward%'"
IN_JSON = ("prompt_tokens", "sampled_tokens", "logprobs", "metadata")
SCOPE = ("iteration", "group_idx", "traj_idx")
Rewards = dict[tuple[str, int], list[dict[str, Any]]]
NO_TEXT = "the capture has tokens and no text; name its tokenizer: --map tokenizer=FOLDER/tokenizer.json"


class TinkerCapture(RowAdapter):
    """`tokenizer`: path of a tokenizer.json; without it only rows with texts are read."""

    name = "tinker_capture"
    suffixes = (".sqlite",)

    def __init__(self, tokenizer: str | None = None) -> None:
        self.tokenizer = tokenizer

    def mapped(self, mapping: Mapping[str, str]) -> TinkerCapture:
        if set(mapping) != {"tokenizer"} or not Path(mapping["tokenizer"]).is_file():
            raise SourceError("tinker_capture takes one fact: --map tokenizer=FOLDER/tokenizer.json")
        return TinkerCapture(mapping["tokenizer"])

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = super().files(source, limit)
        return [with_log(file, self.tokenizer) for file in files]

    def sample_key(self, row: JsonRow) -> SampleKey:
        name = problem_of(row.value) or str(row.value.get("prompt_tokens"))
        return SampleKey(row.line, name, "", "capture", str(row.value["cursor"]))

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        selected = file.select_lines() if file.select_lines else None
        decode = decoder(self.tokenizer)
        file.rows_in_file = 0
        try:
            with opened_copy(file) as database:
                rewards = rewards_of(database)
                for held in database.execute(ROWS):
                    file.rows_in_file += 1
                    if selected is None or file.rows_in_file in selected:
                        yield row_of(file.rows_in_file, dict(held), rewards, decode)
        except (sqlite3.Error, SourceRefused) as error:
            yield Refused(file.rows_in_file and file.rows_in_file + 1, b"", f"not a capture store: {error}")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        meta = value.get("metadata") or {}
        tokens, logprobs = value.get("sampled_tokens"), value.get("logprobs")
        if "spo" in meta:
            own = own_columns(meta["spo"], meta["prompt"], meta["completion"])
            own |= {"token_ids": tokens, "token_logprobs": logprobs}
            yield ReadTrajectory(row.line, row.raw, own, row.size)
            return
        completion = meta.get("completion", meta.get("text", value.get("completion")))
        if completion is None:
            yield Refused(row.line, row.raw, NO_TEXT, "sampled_tokens", row.size, is_own=True)
            return
        temperature = fact(meta, "temperature")
        logprobs = logprobs if temperature == 1 and tokens and len(logprobs or []) == len(tokens) else None
        yield sample(
            row,
            meta.get("prompt", value.get("prompt")),
            completion,
            problem_id=problem_of(value),
            origin="earlier_run",
            policy_id=str(value.get("policy_version") or value["run_id"]),
            run_id=value["run_id"],
            policy_step=value.get("iteration"),
            source_key=key_of(value),
            sample_index=value.get("sample_idx"),
            temperature=temperature,
            top_p=fact(meta, "top_p"),
            token_ids=tokens,
            behaviour_logprob=float(sum(logprobs)) if logprobs else None,
            token_logprobs=logprobs,
            **score_claim(value.get("reward", fact(meta, "reward")), "reward", "tinker capture"),
        )


register(TinkerCapture())


def with_log(file: SourceFile, tokenizer: str | None) -> SourceFile:
    """The file with its write-ahead log, which has rows that are not in the file yet."""
    options: dict[str, Any] = {}
    if tokenizer:
        # Its hash, not its path: refused rows have their texts, so a retry needs no tokenizer.
        options["tokenizer"] = local_file(Path(tokenizer), Path(tokenizer)).sha256
    log = Path(f"{file.path}-wal")
    if log.is_file() and log.stat().st_size:
        described = local_file(log, log)
        options |= {"log": described.sha256}
        return replace(file, options=file.options | options, companions=(str(log),))
    return replace(file, options=file.options | options)


@contextmanager
def opened_copy(file: SourceFile) -> Iterator[sqlite3.Connection]:
    """A connection to a private copy: opening a store with a log writes to it."""
    if file.fault:
        raise SourceRefused(file.fault)
    with tempfile.TemporaryDirectory() as folder:
        for path, ending in ((file.path, ""), *((path, "-wal") for path in file.companions)):
            with (
                open_regular(path, file.roots, file.name) as stored,
                open(f"{folder}/{FILE}{ending}", "wb") as copy,
            ):
                shutil.copyfileobj(stored, copy)
        with closing(sqlite3.connect(f"{folder}/{FILE}")) as database:
            database.row_factory = sqlite3.Row
            # Views and triggers of a hostile file call nothing.
            database.execute("PRAGMA trusted_schema = OFF")
            kinds = dict(database.execute("SELECT name, type FROM sqlite_master").fetchall())
            if kinds.get("wire_rows") != "table" or kinds.get("annotations") != "table":
                raise SourceRefused(f"{file.name} has no tables wire_rows and annotations")
            yield database


def rewards_of(database: sqlite3.Connection) -> Rewards:
    """The annotations that have a reward, by run and trajectory."""
    rewards: Rewards = defaultdict(list)
    for run, payload in database.execute(REWARDS):
        value = parse_nested_json(payload)
        if isinstance(value, dict) and "reward" in value and isinstance(value.get("traj_idx"), int):
            rewards[run, value["traj_idx"]].append(value)
    return rewards


def row_of(number: int, held: dict[str, Any], rewards: Rewards, decode: Any) -> JsonRow | Refused:
    try:
        value = held | {name: parse_nested_json(held[name]) for name in IN_JSON if held[name] is not None}
    except (ValueError, TypeError) as error:
        return Refused(number, repr(held).encode(errors="replace"), f"not JSON in a column: {error}")
    if decode is not None:
        value["completion"] = decode(value.get("sampled_tokens") or [])
        value["prompt"] = decode(value.get("prompt_tokens") or [])
    payloads = rewards.get((value["run_id"], value["traj_idx"]), [])
    reward = next((one["reward"] for one in payloads if is_about(one, value)), None)
    if reward is not None:
        value["reward"] = reward
    return JsonRow(number, partial(json_bytes, value), value, len(json.dumps(value)))


def is_about(payload: dict[str, Any], value: dict[str, Any]) -> bool:
    """Whether a reward's annotation names the place of a row."""
    return all(payload.get(key, value[key]) == value[key] for key in SCOPE)


def decoder(tokenizer: str | None) -> Any:
    """A function from token ids to text, special tokens included; None without a tokenizer."""
    if tokenizer is None:
        return None
    from tokenizers import Tokenizer

    held = Tokenizer.from_file(tokenizer)
    return lambda ids: held.decode(ids, skip_special_tokens=False)


def fact(meta: dict[str, Any], name: str) -> Any:
    """A fact of the metadata, its sampling parameters or its scope."""
    for held in (meta, meta.get("sampling_params"), meta.get("scope")):
        if isinstance(held, dict) and held.get(name) is not None:
            return held[name]
    return None


def problem_of(value: dict[str, Any]) -> str | None:
    meta = value.get("metadata") or {}
    scope = meta.get("scope")
    return problem_id_of(meta) or (problem_id_of(scope) if isinstance(scope, dict) else None)


def key_of(value: dict[str, Any]) -> str:
    """The key by which the store deduplicates a row; its place in the file for rows without one."""
    parts = [value.get("sampling_session_id"), value.get("seq_id"), value.get("sample_idx")]
    if None not in parts:
        return "/".join(map(str, parts))
    return f"{value['run_id']}#{value['cursor']}"
