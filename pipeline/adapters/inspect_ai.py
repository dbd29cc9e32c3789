"""inspect_ai: logs of evaluations, `.eval` (its default) and `.json` (schema version 2 of inspect_ai 0.3).

A JSON log is one document {version, eval: {model, ...}, samples: [{id, epoch, input, output: {choices},
scores}]}. An `.eval` log is an archive of `header.json` (`_journal/start.json` while the evaluation runs) and
one `samples/<id>_epoch_<n>.json` per sample. Every sample is a trajectory. `scores` of a scorer is C
(correct), I (incorrect), P (partial), N (no answer) or a number; the claim is based on the first scorer.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceFile, register, source_policy
from pipeline.adapters.documents import whole_document
from pipeline.adapters.lines import JsonRow, end_with_refusal, open_stored, parse
from pipeline.adapters.rollouts import finish_reason, path_name, problem_id_of, sample, score_claim
from pipeline.adapters.rows import DOCUMENTS, RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.source_policy import allowed_bytes, refused, stored_size, too_large
from pipeline.adapters.tables import json_bytes
from pipeline.adapters.zip_members import BROKEN, MemberTooLargeError, member_bytes

ARCHIVE = ".eval"
HEADERS = ("header.json", "_journal/start.json")
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


class InspectAi(RowAdapter):
    name = "inspect_ai"
    suffixes = (*DOCUMENTS, ARCHIVE)

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return archive_rows(file) if file.path.endswith(ARCHIVE) else whole_document(file)

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, str(row.value["eval"].get("task")), "", "inspect", str(row.line))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        settings = row.value["eval"]
        run = settings.get("task_id") or settings.get("run_id") or path_name(file)
        for one in row.value["samples"]:
            # The part of the log that a retry of a refused sample needs.
            raw = partial(json_bytes, {"eval": settings, "samples": [one]})
            part = JsonRow(row.line, raw, one, row.size // max(1, len(row.value["samples"])))
            output = one.get("output") or {}
            choice = (output.get("choices") or [{}])[0]
            yield sample(
                part,
                one["input"],
                [choice["message"]] if choice.get("message") else None,
                problem_id=problem_id_of(one),
                origin="other_policy",
                policy_id=settings.get("model") or path_name(file),
                source_key=f"{run}#{one['id']}#{one.get('epoch', 1)}",
                sample_index=one.get("epoch", 1) - 1,
                temperature=(settings.get("model_generate_config") or {}).get("temperature"),
                finish_reason=finish_reason(choice.get("stop_reason")),
                **claims_of(one.get("scores") or {}, file),
            )


register(InspectAi())


@end_with_refusal
def archive_rows(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """Every selected sample of an `.eval` log, as the document {eval, samples: [sample]}."""
    lines = file.select_lines() if file.select_lines else None
    with open_stored(file) as stream:
        stored_bytes = stored_size(stream, file.size_bytes)
        left = allowed_bytes(stored_bytes)
        members = members_of(stream, file.name)
        header = parse(1, header_of(members, stream, file.name))
        settings = header.value.get("eval") if isinstance(header, JsonRow) else None
        if not isinstance(settings, dict):
            raise refused("a log whose header has no settings", file.name, "log it again")
        samples = sorted(name for name in members if name.startswith("samples/") and name.endswith(".json"))
        file.rows_in_file = len(samples)
        for number, name in enumerate(samples, start=1):
            if lines is not None and number not in lines:
                continue
            row = sample_row(number, members[name], stream)
            left -= row.size
            if left < 0:
                raise too_large(file.name, stored_bytes)
            if isinstance(row, JsonRow):
                value = {"eval": settings, "samples": [row.value]}
                row = JsonRow(number, partial(json_bytes, value), value, row.size)
            yield row


def members_of(stream: Any, name: str) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name; of two with one name the last counts. Raises SourceRefused."""
    try:
        with zipfile.ZipFile(stream) as archive:
            return {member.filename: member for member in archive.infolist()}
    except BROKEN as error:
        raise refused(f"an archive that cannot be read ({error!s:.100})", name, "log it again") from error


def header_of(members: dict[str, zipfile.ZipInfo], stream: Any, name: str) -> bytes:
    for held in HEADERS:
        if held in members:
            try:
                return member_bytes(stream, members[held], source_policy.MAX_ROW_BYTES)
            except BROKEN as error:
                raise refused(f"a broken {held} ({error!s:.100})", name, "log it again") from error
    raise refused("an archive without header.json", name, "it is not a log of inspect_ai")


def sample_row(number: int, member: zipfile.ZipInfo, stream: Any) -> JsonRow | Refused:
    try:
        return parse(number, member_bytes(stream, member, source_policy.MAX_ROW_BYTES))
    except MemberTooLargeError as error:
        return Refused(number, b"", f"a sample of {error}", size=source_policy.MAX_ROW_BYTES)
    except BROKEN as error:
        return Refused(number, b"", f"a sample that cannot be read: {error!s:.100}")


def claims_of(scores: dict[str, Any], file: SourceFile) -> dict[str, Any]:
    """The claim of the first scorer; the others are noted."""
    for scorer in list(scores)[1:]:
        file.notes[f"not used: the score of {scorer}"] += 1
    for scorer, score in scores.items():
        value = score.get("value")
        return score_claim(
            LETTERS.get(value, value) if isinstance(value, str) else value, scorer, "inspect_ai"
        )
    return {}
