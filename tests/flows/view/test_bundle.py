"""Pages of the explorer in a folder: links between them hold, nothing is loaded, hostile rows stay text."""

import re

import pytest

from flows.view import BundleError, write_bundle
from flows.view.bundle import address_of

HREF = re.compile(r'href="([^"]*)"')


@pytest.fixture(scope="module")
def folder(place, tmp_path_factory):
    target = tmp_path_factory.mktemp("bundle") / "pages"
    queries = [
        place.trajectories[0]["trajectory_id"],
        "select verdict, '<b>' as odd from judged",
        "/table/problems",
    ]
    write_bundle(str(place.store.location), target, queries, runs_folder=place.folder, at=None, depth=1)
    return target


def test_links_lead_to_pages_of_the_folder(folder):
    pages = {path.name: path.read_text() for path in folder.iterdir()}
    links = [(name, link) for name, text in pages.items() for link in HREF.findall(text)]
    assert len(links) > 20
    assert [(name, link) for name, link in links if link not in pages and not link.startswith("#")] == []


def test_pages_have_no_script_no_form_and_load_nothing(folder):
    for path in folder.iterdir():
        text = path.read_text()
        assert "<script" not in text and "<form" not in text and "<link" not in text, path.name
        assert not re.search(r'\ssrc="(?!data:)', text), path.name
        assert "default-src 'none'" in text


def test_sql_is_shown_with_its_answer(folder):
    (page,) = (
        path.read_text() for path in folder.glob("page-*") if "as odd from judged</pre>" in path.read_text()
    )
    assert "&#39;&lt;b&gt;&#39; as odd" in page or "&#x27;&lt;b&gt;&#x27; as odd" in page
    assert "&lt;b&gt;</td>" in page and "<b>" not in page


def test_the_index_lists_every_page(folder):
    listed = HREF.findall((folder / "index.html").read_text())
    assert sorted(listed) == sorted(path.name for path in folder.glob("page-*.html"))


@pytest.mark.parametrize(
    ("query", "address"),
    [
        ("http://127.0.0.1:8181/problem?id=a%2Fb&at=x", "/problem?id=a%2Fb&at=x"),
        ("/run?name=one", "/run?name=one"),
        ("starter/mean/1", "/find?id=starter%2Fmean%2F1"),
        ("select 1", "/sql?q=select+1"),
    ],
)
def test_a_query_is_an_address_an_id_or_sql(query, address):
    assert address_of(query) == address


def test_what_has_no_page_is_named_and_nothing_is_written(place, tmp_path):
    with pytest.raises(BundleError, match=r"^/find\?id=none: Not found"):
        write_bundle(
            str(place.store.location), tmp_path / "b", ["none"], runs_folder=place.folder, at=None, depth=0
        )
    assert not (tmp_path / "b").exists()


def test_a_full_disk_leaves_no_half_of_a_bundle(place, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flows.view.bundle.index_page", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(
            str(place.store.location), tmp_path / "b", ["/"], runs_folder=place.folder, at=None, depth=0
        )
    assert list(tmp_path.iterdir()) == []
