"""Corpora that the `datasets` library reads: saved ones, streams of the hub and of folders."""

import json

import datasets
import pytest

from hybrid_fast.data.formats import records
from hybrid_fast.data.formats.corpus import open_corpus

ROWS = [
    {"_id": str(n), "title": "T", "text": f"t{n}", "lang": "en", "emb": [0.5] * 3} for n in range(5)
]
TEXTS = [(str(n), "en", f"T t{n}") for n in range(5)]


def write_folder(folder):
    """A data set as on the hub: files by split, in a folder of the name of its split."""
    for split, rows in (("train", ROWS[:2]), ("corpus", ROWS)):
        (folder / split).mkdir(parents=True)
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / split / f"{split}-00000.jsonl").write_text(content)
    card = "configs:\n- config_name: default\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: {split}/*.jsonl\n" for split in ("train", "corpus")
    )
    (folder / "README.md").write_text(f"---\n{card}---\n")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The real `load_dataset`, for which the data set "owner/wiki" lies in a folder here."""
    folder = write_folder(tmp_path / "owner" / "wiki")
    calls = []

    def load_dataset(name, config=None, **options):
        calls.append((name, config, options))
        return datasets.load_dataset(
            str(folder) if name == "owner/wiki" else name, config, **options
        )

    monkeypatch.setattr(records, "load_dataset", load_dataset)
    return calls


def test_a_stream_of_the_hub(hub):
    corpus = open_corpus("owner/wiki", split="corpus")
    assert not hub  # nothing is read before the corpus is
    assert list(corpus) == TEXTS
    assert list(corpus) == TEXTS
    assert hub == [("owner/wiki", None, {"streaming": True})] * 2
    assert corpus.name == "owner/wiki:corpus"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "owner/wiki has 2 splits: train, corpus; give split='train'"),
        ({"split": "corpuss"}, "has no split 'corpuss'; .* did you mean 'corpus'"),
        ({"split": "train[:2]"}, r"a stream has no slices, got split='train\[:2\]'"),
        ({"split": "corpus", "config": "xx"}, "'owner/wiki' cannot be read: BuilderConfig 'xx'"),
        ({"split": "corpus", "columns": {"text": "txt"}}, "owner/wiki:1: field 'txt' is missing"),
        ({"split": "corpus", "columns": {"text": 0}}, "owner/wiki:1: fields have names here"),
    ],
)
def test_bad_options_of_a_stream(hub, options, message):
    with pytest.raises(ValueError, match=message):
        list(open_corpus("owner/wiki", **options))


def test_options_that_data_sets_do_not_have():
    with pytest.raises(ValueError, match=r"languages= is for paths with {lang}; a data set takes"):
        open_corpus("owner/wiki", languages=["en"])
    with pytest.raises(ValueError, match="takes one name or folder"):
        open_corpus(["owner/wiki"], format="hub")


def test_only_the_columns_that_are_needed_are_made_to_texts(hub, monkeypatch):
    chosen = []
    needed = records.dataset_records

    def dataset_records(dataset, choose=None):
        return needed(dataset, lambda names: chosen.append(choose(names)) or chosen[-1])

    monkeypatch.setattr(records, "dataset_records", dataset_records)
    assert list(open_corpus("owner/wiki", split="corpus")) == TEXTS
    assert [sorted(names) for names in chosen] == [["_id", "lang", "text", "title"]]


def test_a_hub_out_of_reach_names_what_to_give(monkeypatch):
    def load_dataset(name, config, **options):
        raise ConnectionError("offline")

    monkeypatch.setattr(records, "load_dataset", load_dataset)
    with pytest.raises(FileNotFoundError, match=r"'owner/wiki' is not a data file.*a file or fol"):
        list(open_corpus("owner/wiki", lang="en"))


def test_a_folder_can_be_read_by_datasets(tmp_path):
    folder = write_folder(tmp_path / "wiki")
    assert list(open_corpus(folder, format="hub", split="corpus")) == TEXTS


def test_saved_data_sets_with_and_without_splits(tmp_path):
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "alone")
    assert list(open_corpus(tmp_path / "alone")) == TEXTS
    assert list(open_corpus(tmp_path / "alone", split="train[1:3]")) == TEXTS[1:3]
    splits = datasets.DatasetDict({"a": data, "b": data.select([4])})
    splits.save_to_disk(tmp_path / "both")
    assert list(open_corpus(tmp_path / "both", split="b")) == TEXTS[4:]
    with pytest.raises(ValueError, match="has 2 splits: a, b; give split='a'"):
        list(open_corpus(tmp_path / "both"))
    twice = datasets.concatenate_datasets([data, data])
    twice.save_to_disk(tmp_path / "twice")
    with pytest.raises(ValueError, match=r"twice:6: id '0' is also that of .*twice:1; ids must"):
        list(open_corpus(tmp_path / "twice"))
