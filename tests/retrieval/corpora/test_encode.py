"""A corpus as a folder of vectors: what it holds, and what cannot be encoded."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hashed_corpora import CORPUS, Hashing, changed, content, corpus_of, encode

from hybrid_fast.models import BiEncoder


@pytest.mark.parametrize(("size", "rows"), [(1, 1), (1, 10), (9, 10), (10, 10), (11, 10), (25, 4)])
def test_vectors_ids_languages_and_texts_are_in_the_order_of_the_corpus(tmp_path, size, rows):
    corpus, model = corpus_of(size), Hashing()
    encoded = encode(tmp_path / "o", model, corpus, shard_rows=rows, store_texts=True)
    shards = list(encoded)
    assert [len(shard.ids) for shard in shards] == [
        min(rows, size - start) for start in range(0, size, rows)
    ]
    found = [row for shard in shards for row in zip(*shard[:2], shard.texts, strict=True)]
    assert found == corpus
    vectors = np.concatenate([shard.vectors for shard in shards])
    assert np.array_equal(vectors, model.encode_passages([text.text for text in corpus]))
    languages = [text.language for text in corpus]
    assert encoded.manifest.languages == {name: languages.count(name) for name in set(languages)}
    assert len(encoded) == size


def test_a_static_encoder_gives_the_vectors_of_its_encode_passages(tmp_path):
    texts = [text.text for text in CORPUS]
    model = BiEncoder.static(texts, dim=8, vocab_size=100, passage_prompt="passage ")
    encoded = encode(tmp_path / "o", model)
    assert np.array_equal(
        np.concatenate([shard.vectors for shard in encoded]), model.encode_passages(texts)
    )
    assert encoded.info.settings["prompts"] == {"query": "", "passage": "passage "}
    assert (encoded.info.similarity, encoded.info.dimension) == ("cosine", 8)
    assert pq.read_schema(tmp_path / "o" / "shard-00000.parquet").names == [
        *("id", "language", "vector")
    ]


def test_a_shard_is_encoded_longest_first_and_equal_texts_once(tmp_path):
    model = Hashing()
    encode(tmp_path / "o", model, shard_rows=100)
    assert len(model.encoded) == len({text.text for text in CORPUS}) < len(CORPUS)
    lengths = [len(text) for text in model.encoded]
    assert lengths == sorted(lengths, reverse=True)


def test_what_a_manifest_says(tmp_path):
    encode(tmp_path / "o", batch_size=np.int64(3), shard_rows=np.int64(10))
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    assert (manifest["rows"], manifest["shard_rows"], manifest["corpus"]) == (25, 10, "list")
    (process,) = manifest["made_by"]["processes"]
    assert process["threads"] == torch.get_num_threads()
    assert process["batch_size"] == 3
    assert process["versions"]["torch"] == torch.__version__
    assert {shard["process"] for shard in manifest["shards"]} == {0}


def test_float16_halves_vectors_or_refuses_them(tmp_path):
    encoded = encode(tmp_path / "o", vector_dtype="float16")
    assert pq.read_table(tmp_path / "o" / "shard-00000.parquet")["vector"].type.value_type == (
        "halffloat"
    )
    exact = Hashing().encode_passages([text.text for text in CORPUS])
    found = np.concatenate([shard.vectors for shard in encoded])
    assert np.array_equal(found, exact.astype(np.float16).astype(np.float32))
    with pytest.raises(ValueError, match=r"the vector of text 'p\d' is beyond the range of float"):
        encode(tmp_path / "large", Hashing(scale=1e6), vector_dtype="float16")
    assert not (tmp_path / "large").exists()
    with pytest.raises(ValueError, match="beyond the range of float16"):  # all become 0
        encode(tmp_path / "small", Hashing(scale=1e-9), vector_dtype="float16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": []}, "list has no texts to encode"),
        ({"shard_rows": 0}, "shard_rows is 0; it must be a whole number"),
        ({"shard_rows": True}, "shard_rows is True"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"vector_dtype": "float15"}, "did you mean 'float16'"),
        ({"model": Hashing(scale=np.nan)}, "NaN or infinity"),
        ({"corpus": changed(12, text=" \n")}, r"text of text 12 of list \(id 'p12'\) is empty"),
        ({"corpus": changed(12, id="p3")}, "texts 3 and 12 of list have one id, 'p3'"),
        ({"corpus": changed(12, text="\ud83d")}, "surrogate pair"),
        ({"corpus": changed(12, language="xx")}, "the language of text 12 of list .* unknown"),
    ],
    ids=range(10),
)
def test_what_cannot_be_encoded(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        encode(tmp_path / "deep" / "o", **{"shard_rows": 100, **options})
    assert content(tmp_path) == {}


def test_files_are_read_by_their_names(tmp_path):
    lines = [json.dumps(dict(zip(("id", "lang", "text"), text, strict=True))) for text in CORPUS]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    encoded = encode(tmp_path / "o", corpus=tmp_path / "c.jsonl")
    assert [text_id for shard in encoded for text_id in shard.ids] == [t.id for t in CORPUS]
    encode(tmp_path / "o")  # of equal texts


@pytest.mark.slow
def test_a_real_encoder_gives_the_vectors_of_its_encode_passages(tmp_path, real_encoder):
    model = BiEncoder.from_pretrained(real_encoder)
    encoded = encode(tmp_path / "o", model, shard_rows=100)
    expected = model.encode_passages([text.text for text in CORPUS])
    (shard,) = encoded
    assert np.abs(shard.vectors - expected).max() < 1e-6
