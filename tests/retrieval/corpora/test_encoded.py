"""Shards of vectors, their manifest, and what reading them checks."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hashed_corpora import CORPUS, Hashing, encode

from hybrid_fast.retrieval import EncodedCorpus
from hybrid_fast.retrieval.corpora.encoded import Manifest, read_shard, write_shard
from hybrid_fast.retrieval.stores import Rows

VECTORS = Hashing().encode_passages([text.text for text in CORPUS])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("has_texts", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_shard_is_read_as_it_was_written(tmp_path, dtype, has_texts, size):
    vectors = np.arange(size * 3, dtype=np.float32).reshape(size, 3) / 7
    ids = [f"ü{n}" for n in range(size)]
    texts = [f"文 {n}" for n in range(size)] if has_texts else None
    rows = Rows(ids, ["de", "zh-Hant"] * (size // 2) + ["de"] * (size % 2), vectors, texts)
    shard = write_shard(tmp_path / "s.parquet", rows, dtype)
    found = read_shard(tmp_path, shard)
    assert (found.ids, found.languages, found.texts) == (ids, rows.languages, texts)
    assert found.vectors.dtype == np.float32
    assert np.array_equal(found.vectors, vectors.astype(dtype).astype(np.float32))
    again = write_shard(tmp_path / "t.parquet", rows, dtype)
    assert again.sha256 == shard.sha256
    kinds = pq.read_schema(tmp_path / "s.parquet")
    assert kinds.field("vector").type == pa.list_(getattr(pa, dtype)(), 3)


def test_engines_read_a_shard_without_us(tmp_path):
    import datasets

    encode(tmp_path / "o", store_texts=True)
    rows = datasets.Dataset.from_parquet(
        str(tmp_path / "o" / "*.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert rows["id"][:] == [text.id for text in CORPUS]
    assert np.array_equal(np.array(rows["vector"][:], np.float32), VECTORS)


def test_a_view_of_vectors_is_written_as_its_values(tmp_path):
    rows = Rows(["a", "b"], ["de", "de"], VECTORS[:4:2, ::2])
    shard = write_shard(tmp_path / "s.parquet", rows, "float32")
    assert np.array_equal(read_shard(tmp_path, shard).vectors, VECTORS[:4:2, ::2])


def test_infinite_vectors_are_refused(tmp_path):
    rows = Rows(["a", "b"], ["de", "de"], np.array([[1, 2], [3, np.inf]], np.float32))
    with pytest.raises(ValueError, match=r"text 'b' is beyond the range of float32 .* 1 of 2"):
        write_shard(tmp_path / "s.parquet", rows, "float32")
    assert not any(tmp_path.iterdir())


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    encoded = encode(tmp_path / "o")
    again = Manifest.from_dict(json.loads(json.dumps(encoded.manifest.to_dict())))
    assert again == encoded.manifest == EncodedCorpus(tmp_path / "o").manifest


def edit(folder, change):
    """Encode a corpus, and change its manifest, to which `change` is applied."""
    encode(folder)
    values = json.loads((folder / "manifest.json").read_text())
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(shards=[{"file": "x"}]),
        lambda values: values.update(info={}),
        lambda values: values.update(colour=1),
        lambda values: values.update(version=2),
        lambda values: values.update(rows=24),
        lambda values: values.update(languages=[]),
        lambda values: values.update(vector_dtype="int8"),
        lambda values: values["info"].update(similarity="euclidean"),
        lambda values: values["info"].update(settings=None),
        lambda values: values["shards"].pop(),
        lambda values: values["shards"][0].update(file=5),
        lambda values: values["shards"][0].update(file="../../etc/passwd"),
        lambda values: values["shards"][0].update(rows="10"),
        lambda values: values["shards"].reverse(),
    ],
    ids=range(14),
)
def test_another_manifest_is_refused(tmp_path, change):
    edit(tmp_path / "o", change)
    with pytest.raises(ValueError, match=r"manifest.json is no manifest of layout 1"):
        EncodedCorpus(tmp_path / "o")
    with pytest.raises(ValueError, match=r"manifest.json cannot be read .* restore it, or remove"):
        encode(tmp_path / "o")


@pytest.mark.parametrize("process", [1, None])
def test_a_manifest_whose_processes_are_wrong_is_not_gone_on_with(tmp_path, process):
    edit(tmp_path / "o", lambda values: values["shards"][0].update(process=process))
    with pytest.raises(ValueError, match=r"manifest.json cannot be read"):
        encode(tmp_path / "o")


def test_vectors_must_be_those_that_the_manifest_tells_of(tmp_path):
    def change(values):
        values["shards"][0]["rows"], values["shards"][1]["rows"] = 9, 11

    edit(tmp_path / "o", change)
    edit(tmp_path / "p", lambda values: values["info"].update(dimension=4))
    for name, shape in (("o", r"\(9, 5\)"), ("p", r"\(10, 4\)")):
        encoded = EncodedCorpus(tmp_path / name)
        for read in (list, lambda encoded: encoded.sample(25)):
            with pytest.raises(ValueError, match=rf"vectors \(10, 5\), and by .* {shape}, which"):
                read(encoded)


@pytest.mark.parametrize("size", [1, 3, 24, 25, 100])
def test_a_sample_is_of_rows_in_their_order(tmp_path, size):
    sample = encode(tmp_path / "o").sample(size, seed=3)
    rows = [int(np.flatnonzero((row == VECTORS).all(axis=1))[0]) for row in sample]
    assert len(rows) == min(size, 25)
    assert np.array_equal(VECTORS[rows], sample)
    assert np.array_equal(sample, EncodedCorpus(tmp_path / "o").sample(size, seed=3))
    if size >= 25:
        assert np.array_equal(sample, VECTORS)


def test_there_is_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="run hybrid-fast encode with this --out"):
        EncodedCorpus(tmp_path / "none")
