"""Problem packages in archives: read as the same packages in folders are."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile

import pytest

from pipeline.adapters import ReadProblem, ReadTrajectory, Refused, SourceError, find
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store

FILES = {
    "problem.yaml": "name: Twice\n",
    "problem_statement/problem.en.md": "Print it twice.",
    "data/secret/1.in": "4\n",
    "data/secret/1.ans": "8\n",
    "submissions/accepted/a.py": "print(2 * int(input()))",
}


def zip_folder(folder, target, inside=""):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{inside}{path.relative_to(folder)}")
    return target


@pytest.fixture
def package(tmp_path):
    root = tmp_path / "folders" / "twice"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def items_of(source, limit=None):
    adapter = find("kattis")
    return [item for file in adapter.files(str(source), limit) for item in adapter.read(file)]


@pytest.mark.parametrize("name", ["twice.zip", "twice.kpp"])
@pytest.mark.parametrize("inside", ["", "twice/", "some/folder/"])
def test_an_archive_is_read_as_its_folder(package, tmp_path, name, inside):
    contest = tmp_path / "contest"
    shutil.copytree(package, contest / "twice")
    wanted = [item.row for item in items_of(contest)]
    shutil.rmtree(contest / "twice")
    zip_folder(package, contest / name, inside)
    assert (
        [item.row for item in items_of(contest)] == wanted == [item.row for item in items_of(contest / name)]
    )


def test_several_packages_in_one_archive(package, tmp_path):
    (tmp_path / "contest").mkdir()
    archive = zip_folder(package, tmp_path / "contest" / "both.zip", "a/")
    with zipfile.ZipFile(archive, "a") as more:
        for name, text in FILES.items():
            more.writestr(f"b/{name}", text)
    actual = [item.row["problem_id"] for item in items_of(archive) if isinstance(item, ReadProblem)]
    assert actual == ["contest/both/a", "contest/both/b"]
    limited = [item.row["problem_id"] for item in items_of(archive, limit=1) if isinstance(item, ReadProblem)]
    assert len(limited) == 1 and limited[0] in actual


@pytest.mark.skipif(not shutil.which("zip"), reason="Info-ZIP's zip is not here")
def test_links_that_zip_stores_lead_inside_the_package(package, tmp_path):
    os.symlink("1.in", package / "data" / "secret" / "2.in")
    os.symlink("../../data/secret/1.ans", package / "data" / "secret" / "2.ans")
    (tmp_path / "contest").mkdir()
    subprocess.run(["zip", "-qry", tmp_path / "contest" / "twice.zip", "."], cwd=package, check=True)
    problem, submission = items_of(tmp_path / "contest")
    assert [(t["input"], t["expected_output"]) for t in problem.tests] == [("4\n", "8\n")] * 2
    assert isinstance(submission, ReadTrajectory)


def test_a_refused_package_keeps_its_listing(package, tmp_path):
    (package / "problem.yaml").write_text("validation: quiz\n")
    (tmp_path / "contest").mkdir()
    zip_folder(package, tmp_path / "contest" / "twice.zip")
    store = Store(tmp_path / "store")
    (batch,) = ingest(store, "kattis", str(tmp_path / "contest"))
    assert (batch.source_file, batch.accepted, batch.quarantined) == ("contest/twice", 0, 2)
    rows = store.read("quarantine").filter(store.read("quarantine")["source_line"] == 1)
    assert b"validation: quiz" in rows["raw"][0] and b"data/secret/1.ans" in rows["raw"][0]


def test_an_encrypted_archive_is_refused(package, tmp_path):
    archive = zip_folder(package, tmp_path / "twice.zip")
    content = bytearray(archive.read_bytes())
    for marker, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(marker)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(marker, at + 4)
    archive.write_bytes(content)
    (item,) = items_of(archive)
    assert isinstance(item, Refused) and item.reason.startswith("an encrypted archive: ")


def test_other_archives_are_named(tmp_path):
    (tmp_path / "p.tar").write_bytes(b"")
    with pytest.raises(SourceError, match="is an archive: extract it"):
        items_of(tmp_path / "p.tar")
