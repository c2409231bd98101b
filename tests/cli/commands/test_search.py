"""The commands search and delete: what they print and write, and what they refuse."""

import io
import json
import os
import re

import pytest
from model_folders import bert_folder  # noqa: F401
from pair_models import as_cross_encoder, as_reader

from hybrid_fast.cli import main
from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval import Retriever, encode_corpus, index_corpus
from hybrid_fast.retrieval.stores import open_store

TEXTS = {
    "a": ("en", "The capital of France is [b]Paris[/b]."),
    "b": ("de", "Die Hauptstadt von Frankreich ist Paris."),
    "c": ("en", "The currency of Japan is the yen."),
    "d": ("th", "สกุลเงินของญี่ปุ่นคือเยน"),
}
QUERY = "What is the capital of France?"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model m, the corpus c.jsonl, and stores with texts (full) and without (bare)."""
    folder = tmp_path_factory.mktemp("search")
    model = BiEncoder.static([text for _, text in TEXTS.values()], 16, 300)
    model.save_pretrained(folder / "m")
    BiEncoder.static(["other words"], 16, 90).save_pretrained(folder / "other")
    corpus = [(each, *rest) for each, rest in TEXTS.items()]
    lines = [dict(zip(("id", "language", "text"), row, strict=True)) for row in corpus]
    (folder / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    encode_corpus(model, corpus, folder / "vectors", store_texts=True)
    for name in ("full", "bare"):
        index_corpus(folder / "vectors", f"faiss:{folder / name}", store_texts=name == "full")
    return folder


@pytest.fixture(autouse=True)
def in_folder(made, monkeypatch):
    monkeypatch.chdir(made)


def hits_of(query, k, store="full", **given):
    with Retriever(BiEncoder.from_pretrained("m"), f"faiss:{store}") as retriever:
        return [hit._asdict() for hit in retriever.search(query, k, **given)]


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_hits_of_a_query_in_a_table(capsys):
    main(["search", "m", "faiss:full", QUERY, "-k", "4"])
    out = capsys.readouterr().out
    for hit in hits_of(QUERY, 4):
        assert f"{hit['score']:.4g} │ {hit['language']}" in out
    assert QUERY in out
    assert "The capital of France is [b]Paris[/b]." in out
    main(["search", "m", "faiss:bare", QUERY, "--store-option", "verify=true"])
    assert "text" not in capsys.readouterr().out


def test_json_and_languages(capsys):
    main(["search", "m", "faiss:full", QUERY, "--json", "--languages", "deu, th"])
    assert printed(capsys) == [
        {"id": "1", "query": QUERY, "hits": hits_of(QUERY, 10, languages=["de", "th"])}
    ]


def test_queries_of_standard_input_and_texts_of_a_file(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUERY}\n\n สกุลเงิน \n"))
    main("search m faiss:bare --json -k 2 --texts c.jsonl".split())
    first, second = printed(capsys)
    assert (first["id"], second["id"], second["query"]) == ("1", "3", "สกุลเงิน")
    assert first["hits"] == hits_of(QUERY, 2)


def test_texts_of_a_file_have_the_ids_that_they_were_encoded_with(tmp_path, capsys):
    model = BiEncoder.from_pretrained("m")
    corpus = [(f"{lang}:{each}", lang, text) for each, (lang, text) in TEXTS.items()]
    encode_corpus(model, corpus, tmp_path / "v")
    index_corpus(tmp_path / "v", f"faiss:{tmp_path / 's'}")
    command = f"search m faiss:{tmp_path / 's'} yen --json -k 4 --texts c.jsonl --language-in-ids"
    main(command.split())
    hits = printed(capsys)[0]["hits"]
    assert {hit["id"]: hit["text"] for hit in hits} == {each: text for each, _, text in corpus}


def test_json_where_the_output_takes_ascii_alone(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr("sys.stdout", out)
    main("search m faiss:full สกุลเงิน --json -k 4".split())
    out.seek(0)
    assert {hit["text"] for hit in json.loads(out.read())["hits"]} == {t for _, t in TEXTS.values()}


def test_a_run_of_a_file_of_queries(tmp_path, capsys):
    queries = {"q1": QUERY, "q7": "yen"}
    file = tmp_path / "q.tsv"
    file.write_text("".join(f"{name}\t{text}\n" for name, text in queries.items()))
    run = tmp_path / "r.trec"
    main(["search", "m", "faiss:bare", "--queries", str(file), "--run", str(run)])
    assert capsys.readouterr().out == f"run: {run}\n"
    assert {name: list(hits) for name, hits in read_run(run).items()} == {
        name: [hit["id"] for hit in hits_of(text, 4)] for name, text in queries.items()
    }
    both = tmp_path / "both.trec"
    main(["search", "m", "faiss:full", "--queries", str(file), "--run", str(both), "--json"])
    assert [line["id"] for line in printed(capsys)] == ["q1", "q7"]
    assert both.read_text() == run.read_text()


@pytest.mark.parametrize("shape", [["--json"], [], ["--json", "--run", "r.trec"]])
def test_whoever_reads_has_enough(tmp_path, monkeypatch, shape):
    """The reader of the pipe is gone before anything is printed; a run is written to the end."""
    queries = tmp_path / "q.tsv"
    queries.write_text("".join(f"q{number}\tquery {number}\n" for number in range(40)))
    run = [str(tmp_path / word) if word == "r.trec" else word for word in shape]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        main(["search", "m", "faiss:full", "--queries", str(queries), *run])
    if "--run" in shape:
        assert len(read_run(tmp_path / "r.trec")) == 40


def test_bm25_finds_the_word(capsys):
    main("search m faiss:bare yen --texts c.jsonl --bm25 rrf --json --fusion-depth 3".split())
    (line,) = printed(capsys)
    assert line["hits"][0]["id"] == "c"
    assert line["hits"][0]["score"] > 1 / 61


def test_a_cross_encoder_and_a_reader(bert_folder, tmp_path, capsys):  # noqa: F811
    as_cross_encoder(bert_folder, tmp_path / "cross")
    reader = str(as_reader(bert_folder, tmp_path / "reader"))
    common = ["search", "m", "faiss:full", QUERY, "-k", "3", "--json"]
    main([*common, "--reranker", str(tmp_path / "cross"), "--reader", reader, "--answers", "2"])
    (line,) = printed(capsys)
    scores = [hit["score"] for hit in line["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert scores != [hit["score"] for hit in hits_of(QUERY, 3)]
    assert len(line["answers"]) == 2
    for answer in line["answers"]:
        text = TEXTS[answer["id"]][1]
        assert text[answer["start"] : answer["end"]] == answer["text"]
    main([*common, "--reranker", reader, "--reader", reader])
    (line,) = printed(capsys)
    # What scores by its best span puts the text of the best answer first.
    assert line["answers"][0]["id"] == line["hits"][0]["id"]
    assert line["answers"][0]["score"] == pytest.approx(line["hits"][0]["score"], rel=1e-4)
    main([*common[:-1], "--reader", reader])
    assert "answer: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("m faiss:none yen", "there is no store at none"),
        ("m fais:full yen", "did you mean 'faiss'"),
        ("other faiss:full yen", "holds vectors of .* is another model"),
        ("m faiss:full yen --languages fr", "the store has no vectors in 'fr'; it has de, en, th"),
        ("m faiss:full yen --languages germn", "unknown language 'germn'"),
        ("m faiss:full yen --store-option ef=9", "has no option 'ef' to open it with"),
        ("m faiss:full yen --queries c.jsonl", "QUERY and --queries are both given"),
        ("m faiss:full --queries q.tsv", "no such file: q.tsv"),
        ("m faiss:full --queries m/config.json", "config.json"),
        ("m faiss:full yen --bm25 rrf", "--bm25 needs the texts"),
        ("m faiss:full yen --bm25 rff --texts c.jsonl", "did you mean 'rrf'"),
        ("m faiss:full yen --fusion-depth 9", "--fusion-depth is given without --bm25; add --bm25"),
        ("m faiss:full yen --lang en --ids-alone", "--lang, --language-in-ids is given without"),
        ("m faiss:full yen --rerank-depth 9", "--rerank-depth is given without --reranker"),
        ("m faiss:full yen --answers 2", "--answers is given without --reader"),
        ("m faiss:full yen --texts nowhere.jsonl", "no such file or folder: .*nowhere.jsonl"),
        ("m faiss:full yen --reranker m", "m is no cross-encoder"),
        (
            "m faiss:full yen --reader m",
            "m holds no config.json; give the folder of a saved reader",
        ),
        ("m faiss:full yen --reader m --run r", "a run has no place for; add --json"),
        ("m faiss:full yen --run c.jsonl", "c.jsonl exists; choose another file for --run"),
        ("nowhere/m faiss:full yen --device cpu", "nowhere/m"),
    ],
)
def test_what_is_refused_in_one_line(fails, made, command, message):
    before = {path.name for path in made.iterdir()}
    assert re.search(message, fails("search", *command.split()))
    assert {path.name for path in made.iterdir()} == before


def test_queries_that_are_none(fails, monkeypatch, bert_folder, tmp_path):  # noqa: F811
    assert "QUERY is empty" in fails("search", "m", "faiss:full", " ")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    assert "standard input has no line" in fails("search", "m", "faiss:full")
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\ud83d\n"))
    assert "query '2' is no valid Unicode" in fails("search", "m", "faiss:full")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert "there is no query; give QUERY" in fails("search", "m", "faiss:full")
    reader = as_reader(bert_folder, tmp_path / "reader")
    for option in ("--reader", "--reranker"):
        message = fails("search", "m", "faiss:bare", "yen", option, reader)
        assert "needs the texts of hits" in message
        assert "--store-texts" in message


def test_delete(tmp_path, fails, capsys):
    store = f"faiss:{tmp_path / 'store'}"
    index_corpus("vectors", store)
    (tmp_path / "ids.txt").write_text("d\n\n nothing \na\n")
    main(["delete", store, "b", "a", "--ids", str(tmp_path / "ids.txt")])
    assert capsys.readouterr().out == f"deleted: 3 of 4 ids; vectors left in {store}: 1\n"
    with open_store(store) as opened:
        assert opened.languages() == {"en": 1}
    assert "there are no ids" in fails("delete", store)
    assert "no such file" in fails("delete", store, "--ids", tmp_path / "none.txt")
    assert "there is no store" in fails("delete", f"faiss:{tmp_path / 'nowhere'}", "a")
