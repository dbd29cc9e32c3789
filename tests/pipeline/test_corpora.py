"""Corpora: strict definitions, idempotent pinned publishing, diffs, and exports that other programs read."""

import json

import pandas
import polars as pl
import pytest

from pipeline.corpora import publication as corpora
from pipeline.corpora.parquet_export import export
from pipeline.corpora.publication import Corpus, CorpusError, Spec
from pipeline.store.store import Store

HUMAN = Spec(
    "human", "SELECT trajectory_id FROM trajectories WHERE origin = $origin", parameters={"origin": "human"}
)


@pytest.fixture
def store(tmp_path, fill_store):
    return fill_store(Store(tmp_path / "store"))


def test_a_definition_in_toml(tmp_path):
    path = tmp_path / "corpus.toml"
    path.write_text(
        'name = "mine"\nquery = "SELECT trajectory_id FROM judged"\nreward = "signed"\n[parameters]\nn = 3\n'
    )
    assert corpora.read_spec(path) == Spec("mine", "SELECT trajectory_id FROM judged", "signed", {"n": 3})
    (tmp_path / "query.sql").write_text("SELECT 1")
    path.write_text('name = "mine"\ndescription = "for tests"\nquery_file = "query.sql"\n')
    assert corpora.read_spec(path) == Spec("mine", "SELECT 1", "binary", {}, "for tests")


def test_a_definition_in_sql(tmp_path, store):
    path = tmp_path / "humans.sql"
    path.write_text(
        '-- Right and wrong, by people.\n-- reward = "signed"\n-- parameters = { origin = "human" }\n'
        + HUMAN.query
    )
    spec = corpora.read_spec(path)
    assert spec == Spec("humans", path.read_text(), "signed", {"origin": "human"})
    assert corpora.publish(store, path).rows.to_list() == corpora.publish(store, HUMAN).rows.to_list()
    path.write_text('-- query = "SELECT 1"\nSELECT 2')
    with pytest.raises(CorpusError, match="the file itself is the query"):
        corpora.read_spec(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('name = "a"\nquery = "SELECT 1"\nrewrad = "binary"', "unknown key rewrad; there are: name"),
        ('name = "a"', "needs name, and either query or query_file"),
        ('query = "SELECT 1"', "needs name"),
        ('name = "a"\nquery = "SELECT 1"\nquery_file = "q.sql"', "either query or query_file"),
        ('name = "a"\nquery = 3', "query has the wrong type, int"),
        ('name = "a"\nquery = "SELECT 1"\nreward = "best"', "no reward best; there are: binary"),
        ('name = "a b"\nquery = "SELECT 1"', "corpus name 'a b'"),
        ('name = "a"\nquery_file = "none.sql"', "query_file: .*none.sql"),
        ('name = "a', "corpus.toml"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_fault(tmp_path, text, fault):
    path = tmp_path / "corpus.toml"
    path.write_text(text)
    with pytest.raises(CorpusError, match=fault):
        corpora.read_spec(path)


def test_published_rows_statistics_and_pins(store):
    corpus = corpora.publish(store, HUMAN)
    assert corpus.rows.to_list() == ["h1", "h2", "h3", "h4", "h5", "h6"]
    assert corpus.statistics == {
        "rows": 6,
        "problems": 3,
        "mean_reward": -0.5,
        "left_out_without_reward": 0,
        "languages": {"python3": 6},
        "origins": {
            "human": {"accepted": 3, "runtime_error": 1, "time_limit_exceeded": 1, "wrong_answer": 1}
        },
    }
    assert corpus.pins == store.pins(["problems", "trajectories", "verdicts"])
    assert (corpus.parameters, corpus.reward, corpus.name) == ({"origin": "human"}, "binary", "human")


def test_rows_without_a_reward_are_left_out_and_counted(store):
    corpus = corpora.publish(store, Spec("all", "SELECT trajectory_id FROM deduplicated"))
    # 28 trajectories less one duplicate; o3 was not judged, ref-b5 is a judge error, ref-b6 an unavailable
    # language.
    assert (corpus.rows.len(), corpus.statistics["left_out_without_reward"]) == (24, 3)
    assert not {"o3", "ref-b5", "ref-b6"} & set(corpus.rows) and "duplicates" in corpus.pins


def test_publishing_the_same_again_gives_the_same_and_adds_nothing(store):
    first = corpora.publish(store, HUMAN)
    version = store.version("corpora")
    for name in ("trajectories", "verdicts"):
        store.maintain(name, keep_versions=list(first.pins.values()))
    again = corpora.publish(Store(store.location), HUMAN)
    assert same(first, again) and store.version("corpora") == version
    assert corpora.list_corpora(store).select("name", "rows").rows() == [("human", 6)]


def same(first: Corpus, second: Corpus) -> bool:
    one, two = dict(vars(first)), dict(vars(second))
    return one.pop("rows").equals(two.pop("rows")) and one == two


@pytest.mark.parametrize(
    "other",
    [
        Spec("people", HUMAN.query, parameters=HUMAN.parameters),
        Spec("human", HUMAN.query, "signed", HUMAN.parameters),
        Spec("human", HUMAN.query, parameters={"origin": "online"}),
        Spec("human", "SELECT trajectory_id FROM trajectories WHERE origin = 'human'"),
    ],
)
def test_any_other_definition_gives_another_id(store, other):
    assert corpora.publish(store, HUMAN).corpus_id != corpora.publish(store, other).corpus_id


def test_a_published_corpus_keeps_its_rows_and_rewards(store, rows):
    before = corpora.publish(store, HUMAN)
    later = [
        rows.verdict("h3", "accepted", "src/b", judge_version="judge-3", judged_at=rows.day.replace(month=2))
    ]
    later += [rows.verdict("h7", "accepted", judge_version="judge-3", judged_at=rows.day.replace(month=2))]
    store.append(
        "trajectories", rows.frame("trajectories", [rows.trajectory("h7")]), producer="later", sequence=1
    )
    store.append("verdicts", rows.frame("verdicts", later), producer="later", sequence=1)
    without_h5 = HUMAN.query + " AND trajectory_id <> 'h5'"
    after = corpora.publish(store, Spec("human", without_h5, parameters=HUMAN.parameters))
    assert corpora.read_rows(store, before, "trajectory_id").rows() == [
        ("h1", 0.0),
        ("h2", 0.0),
        ("h3", -1.0),
        ("h4", -1.0),
        ("h5", 0.0),
        ("h6", -1.0),
    ]
    assert corpora.diff(store, before, after).rows() == [
        ("h7", "added", None, 0.0, "human", "src/a"),
        ("h5", "removed", 0.0, None, "human", "oth/c"),
        ("h3", "reward", -1.0, 0.0, "human", "src/b"),
    ]
    assert corpora.diff(store, after, after).is_empty()
    assert same(corpora.load(store, "human"), after)
    assert same(corpora.load(store, before.corpus_id[:8]), before)


def test_rows_of_gives_the_columns_asked_for(store):
    corpus = corpora.publish(store, Spec("f", "FROM judged WHERE trajectory_id = 'ref-a03'", "fraction"))
    got = corpora.read_rows(store, corpus, "trajectory_id, program, origin, verdict")
    assert got.rows() == [("ref-a03", "print(1)", "earlier_training", "wrong_answer", -0.25)]
    assert got.columns == ["trajectory_id", "program", "origin", "verdict", "reward"]
    with pytest.raises(CorpusError, match='column "programm" not found'):
        corpora.read_rows(store, corpus, "programm")


def test_a_store_that_no_longer_gives_what_was_published_is_noticed(store):
    corpus = corpora.publish(store, HUMAN)
    other = Corpus(**vars(corpus) | {"pins": corpus.pins | {"verdicts": 0}})
    with pytest.raises(CorpusError, match="differ from those published"):
        corpora.read_rows(store, other)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("SELECT problem_id FROM problems", "no column trajectory_id, but problem_id"),
        ("SELECT t.trajectory_id FROM trajectories t, problems", "trajectory_id h1 more than once"),
        ("SELECT trajectory_id FROM nowhere", "Table with name nowhere does not exist"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("COPY problems TO 'x'", "not one SELECT"),
        (
            "SELECT trajectory_id FROM trajectories WHERE trajectory_id = 'o3'",
            "none of its 1 rows has a reward",
        ),
    ],
)
def test_a_wrong_query_is_refused_and_nothing_is_published(store, query, fault):
    with pytest.raises(CorpusError, match=f"corpus wrong: .*{fault}"):
        corpora.publish(store, Spec("wrong", query))
    assert corpora.list_corpora(store).is_empty()


def test_an_unknown_corpus_is_named_with_those_there_are(store):
    corpora.publish(store, HUMAN)
    with pytest.raises(CorpusError, match="no corpus 'humans'; published: human"):
        corpora.load(store, "humans")


def test_an_export_is_read_by_datasets(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    corpus = corpora.publish(
        store, Spec("all", "FROM judged", "fraction", description="Everything | judged.")
    )
    folder = export(store, corpus, tmp_path / "out")
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(folder / "data/train.parquet"), split="train", cache_dir=cache
    )
    rows = pl.DataFrame(loaded.to_list()).select(
        "trajectory_id", "origin", "verdict", "reward", "statement", "program"
    )
    wanted = corpora.read_rows(
        store, corpus, "trajectory_id, origin, verdict, 'Print the sum.' AS statement, program"
    )
    assert rows.equals(wanted.select(rows.columns)) and loaded.num_rows == 25
    assert datasets.load_dataset(str(folder), split="train", cache_dir=cache).num_rows == 25
    card = (folder / "_README.md").read_text()
    for part in (
        corpus.corpus_id,
        "FROM judged",
        "Everything | judged.",
        json.dumps(corpus.pins),
        "| human | accepted | 3 |",
    ):
        assert part in card


def test_an_export_never_writes_over_anything(store, tmp_path):
    corpus = corpora.publish(store, HUMAN)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep")
    with pytest.raises(CorpusError, match="not an empty folder"):
        export(store, corpus, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_an_export_opens_in_pandas(tmp_path, store):
    corpus = corpora.publish(store, HUMAN)
    folder = export(store, corpus, tmp_path / "exported")
    assert sorted(pandas.read_parquet(folder)["trajectory_id"]) == corpus.rows.to_list()
