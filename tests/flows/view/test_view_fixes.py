"""Each reason of the quarantine has a sentence that says what would fix it."""

from __future__ import annotations

import json
import re

import pytest
from starlette.testclient import TestClient

from flows.view import application
from flows.view.fixes import OTHERWISE, fix_of
from pipeline.ingest import ingest
from pipeline.store import Store, connect, query
from pipeline.text import visible

PROBLEM = {
    "problem_id": "mine/double", "statement": "Print twice the number.", "split": "train",
    "tests": [{"input": "2\n", "expected_output": "4\n"}],
}  # fmt: skip
SOLUTION = {
    "problem_id": "mine/double", "origin": "human", "policy_id": "ann", "program": "print(2 * int(input()))",
}  # fmt: skip
# A fault, and a word of the sentence that its reason must have.
FAULTS = {
    json.dumps(SOLUTION | {"problem_id": "nobody/has-it"}): "Ingest the problem",
    json.dumps(SOLUTION | {"origin": "robot"}): "one of the values",
    json.dumps(SOLUTION | {"language": "pythn3"}): "the word that the reason suggests",
    json.dumps(SOLUTION | {"program": " "}): "Fill `program`",
    json.dumps(SOLUTION | {"program": 7}): "as the type",
    json.dumps(SOLUTION | {"program": "print(\0)"}): "broken characters",
    json.dumps(SOLUTION | {"policy_step": -5}): "outside of its bounds",
    json.dumps(PROBLEM | {"statement": "Print thrice the number."}): "an id of its own",
    json.dumps({"nothing": 1}): "name its keys with",
    '{"problem_id": "cut': "syntax of this line",
    "[1, 2]": "syntax of this line",
}
OTHER_REASONS = {
    "more than 4,194,304 bytes: big.jsonl; split it": "Split it, and ingest",
    "a circle of links: x; remove it": "Remove it, and ingest",
    "not UTF-8: invalid start byte at byte 7": "--encoding",
    "the problem that it solves was refused": "the same line first",
    "KeyError in adapter verl: after line 3 of a.jsonl: 'x'; the rest is not read: fix the adapter, and"
    " ingest the file again": "Correct the adapter",
    "its tests need pytest, which the sandbox does not have": "cannot be judged here",
    "3 inputs but 2 outputs": "Complete the tests",
    "the file is truncated": "download the file again",
    "": "Correct the row at the source",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory, visits):
    """Faults as (line, reason, field) after an ingestion, and a client of an explorer of their store."""
    folder = tmp_path_factory.mktemp("fixes")
    lines = [json.dumps(PROBLEM), *FAULTS]
    (folder / "rows.jsonl").write_text("".join(line + "\n" for line in lines))
    store = Store(str(folder / "store"))
    ingest(store, "plain", str(folder / "rows.jsonl"))
    with connect(store) as connection:
        rows = query(connection, "SELECT source_line, reason, field FROM quarantine").rows()
    app = application(str(folder / "store"), visits.TOKEN, runs_folder=folder, port=8181)
    with TestClient(app, base_url=visits.BASE) as client:
        client.get(f"/?token={visits.TOKEN}")
        yield {line: (reason, field) for line, reason, field in rows}, client


@pytest.mark.parametrize("line", range(2, 2 + len(FAULTS)))
def test_a_refused_row_has_a_sentence_of_its_own(refused, line):
    reason, field = refused[0][line]
    wanted = list(FAULTS.values())[line - 2]
    assert wanted in fix_of(reason, field), f"{field}: {reason}"
    assert fix_of(reason, field) != OTHERWISE.replace("{field}", f"`{field}`")


@pytest.mark.parametrize("reason", OTHER_REASONS)
def test_reasons_of_adapters_have_one(reason):
    assert OTHER_REASONS[reason] in fix_of(reason)


def test_the_page_says_it_beside_the_reason(refused, visits):
    reasons, client = refused
    shown = visits.page(client, "/quarantine")
    rows = [visits.text_of(part) for part in shown.split("<tr>")]
    for reason, field in reasons.values():
        row = next(one for one in rows if visible(reason) in one)
        assert fix_of(reason, field).replace("`", "") in row
    example = re.search(r'href="(/refused\?[^"]+)"', shown)[1].replace("&amp;", "&")
    assert "What would fix it:" in visits.page(client, example)


def test_a_hostile_name_of_a_field_stays_text(visits):
    from flows.view.formats import marked

    shown = str(marked(fix_of("is missing", f"`{visits.HOSTILE}`")))
    assert "<script" not in shown and "<img" not in shown and "\x1b" not in shown
