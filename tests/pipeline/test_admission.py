"""Decisions about items one by one: several items of one line, a batch that is decided again, prompts that
name no problem.
"""

import pytest

from pipeline.adapters import ReadProblem, ReadTrajectory, Refused, SourceFile
from pipeline.ingest.admission import Admission
from pipeline.store import Store, content_id

FILE = SourceFile("/nowhere/rows.jsonl", "set/rows.jsonl", "0" * 64, 10)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def problem(line, name="mine/sum", statement="Add two numbers."):
    test = {"test_id": "1", "kind": "public", "mode": "stdin", "input": "1\n", "expected_output": "1\n"}
    row = {"problem_id": name, "source": "mine", "title": "", "statement": statement, "input_mode": "stdin"}
    rules = {"checker": "tokens", "case_sensitive": True, "split": "train", "tags": []}
    return ReadProblem(line, b"{}", row | rules, [test])


def program(line, text, name="mine/sum", prompt=None, **keys):
    who = {"origin": "human", "policy_id": "human", "language": "python3", "extraction": "given"}
    return ReadTrajectory(
        line,
        b"{}",
        {"problem_id": name, "program": text, "source_key": text} | who,
        prompt_text=prompt,
        **keys,
    )


def decide(store, items, batch="b"):
    admission = Admission(store, batch, "plain", FILE)
    return admission, admission.decide(items)


def write(store, chunk, batch="b"):
    for name, rows in chunk.tables():
        if len(rows):
            store.append_next(name, rows, producer=f"ingest/{batch}")


def items():
    """By line: a problem and two programs; a refused row, a program of no problem and another; a last one."""
    return [
        problem(1),
        program(1, "print(1)"),
        program(1, "print(2)"),
        Refused(2, b"?", "no program"),
        program(2, "print(3)", name="mine/other"),
        program(2, "print(4)"),
        program(3, "print(5)"),
    ]


def test_refused_items_of_one_line_have_ids_of_their_own(store):
    _, chunk = decide(store, items())
    assert chunk.quarantine["quarantine_id"].to_list() == [content_id("b", 2, 0), content_id("b", 2, 1)]
    assert chunk.newly_refused == [3, 4]


def test_the_first_item_of_a_line_has_index_zero(store):
    _, chunk = decide(store, [Refused(1, b"?", "no"), Refused(1, b"?", "no"), Refused(1, b"?", "no")])
    assert chunk.quarantine["quarantine_id"].to_list() == [content_id("b", 1, index) for index in range(3)]


def test_a_batch_decided_again_adds_nothing_and_counts_the_same(store):
    first, chunk = decide(store, items())
    write(store, chunk)
    again, chunk = decide(store, items())
    assert again.counts == first.counts
    assert (first.counts.accepted, first.counts.present, first.counts.quarantined) == (5, 0, 2)
    assert [len(rows) for _, rows in chunk.tables()] == [0, 0, 0, 0]
    assert set(chunk.faults) == {3, 4} and chunk.newly_refused == []


def test_a_batch_killed_after_its_quarantine_accepts_the_rest(store):
    _, chunk = decide(store, items())
    store.append_next("quarantine", chunk.quarantine, producer="ingest/b")
    _, chunk = decide(store, items())
    assert [len(rows) for _, rows in chunk.tables()] == [0, 1, 1, 4]


def test_a_row_that_a_batch_refused_stays_refused_when_its_problem_has_come(store):
    _, chunk = decide(store, items())
    write(store, chunk)
    other, chunk = decide(store, [problem(1, "mine/other", "Subtract.")], batch="another")
    assert other.counts.accepted == 1
    write(store, chunk, "another")
    again, _ = decide(store, items())
    assert (again.counts.accepted, again.counts.quarantined) == (5, 2)


def test_another_batch_with_other_content_is_refused_and_with_the_same_is_present(store):
    for name, statement in (("mine/sum", "Add two numbers."), ("mine/other", "Subtract two numbers.")):
        write(store, decide(store, [problem(1, name, statement)], batch=name)[1], name)
    admission, chunk = decide(store, [problem(1), problem(2, "mine/other", "Add two numbers.")])
    assert (admission.counts.present, admission.counts.quarantined) == (1, 1)
    assert chunk.quarantine["field"].to_list() == ["problem_id"]


STATEMENT = "Read two whole numbers from the first line and print their sum on a line of its own, please."


@pytest.mark.parametrize(
    "named, prompt, expected",
    [
        (None, f"Solve this. {STATEMENT} Thank you.", "mine/sum"),
        ("gone", f"Solve this. {STATEMENT} Thank you.", "mine/sum"),
        ("mine/kept", f"Solve this. {STATEMENT} Thank you.", "mine/kept"),
        ("gone", "Nothing that anybody asked before.", "gone"),
        (None, "Nothing that anybody asked before.", "unknown"),
    ],
)
def test_the_problem_of_a_prompt(store, named, prompt, expected):
    write(
        store, decide(store, [problem(1, statement=STATEMENT), problem(2, "mine/kept", "Keep.")], "a")[1], "a"
    )
    item = program(1, "print(1)", name=named, prompt=prompt)
    _, chunk = decide(store, [item])
    assert item.row["problem_id"] == expected
    assert len(chunk.trajectories) == (expected in ("mine/sum", "mine/kept"))
    reason = "the row names no problem of the store, and its prompt contains no statement of the store"
    assert [reason_ for _, reason_ in chunk.faults.values()] == [reason] * (expected in ("gone", "unknown"))


@pytest.mark.parametrize(
    ("named", "other_ids", "expected"),
    [
        ("gone", ("set/none", "mine/kept", "mine/sum"), "mine/kept"),
        ("mine/sum", ("mine/kept",), "mine/sum"),
        ("gone", ("set/one", "set/two", "set/three"), "gone"),
        (None, ("set/one", "set/two", "set/three"), "set/one"),
    ],
)
def test_the_problem_of_a_row_with_other_ids_is_the_first_that_is_stored(store, named, other_ids, expected):
    write(store, decide(store, [problem(1), problem(2, "mine/kept", "Keep.")], "a")[1], "a")
    item = program(1, "print(1)", name=named, other_ids=other_ids)
    decide(store, [item])
    assert item.row["problem_id"] == expected


def test_tests_alone_take_the_statement_of_the_first_stored_problem(store):
    stored = problem(1)
    stored.row |= {"title": "The sum", "split": "valid", "tags": ["easy"]}
    write(store, decide(store, [stored, problem(2, "mine/kept", "Keep.")], "a")[1], "a")
    more_tests, alone = problem(1, "more/sum"), problem(2, "more/none", "Its own.")
    for name in ("statement", "split", "tags"):
        del more_tests.row[name]
    more_tests.row["title"] = "A title of its own"
    more_tests.statement_of, alone.statement_of = ("none", "mine/sum", "mine/kept"), ("none",)
    _, chunk = decide(store, [more_tests, alone])
    columns = ("problem_id", "statement", "title", "split", "source")
    assert chunk.problems.select(columns).rows() == [
        ("more/sum", "Add two numbers.", "A title of its own", "valid", "mine"),
        ("more/none", "Its own.", "", "train", "mine"),
    ]
    assert chunk.problems["tags"].to_list() == [["easy"], []]


def test_a_continuation_is_joined_to_the_starter_code_of_its_problem(store):
    stub = "def add(a, b):\n    "
    for name, starter_code in (("mine/stub", stub), ("mine/none", None)):
        stored = problem(1, name, "def two():\n    ")
        stored.row["starter_code"] = starter_code
        write(store, decide(store, [stored], name)[1], name)
    rows = [
        program(1, None, "mine/stub", continues=True),
        program(2, None, "mine/none", continues=True),
        program(3, None, "mine/stub", continues=True),
        program(4, None, "mine/stub"),
        program(5, None, "mine/gone", continues=True),
    ]
    for row, text in zip(rows, ("return a + b", "return 2", None, "return a + b", "x"), strict=True):
        row.row |= {"completion": text, "extraction": "none"}
    decide(store, rows)
    assert [row.row["program"] for row in rows] == [
        "def add(a, b):\n    return a + b",
        "def two():\n    return 2",
        None,
        None,
        None,
    ]
    assert rows[0].row["extraction"] != "none" and rows[2].row["extraction"] == "none"
