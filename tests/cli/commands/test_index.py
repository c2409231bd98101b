"""The command index: what it prints, and one line for what cannot be."""

from __future__ import annotations

from itertools import product

import pytest
from encoded_folders import write_corpus

from hybrid_fast import encode_corpus
from hybrid_fast.cli import main
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.stores import open_store

WORDS = ("river", "mountain", "city", "island", "forest", "desert", "harbour", "valley")


@pytest.fixture
def folder(tmp_path):
    return write_corpus(tmp_path / "encoded")


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as exit:
        main(["index", *map(str, arguments)])
    assert exit.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()  # after what is said of a model
    return line


def test_a_store_is_made_grown_and_replaced(folder, tmp_path, capsys):
    address = f"faiss:{tmp_path}/store"
    main(["index", str(folder), "--store", address])
    out = capsys.readouterr().out
    assert f"store: {address}" in out
    assert "index: flat\nvectors: 64 in 3 languages\n" in out
    assert "recall@10: 1.000 of exact search, 64 vectors as queries" in out
    assert "--replace" in refused(capsys, folder, "--store", address)
    more = write_corpus(tmp_path / "more", (7,), first=64)
    main(["index", str(more), "--store", address, "--add", "--no-texts"])
    assert "vectors: 71 in 3 languages" in capsys.readouterr().out
    options = ["--store-option", "refine=3", "--store-option", "target-recall=0.9"]
    main(["index", str(folder), "--store", address, "--replace", "--index", "sq8", *options])
    assert "index: SQ8, 3 candidates a hit compared again" in capsys.readouterr().out
    with open_store(address) as store:
        assert store.texts(["doc 3"]) == ["text of doc 3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "store"], "KIND:PLACE"),
        (["--store", "fais:x"], "did you mean 'faiss'"),
        (["--store", "faiss:x", "--index", "IVF4,PQ5"], "8 dimensions"),
        (["--store", "faiss:x", "--store-option", "nprob"], "NAME=VALUE"),
        (["--store", "faiss:x", "--store-option", "refin=2"], "did you mean 'refine'"),
        (["--store", "faiss:x", "--add"], "no store"),
        (["--store", "faiss:x", "--queries", "q.tsv"], "--queries is given without --model"),
        (["--store", "faiss:x", "--model", "m"], "--model is given without --queries"),
        (["--store", "faiss:x", "--queries", "q.tsv", "--model", "m"], "q.tsv"),
        (["--store", "faiss:x", "--dtype", "bf16"], "--dtype is given without --model"),
    ],
)
def test_what_cannot_be(folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, folder, *arguments)
    assert not (tmp_path / "x").exists()


def test_queries_by_which_searches_are_tuned(tmp_path, capsys):
    model = BiEncoder.static([" ".join(WORDS)], 16, 90)
    model.save_pretrained(tmp_path / "m")
    BiEncoder.static(["other words"], 16, 90).save_pretrained(tmp_path / "other")
    texts = [(str(n), "en", f"{a} {b}") for n, (a, b) in enumerate(product(WORDS, WORDS))]
    encode_corpus(model, texts, tmp_path / "vectors")
    asked = tmp_path / "q.tsv"
    asked.write_text("".join(f"{n}\t{word}\n" for n, word in enumerate(WORDS)))
    address = f"faiss:{tmp_path}/store"
    given = ["index", str(tmp_path / "vectors"), "--store", address, "--queries", str(asked)]
    main([*given, "--model", str(tmp_path / "m"), "--index", "sq8"])
    assert "of exact search, 4 other queries" in capsys.readouterr().out
    with open_store(address) as store:
        assert len(store._rows.queries) == 4
    message = refused(capsys, *given[1:], "--model", tmp_path / "other", "--replace")
    assert "another model" in message
    asked.write_text("")
    assert "q.tsv" in refused(capsys, *given[1:], "--model", tmp_path / "m", "--replace")


def test_a_corpus_that_was_not_encoded(tmp_path, capsys):
    assert "manifest.json" in refused(capsys, tmp_path, "--store", f"faiss:{tmp_path}/store")
