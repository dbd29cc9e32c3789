"""The documentation builds offline without a warning; no link is broken, and nothing lacks a description."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPHINX = all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not SPHINX:
        pytest.skip("needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-P", str(ROOT / "docs" / "check.py"), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    return folder, done


def test_the_pages_build_and_every_link_leads_somewhere(site):
    _, done = site
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["warnings"], figures["broken_links"], figures["docs_undocumented"]) == (0, 0, 0)
    assert figures["pages"] > 20


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("settings", "failure_weight_cap"),
        ("schedule", "heavy_at_once"),
        ("tables", "behaviour_logprob"),
        ("views", "claimed_agreement"),
        ("questions", "wrong_claims"),
        ("commands", "spo quarantine retry"),
        ("api", "trainer.data.Stream"),
        ("adapters", "tinker_capture"),
    ],
)
def test_the_reference_has_what_the_code_has(site, page, words):
    html = (site[0] / "_reference" / f"{page}.html").read_text()
    assert words in re.sub(r"<[^>]+>", "", html)


def test_each_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.match(r"[\w.-]+", line)[0] for line in lines}
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    assert len(names) > 40
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_the_pictures_are_small_shown_and_load_nothing():
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    assert [path.name for path in pictures] == [
        "explorer-run.webp",
        "explorer-trajectory.webp",
        "report.webp",
        "terminal.svg",
    ]
    assert sum(path.stat().st_size for path in pictures) < 300_000
    look = (ROOT / "docs" / "tutorial" / "look.md").read_text()
    assert [path.name for path in pictures if f"(../pictures/{path.name})" not in look] == []
    drawn = (ROOT / "docs" / "pictures" / "terminal.svg").read_text()
    assert "spo&#160;sql" in drawn and "@font-face" not in drawn
    assert set(re.findall(r"https?://[^\s\"'<>]+", drawn)) == {"http://www.w3.org/2000/svg"}


def check_module():
    spec = importlib.util.spec_from_file_location("check", ROOT / "docs" / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_broken_link_and_a_missing_anchor_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x">x</a><a href="b.html#y">y</a><img src="none.png">')
    (tmp_path / "b.html").write_text(
        '<h1 id="x">x</h1><a href="a.html">a</a><a href="https://example.org">e</a>'
    )
    assert check_module().broken_links(tmp_path) == ["a.html: b.html#y", "a.html: none.png"]


def test_the_pages_load_nothing_from_elsewhere(site):
    module = check_module()
    outside = [
        f"{path.name}: {link}"
        for path in site[0].rglob("*.html")
        for link in module.Page(path).loaded
        if link.startswith(("http:", "https:", "//"))
    ]
    assert outside == []
