"""Pages that follow a run or the newest versions, and the explorer beside `spo train --live`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from flows.view.runs import progress_of
from flows.view.versions import newest

ROOT = Path(__file__).parents[3]
CONFIG = """
run = "{folder}/live"
store = "{store}"
reference = "{reference}"
reference_policy = "reference"
[training]
steps = 120
gate_nats = 1.0
[mixture]
batch_sequences = 4
[[source]]
name = "all"
weight = 1.0
where = "j.split = 'train'"
"""


def test_the_state_of_a_run_changes_with_a_step_and_it_ends_with_the_policy(tmp_path, client, visits):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"step": 0}\n')
    before, finished = progress_of(tmp_path, ["one"])
    with open(folder / "metrics.jsonl", "a") as log:
        log.write('{"step": 1}\n')
    after, _ = progress_of(tmp_path, ["one"])
    assert (before != after, finished) == (True, False)
    (folder / "final").mkdir()
    (folder / "final" / "config.json").write_text("{}")
    assert progress_of(tmp_path, ["one"]) == (after, True)


def test_a_run_that_goes_on_is_followed_and_its_latest_steps_are_listed(client, visits):
    shown = visits.page(client, "/run?run=runs/one")
    state = re.search(r'data-follow="(/progress[^"]+)" data-state="([^"]+)"', shown)
    progress = client.get(state[1].replace("&amp;", "&")).json()
    assert progress == {"state": state[2], "finished": False}
    listed = shown.split("Latest steps</h2>")[1].split("</table>")[0]
    assert re.findall(r"step=(\d)&amp;", listed) == ["3", "2", "1", "0"]


def test_the_newest_versions_are_followed_only_without_versions_in_the_address(place, client, visits):
    followed = client.get("/table/judged?follow=1")
    assert "at=" not in str(followed.url)
    assert f'data-state="{newest(place.store)}"' in followed.text
    pinned = visits.page(client, f"/table/judged?follow=1&at={newest(place.store)}")
    assert "data-state" not in pinned.split("<main")[1].split(">")[0]
    assert client.get("/progress").json() == {"state": newest(place.store), "finished": False}


@pytest.mark.slow
def test_train_live_prints_a_link_to_a_page_that_ends_with_the_run(place, tmp_path):
    config = tmp_path / "run.toml"
    store, reference = place.folder / "store", place.folder / "reference"
    config.write_text(CONFIG.format(folder=tmp_path, store=store, reference=reference))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SPO_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-P", "-m", "flows", "train", str(config), "--live"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "live: http" in line:
                break
        else:
            pytest.fail("".join(lines))
        link = line.split("live: ")[1].strip()
        with httpx.Client(follow_redirects=True) as browser:
            page = browser.get(link)
        process.stderr.read()
        assert process.wait(120) == 0
    assert page.status_code == 200
    assert "Live: this page follows the run" in page.text and "<figcaption>Loss" in page.text
    assert parse_qs(urlsplit(link).query)["run"] == ["live"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(link)
    steps = [
        json.loads(one)["step"] for one in (tmp_path / "live" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(120))
