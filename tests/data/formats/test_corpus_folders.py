"""Folders as published: BEIR, MIRACL, Mr. TyDi, TREC, and folders of files of one format."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_fast.data.formats import corpus_sources
from hybrid_fast.data.formats.corpus import open_corpus


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def passages(*ids):
    return [{"docid": each, "title": "T", "text": f"t{each}"} for each in ids]


def write_miracl(folder, languages=("yo", "sw")):
    """Eleven shards a language, each with one passage: "sw" has 0#0 to 10#0."""
    for lang in languages:
        for shard in range(11):
            path = folder / f"miracl-corpus-v1.0-{lang}" / f"docs-{shard}.jsonl.gz"
            write(path, passages(f"{shard}#0"))


def ids(path, **options):
    return [text.id for text in open_corpus(path, **options)]


def test_beir(tmp_path):
    rows = [{"_id": "4983", "title": "T", "text": "x", "metadata": {}}]
    write(tmp_path / "scifact" / "corpus.jsonl.gz", rows)
    write(tmp_path / "scifact" / "queries.jsonl", [{"_id": "1", "text": "?"}])
    corpus = open_corpus(tmp_path / "scifact", lang="en")
    assert list(corpus) == [("4983", "en", "T x")]
    assert corpus.name.endswith("/scifact")
    with pytest.raises(ValueError, match=r"corpus\.jsonl\.gz:1: the language is unknown"):
        list(open_corpus(tmp_path / "scifact"))


def test_beir_as_on_the_hub(tmp_path):
    for kind in ("corpus", "queries"):
        write(tmp_path / kind / f"{kind}-00000-of-00001.parquet", [{"_id": kind, "text": "x"}])
    assert ids(tmp_path, lang="en") == ["corpus"]


@pytest.mark.parametrize("below", [".", "data/miracl"])
def test_miracl_in_several_languages_has_ids_as_in_evaluation(tmp_path, below):
    write_miracl(tmp_path / below)
    texts = list(open_corpus(tmp_path))
    assert [text.id for text in texts] == [
        f"{lang}:{shard}#0" for lang in ("sw", "yo") for shard in range(11)
    ]
    assert [text.language for text in texts] == ["sw"] * 11 + ["yo"] * 11
    assert texts[10].text == "T t10#0"


def test_one_language_of_miracl_keeps_its_ids(tmp_path):
    write_miracl(tmp_path)
    for options in ({"lang": "sw"}, {"languages": ["swa"]}, {"languages": {"sw": "sw"}}):
        texts = list(open_corpus(tmp_path, **options))
        assert [text.id for text in texts] == [f"{shard}#0" for shard in range(11)]
        assert {text.language for text in texts} == {"sw"}
    own = list(open_corpus(tmp_path / "miracl-corpus-v1.0-yo"))
    assert len(own) == 11
    assert {text.language for text in own} == {"yo"}
    assert ids(tmp_path, lang="sw", language_in_ids=True)[0] == "sw:0#0"
    with pytest.raises(ValueError, match="language_in_ids=True makes ids such as 'yo:0#0'"):
        ids(tmp_path, language_in_ids=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lang": "de"}, FileNotFoundError, "has no passages of 'de'; it has sw, yo"),
        ({"languages": ["sw", "fi"]}, FileNotFoundError, "has no passages of 'fi'"),
        ({"languages": {"swahili": "sw"}}, FileNotFoundError, "no passages of 'swahili'"),
        ({"languages": "sw"}, ValueError, "must be a list of codes, got 'sw'"),
        ({"languages": ["sw"], "lang": "sw"}, ValueError, "give lang= or languages=, not both"),
    ],
)
def test_languages_that_a_folder_does_not_have(tmp_path, options, error, message):
    write_miracl(tmp_path)
    with pytest.raises(error, match=message):
        open_corpus(tmp_path, **options)


@pytest.mark.parametrize("where", ["corpus.jsonl", "collection/docs.jsonl.gz"])
def test_mr_tydi_calls_languages_by_their_names(tmp_path, where):
    for name in ("swahili", "bengali"):
        write(tmp_path / f"mrtydi-v1.1-{name}" / where, passages(f"{name}#0"))
    assert [text[:2] for text in open_corpus(tmp_path)] == [
        ("bn:bengali#0", "bn"),
        ("sw:swahili#0", "sw"),
    ]
    assert ids(tmp_path, lang="bn") == ["bengali#0"]


def test_a_language_of_no_known_code(tmp_path):
    write(tmp_path / "miracl-corpus-v1.0-xqq" / "docs-0.jsonl", passages("0"))
    with pytest.raises(ValueError, match=r"docs-0\.jsonl: unknown language 'xqq'"):
        open_corpus(tmp_path)


def test_trec(tmp_path):
    for name in ("corpus.de.jsonl", "corpus.en.jsonl.gz"):
        write(tmp_path / name, passages(name[7:9]))
    (tmp_path / "topics.de.tsv").write_text("1\tx\n")
    assert [text[:2] for text in open_corpus(tmp_path)] == [("de", "de"), ("en", "en")]
    assert ids(tmp_path, languages=["en"]) == ["en"]
    write(tmp_path / "corpus.jsonl", passages("1"))
    with pytest.raises(ValueError, match=r"corpus\.jsonl does not name its language, as other"):
        open_corpus(tmp_path)


def test_a_folder_of_files_of_one_format(tmp_path):
    for shard in range(11):
        write(tmp_path / "data" / f"part-{shard}.parquet", passages(str(shard)))
    (tmp_path / "README.txt").write_text("not a passage")
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / ".part-0.jsonl").write_text("of a download")
    assert ids(tmp_path, lang="en") == [str(shard) for shard in range(11)]
    assert ids([tmp_path / "data", *tmp_path.glob("nothing")], lang="en")[-1] == "10"
    write(tmp_path / "data" / "more.jsonl", passages("x"))
    with pytest.raises(
        ValueError, match=r"files of several formats, such as more\.jsonl and part-0"
    ):
        ids(tmp_path, lang="en")


def test_a_folder_without_passages(tmp_path):
    (tmp_path / "model.bin").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"holds no passages: no file of \.jsonl"):
        open_corpus(tmp_path, lang="en")


def test_several_folders_are_one_corpus(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name / "corpus.jsonl", passages(name))
    assert ids([tmp_path / "a", str(tmp_path / "b")], lang="en") == ["a", "b"]
    with pytest.raises(ValueError, match="is named twice"):
        open_corpus([tmp_path / "a", tmp_path / "a" / "corpus.jsonl"], lang="en")


@pytest.mark.parametrize(
    ("name", "options", "patterns"),
    [
        ("miracl/miracl-corpus", {"lang": "sw"}, ["sw", "swahili"]),
        ("miracl/miracl-corpus", {}, ["*"]),
        ("castorini/mr-tydi-corpus", {"languages": ["sw"]}, ["sw", "swahili"]),
    ],
)
def test_data_sets_that_are_fetched_as_files(tmp_path, monkeypatch, name, options, patterns):
    asked = {}

    def fetch_folder(name, what, instead, **rest):
        asked.update(rest, name=name)
        return tmp_path

    monkeypatch.setattr(corpus_sources, "fetch_folder", fetch_folder)
    of_language = (
        "miracl-corpus-v1.0-sw/docs-0" if "miracl" in name else "mrtydi-v1.1-swahili/corpus"
    )
    write(tmp_path / f"{of_language}.jsonl.gz", passages("0"))
    assert list(open_corpus(name, **options)) == [("0", "sw", "T t0")]
    assert asked["name"] == name
    assert asked["repo_type"] == "dataset"
    for pattern in patterns:
        assert any(f"-{pattern}/" in each for each in asked["patterns"])
    assert len({each.split("/")[0] for each in asked["patterns"]}) == len(patterns)


def test_without_network_the_folder_to_give_is_named(monkeypatch):
    def snapshot_download(*args, **options):
        raise OSError("offline")

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match=r"a folder with miracl-corpus-v1\.0-"):
        open_corpus("miracl/miracl-corpus", lang="sw")
