"""What the shell offers at Tab, asked as bash asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.corpora import Spec, publish
from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store
from sandbox import Pool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completed")
    test = {"input": "2\n", "expected_output": "4\n"}
    rows = [
        {"problem_id": f"mine/{name}", "statement": name, "split": "train", "tests": [test]}
        for name in ("double", "sum")
    ]
    human = {"problem_id": "mine/sum", "origin": "human", "policy_id": "human", "program": "print(4)"}
    rows.append(human | {"language": "python3"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Store(folder / "data" / "store")
    ingest(store, "plain", str(folder / "rows.jsonl"))
    with Pool(1) as pool:
        label(store, pool)
    publish(store, Spec(name="humans", query="select trajectory_id from judged", reward="binary"))
    return folder


def offered(place: Path, line: str) -> list[str]:
    """The first column of what is offered for the last word of a line."""
    words = line.split(" ")
    asked = {"_SPO_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environment = os.environ | asked | {"PYTHONPATH": str(ROOT), "SPO_DATA_DIR": str(place / "data")}
    code = "import sys; sys.argv[0] = 'spo'; from spo.command import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return [text.partition("\t")[0] for text in done.stdout.split()]


def test_names_of_the_store_are_offered(place):
    assert offered(place, "spo prompt mine/") == ["mine/double", "mine/sum"]
    assert offered(place, "spo judge x.py --problem mine/s") == ["mine/sum"]
    assert offered(place, "spo corpus show hu") == ["humans"]
    assert offered(place, "spo show mine/d") == ["mine/double"]


def test_adapters_are_offered_and_a_store_that_is_not_there_offers_nothing(place, tmp_path):
    assert offered(place, "spo ingest kod") == ["kodcode"]
    assert offered(tmp_path, "spo prompt mine/") == []
