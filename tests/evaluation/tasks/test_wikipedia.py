"""MIRACL and Mr. TyDi in their published forms, local and from the hub; counts; what is missing."""

import shutil
from fnmatch import fnmatch

import huggingface_hub
import numpy as np
import pytest
from task_files import OneHot, lines, write, write_miracl

from hybrid_fast.data.formats.topics import read_topics
from hybrid_fast.data.formats.trec_runs import read_qrels
from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks.wikipedia import MIRACL_SIZES, MR_TYDI_SIZES

pytestmark = pytest.mark.filterwarnings("ignore:this is not m:UserWarning")


@pytest.fixture
def miracl(tmp_path):
    return write_miracl(tmp_path / "miracl")


@pytest.mark.parametrize("form", ["tar", "hub", "flat"])
def test_mr_tydi_in_its_forms(tmp_path, form):
    topics = "".join(f"{n}\tquestion {n}?\n" for n in range(3))
    qrels = "".join(f"{n} Q0 {n}#0 1\n" for n in range(3))
    folder = tmp_path / "mrtydi-v1.1-swahili"
    if form == "tar":
        write(folder / "topic.test.tsv", topics)
        write(folder / "qrels.test.txt", qrels)
        records = [{"id": f"{n}#0", "contents": f"Title {n}\n\nText."} for n in range(4)]
        write(folder / "collection" / "docs.jsonl", lines(records))
    else:
        flat = form == "flat"
        write(
            tmp_path / "topics.mrtydi-v1.1-sw.test.txt.gz"
            if flat
            else folder / "ir-format-data" / "topics.test.txt",
            topics,
        )
        write(
            tmp_path / "qrels.mrtydi-v1.1-sw.test.txt"
            if flat
            else folder / "ir-format-data" / "qrels.test.txt",
            qrels,
        )
        records = [{"docid": f"{n}#0", "title": f"Title {n}", "text": "Text."} for n in range(4)]
        write(folder / "corpus.jsonl.gz", lines(records))
    task = load_task("mr-tydi", tmp_path)
    assert task.queries.ids == ["0", "1", "2"]
    assert task.candidates.ids == [f"{n}#0" for n in range(4)]
    assert task.settings == {"candidate_text": "title+text", "split": "test"}
    results = task.evaluate(OneHot())
    assert results.metrics["mono"]["mrr@100"] == results.metrics["mono"]["recall@100"] == 1.0
    assert results.grid["mrr@100"]["sw"]["sw"] == 1.0
    if form != "flat":  # the folder of the language may be given itself
        assert load_task("mr-tydi", folder).queries.ids == task.queries.ids


def test_miracl_scores_and_ids(miracl):
    task = load_task("miracl", miracl)
    assert task.languages == ("sw", "yo")
    assert task.queries.ids[:2] == ["sw:0", "sw:1"]
    assert task.candidates.ids[20:23] == ["sw:10#0", "sw:10#1", "sw:11#0"]
    assert task.candidates.ids[24:26] == ["yo:0#0", "yo:0#1"]
    assert task.candidates[0] == "Title 0 Part 0."
    assert set(task.relevants.grades) == {1}
    results = task.evaluate(OneHot())
    # Query 1 shares its digit with the passages of articles 10 and 11, which stand behind.
    assert results.metrics["mono"]["ndcg@10"] == 1.0
    assert results.metrics["mono"]["recall@100"] == 1.0
    # Among both languages the passages of the language that sorts first stand before the others.
    assert results.grid["ndcg@10"]["yo"]["all"] < results.grid["ndcg@10"]["sw"]["all"] == 1.0
    assert results.counts.dropped["sw"] == {"sw": 0, "yo": 5}


def test_ids_of_one_language_are_as_published(miracl):
    task = load_task("miracl", miracl, languages=["yo"], candidate_text="text")
    assert task.queries.ids == ["0", "1", "2", "3", "4"]
    assert task.candidates.ids[:2] == ["0#0", "0#1"]
    assert task.candidates[0] == "Part 0."


@pytest.mark.filterwarnings("default:this is not:UserWarning")
def test_sizes_are_compared(miracl):
    message = (
        r"not miracl as published.*: ar is missing; .*sw has 5 queries, 10 judgements and 24 "
        r"passages, not 482, 5092 and 131924"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        load_task("miracl", miracl)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="sw has 5 queries") as caught:
        load_task("miracl", miracl, languages=["sw"])
    assert "missing" not in str(caught[0].message)


@pytest.mark.parametrize("lang", ["bn", "fi", "sw", "te", "th"])
def test_published_counts_are_those_of_the_real_files(shared_data, lang):
    """Queries and judgements; passages are not here."""
    for name, split, suffix, sizes in (
        ("miracl-v1.0", "-dev", "tsv", MIRACL_SIZES),
        ("mrtydi-v1.1", ".test", "txt", MR_TYDI_SIZES),
    ):
        (topics,) = (shared_data / "trec").glob(f"topics.{name}-{lang}{split}.{suffix}*")
        queries = read_topics(topics)
        qrels = read_qrels(shared_data / "trec" / f"qrels.{name}-{lang}{split}.{suffix}")
        assert (len(queries), sum(map(len, qrels.values()))) == sizes[lang][:2]
        assert set(qrels) <= set(queries)


def test_published_totals():
    """13,071 queries and 126,076 judgements: the last line of the paper's table."""
    assert [sum(sizes[column] for sizes in MIRACL_SIZES.values()) for column in range(2)] == [
        13071,
        126076,
    ]


def test_real_topics_with_a_small_collection(shared_data, tmp_path):
    """Real topics and judgements; the collection is cut to the judged passages."""
    for path in (shared_data / "trec").glob("*.miracl-v1.0-sw-dev.tsv"):
        shutil.copy(path, tmp_path)
    qrels = read_qrels(tmp_path / "qrels.miracl-v1.0-sw-dev.tsv")
    judged = sorted({passage for grades in qrels.values() for passage in grades})
    records = [{"docid": each, "title": "", "text": "x"} for each in judged]
    write(tmp_path / "miracl-corpus-v1.0-sw" / "docs-0.jsonl.gz", lines(records))
    task = load_task("miracl", tmp_path)
    assert len(task.queries) == 482
    positives = sum(grade for grades in qrels.values() for grade in grades.values())
    assert len(task.relevants.rows) == positives


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ["xx"]}, "has no xx; its languages are ar, bn"),
        ({"languages": ["ar"]}, r"topics.miracl-v1.0-ar-dev.tsv not found in data folder"),
        ({"split": "test"}, "split is 'test'; it must be one of 'dev', 'train'"),
        ({"split": "train"}, "no topics of the train split of miracl found"),
        (
            {"candidate_text": "sentence"},
            "must be one of 'title.text', 'text'",
        ),
        ({"segment_length": 100}, "task 'miracl' has no segment_length: leave out"),
    ],
)
def test_options_that_do_not_fit(miracl, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_task("miracl", miracl, **options)


def test_missing_passages_are_named(miracl):
    shutil.rmtree(miracl / "miracl-corpus-v1.0-yo")
    with pytest.raises(FileNotFoundError, match=r"miracl-corpus-v1.0-yo/docs-\*.* for yo"):
        load_task("miracl", miracl)


def test_judgements_of_unknown_passages_and_two_files(miracl):
    path = miracl / "miracl-v1.0-yo" / "qrels" / "qrels.miracl-v1.0-yo-dev.tsv"
    content = path.read_text()
    path.write_text(content + "4\tQ0\t99#0\t1\n")
    with pytest.raises(ValueError, match="qrels name 1 candidates that the task lacks: 'yo:99#0'"):
        load_task("miracl", miracl, strict=True)
    path.write_text(content)
    write(path.with_suffix(".tsv.gz"), content)
    with pytest.raises(ValueError, match="both match"):
        load_task("miracl", miracl)


def test_passage_ids_that_repeat(miracl):
    shard = miracl / "miracl-corpus-v1.0-yo" / "docs-1.jsonl.gz"
    shutil.copy(shard, shard.with_name("docs-99.jsonl.gz"))
    with pytest.raises(ValueError, match="candidate id 'yo:1#0' occurs more than once"):
        load_task("miracl", miracl)


def test_from_the_hub(miracl, tmp_path, monkeypatch):
    """A stand-in copies what is asked for; what is read is the same as locally."""
    asked = []

    def fetch(name, *, repo_type, allow_patterns, **_):
        asked.append((name, repo_type, allow_patterns))
        left_out = "*corpus*" if name == "miracl/miracl" else "miracl-v1.0-*"
        folder = tmp_path / "cache" / name.replace("/", "--")
        shutil.copytree(miracl, folder, ignore=shutil.ignore_patterns(left_out))
        found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]
        assert any(fnmatch(path, pattern) for path in found for pattern in allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    task = load_task("miracl", "miracl/miracl", languages=["yo"])
    assert [name for name, *_ in asked] == ["miracl/miracl", "miracl/miracl-corpus"]
    assert asked[0][1:] == (
        "dataset",
        [
            "*topics.miracl-v1.0-yo-dev.tsv*",
            "*qrels.miracl-v1.0-yo-dev.tsv*",
            "*miracl-corpus-v1.0-yo/docs-*.jsonl*",
        ],
    )
    local = load_task("miracl", miracl, languages=["yo"])
    assert list(task.queries) == list(local.queries)
    np.testing.assert_array_equal(task.relevants.rows, local.relevants.rows)


def test_a_hub_out_of_reach_names_the_local_way(monkeypatch):
    def fail(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand so on")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = (
        r"'castorini/mr-tydi' could not be fetched from the hub \(LocalEntryNotFoundError: "
        r"no connection\). Without network give a folder with topics.mrtydi-v1.1-ar.test.txt"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_task("mr-tydi", "castorini/mr-tydi")


def test_a_folder_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match=r"'nowhere' not found.*or 'miracl/miracl' to fetch"
    ):
        load_task("miracl", "nowhere")
    with pytest.raises(ValueError, match="task 'miracl' needs data: a folder with topics"):
        load_task("miracl")
