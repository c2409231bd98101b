"""Real vectors are the same however they are read; docs/scaling.md is what its JSON says."""

from __future__ import annotations

import gzip
import json

import mining_speed
import numpy as np
import pytest
import quantisation
import scaling_page
import store_speed
from real_vectors import BLOCK, NOISE, RealVectors, draw, read_passages, read_queries

from hybrid_fast.retrieval import search


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """1,100 passages and 40 queries near them, of 16 numbers, in two languages."""
    rng = np.random.default_rng(0)
    passages = rng.standard_normal((1100, 16)).astype(np.float32)
    queries = passages[:40] + 0.1 * rng.standard_normal((40, 16)).astype(np.float32)
    np.save(tmp_path / "passages.npy", passages)
    np.save(tmp_path / "queries.npy", queries)
    texts = [[f"text {row}", "de" if row % 3 else "en"] for row in range(1100)]
    (tmp_path / "passages.json").write_text(json.dumps(texts))
    monkeypatch.setenv("HYBRID_FAST_VECTORS", str(tmp_path))
    return tmp_path


def test_rows_are_the_same_however_they_are_cut(folder):
    vectors = RealVectors.load()
    size = 2 * BLOCK + 7
    whole = vectors.rows(0, size)
    np.testing.assert_array_equal(whole[:1100], vectors.passages)
    for start, stop in ((0, 1), (5, 1200), (BLOCK - 1, BLOCK + 1), (1100, size), (size - 1, size)):
        np.testing.assert_array_equal(vectors.rows(start, stop), whole[start:stop])
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    cosines = (whole[1100:] * whole[np.arange(1100, size) % 1100]).sum(axis=1)
    assert np.mean(cosines) == pytest.approx(1 / (1 + NOISE**2) ** 0.5, abs=0.01)
    assert vectors.languages_of(1099, 1101) == [vectors.languages[1099], vectors.languages[0]]
    assert {*vectors.languages_of(0, 30)} == {"de", "en"}


def test_no_folder_is_an_error_that_says_how_to_make_it(monkeypatch):
    monkeypatch.delenv("HYBRID_FAST_VECTORS", raising=False)
    with pytest.raises(FileNotFoundError, match=r"real_vectors.py FOLDER"):
        RealVectors.load()


def test_texts_are_drawn_once_each(tmp_path):
    ntrex, mkqa = tmp_path / "parallel/ntrex", tmp_path / "parallel/mkqa"
    for made in (ntrex, mkqa, tmp_path / "parallel/bible", tmp_path / "nc/xnli"):
        made.mkdir(parents=True)
    (ntrex / "ntrex.de.txt").write_text("Ein ganzer Satz.\nkurz\nEin ganzer Satz.\n")
    for name, text in (
        ("nc/xnli/test.th.tsv.gz", "A premise of it\tA hypothesis\t1\n"),
        ("parallel/bible/bible.sw.tsv.gz", "GEN 1:1\tHapo mwanzo Mungu\nGEN 1:2\tNayo nchi\n"),
        ("parallel/bible/bible.en-bbe.tsv.gz", "GEN 1:1\tAt the first God made\n"),
        ("parallel/mkqa/q.gz", json.dumps({"lang": "fi", "question": "Mikä se on?"}) + "\n"),
    ):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write(text)
    assert draw(read_passages(tmp_path), 9) == [
        ("Ein ganzer Satz.", "de"),
        ("A premise of it", "th"),
        ("A hypothesis", "th"),
        ("Hapo mwanzo Mungu", "sw"),
    ]
    assert draw(read_queries(tmp_path), 9) == [("Mikä se on?", "fi")]


@pytest.mark.slow
def test_stores_are_measured(folder, tmp_path):
    """In processes of their own; a kind that fails costs the others nothing."""
    kinds = [
        store_speed.Kind("flat", "faiss", {"index": "flat"}),
        store_speed.Kind("none", "faiss", {"index": "none of these"}),
        store_speed.Kind("float16", "faiss", {"index": "flat", "dtype": "float16"}),
    ]
    work = tmp_path / "work"
    work.mkdir()
    report = store_speed.run(kinds, 1500, 20, work, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == report
    flat, none, halves = report["results"]
    assert flat["recall"] == 1
    assert halves["recall"] > 0.9
    assert halves["size_mib"] < flat["size_mib"]
    assert none == {"title": "none", "skipped": "it failed"}
    assert flat["queries_s_batch"] > 0


def test_true_rows_and_recall(folder):
    vectors = RealVectors.load()
    queries = vectors.queries[:5]
    found = store_speed.true_rows(vectors, queries, 1300)
    expected = search(queries, vectors.rows(0, 1300), store_speed.DEPTH).rows
    np.testing.assert_array_equal(found, expected)
    assert store_speed.recall(found[:, ::-1].tolist(), found) == 1
    assert (
        store_speed.recall([[*row[:5], -1, -2, -3, -4, -5] for row in found.tolist()], found) == 0.5
    )


def test_memory_decides_on_milvus_alone(monkeypatch):
    monkeypatch.setattr(store_speed, "memory_gib", lambda: 8.0)
    flat, milvus = store_speed.MILVUS
    assert not store_speed.reason_to_skip(flat, 200_000)
    assert (
        store_speed.reason_to_skip(milvus, 200_000)
        == "10.0 GiB of free memory needed, there are 8.0"
    )
    assert not store_speed.reason_to_skip(milvus, 100_000)


def test_codes_are_measured(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "STEP", 333)
    codes = ["float32", "8 bits a number", "1 bit a number, by the median"]
    report = quantisation.run(codes, 1200, 20, tmp_path / "out.json")
    exact, bytes_, bits = report["results"]
    assert (exact["recall"], exact["recall_rescored"], exact["bytes_a_vector"]) == (1, 1, 64)
    assert bytes_["bytes_a_vector"] == 16
    assert 0.8 < bytes_["recall"] <= bytes_["recall_rescored"]
    assert bits["bytes_a_vector"] == 2
    assert bits["recall"] < bits["recall_rescored"]
    assert quantisation.factory_of("OPQ{eighth},PQ{eighth}", 384) == "OPQ48,PQ48"


@pytest.mark.slow
def test_mining_is_measured(folder, tmp_path):
    report = mining_speed.run(["flat", "no index"], 50, 500, tmp_path / "out.json")
    found, failed = report["results"]
    assert found["queries"] == 50
    assert found["negatives"] > 50
    assert found["peak_mib"] >= found["before_mib"] > 0
    assert failed["skipped"] == "it failed"


def test_the_page_has_the_tables_of_the_newest_runs():
    message = "run `python benchmarks/scaling_page.py`"
    assert scaling_page.page() == scaling_page.PAGE.read_text(encoding="utf-8"), message


def test_of_each_size_the_newest_run_is_shown(tmp_path):
    def write(date, rows, recall, milvus=""):
        found = {
            "kind": "stores", "date": date, "commit": "0123456789ab", "rows": rows, "threads": 2,
            "versions": {"faiss-cpu": "1.15", "torch": "2"}, "processor": {"name": "AMD EPYC"},
            "dimension": 384, "real_rows": 900, "queries": 100,
            "results": [
                {"title": "flat", "build_s": 1.0, "size_mib": 2.0, "recall": recall,
                 "queries_s_batch": 3.0, "queries_s_alone": 4.0, "queries_s_filtered": 5.0,
                 "build_peak_mib": 6.0, "search_peak_mib": 7.0},
                {"title": "Milvus Lite", "skipped": "too little memory"},
            ],
        }  # fmt: skip
        path = tmp_path / f"{date}-stores{milvus}-{rows}.json"
        path.write_text(json.dumps(found), encoding="utf-8")

    write("2026-01-01", 1000, 0.5)
    write("2026-01-02", 1000, 0.75)
    write("2026-01-01", 500, 0.25, "-milvus")
    text = scaling_page.section(tmp_path, "stores")
    assert "| flat | 1 | 2 | 0.75 | 3 | 4 | 5 | 6 | 7 |" in text
    assert "0.5 |" not in text
    assert text.index("1,000 vectors of 384 numbers, 100 of them copies with noise") < text.index(
        "500 vectors of 384 numbers, all real"
    )
    assert "| Milvus Lite | not measured: too little memory |" in text
    assert "faiss-cpu 1.15" in text
    assert "torch" not in text
    assert scaling_page.section(tmp_path, "mining").startswith("Not measured yet")
