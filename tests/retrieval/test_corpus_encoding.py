"""A corpus as a folder of vectors, and starts that go on where others ended."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from corpora import Hashing, content, corpus_of

from hybrid_fast import encode_corpus
from hybrid_fast.common.locks import sole_use
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval import EncodedCorpus

CORPUS = corpus_of(25)


def encode(folder: Path, model: object | None = None, corpus=CORPUS, **options) -> EncodedCorpus:
    given = {"shard_rows": 10, **options}
    return encode_corpus(model or Hashing(), corpus, folder, **given)


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    """The bytes of the corpus encoded at once."""
    encode(tmp_path / "whole")
    return content(tmp_path / "whole")


def start(folder: Path, num_texts: int, **options) -> None:
    """Begin a folder, and be interrupted after some texts."""
    with pytest.raises(KeyboardInterrupt):
        encode(folder, Hashing(ends_after=num_texts), **options)


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
    encode(tmp_path / "o", batch_size=3)
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    assert (manifest["rows"], manifest["shard_rows"], manifest["corpus"]) == (25, 10, "list")
    (process,) = manifest["made_by"]["processes"]
    assert process["threads"] == torch.get_num_threads()
    assert process["batch_size"] == 3
    assert process["versions"]["torch"] == torch.__version__
    assert {shard["process"] for shard in manifest["shards"]} == {0}


@pytest.mark.parametrize("num_texts", [0, 9, 10, 19, 22])
def test_a_start_goes_on_where_one_was_interrupted(tmp_path, whole, caplog, num_texts):
    folder = tmp_path / "o"
    start(folder, num_texts)
    num_finished = len(list(folder.glob("*.json"))) - 1 if folder.exists() else 0
    assert folder.exists() == (num_finished > 0)
    assert ("start again to go on" in caplog.text) == (num_finished > 0)
    if num_finished:
        with pytest.raises(FileNotFoundError, match="or not to the end"):
            EncodedCorpus(folder)
    model = Hashing()
    encode(folder, model)
    assert content(folder) == whole
    rest = {text.text for text in CORPUS[10 * num_finished :]}
    assert set(model.encoded) == rest


def test_a_second_start_writes_nothing(tmp_path, whole, caplog):
    caplog.set_level(logging.INFO)
    model = Hashing()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()}
    assert len(encode(tmp_path / "whole", model, shard_rows=None)) == 25
    assert model.encoded == []
    assert "is whole: nothing is left to encode" in caplog.text
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("is_done", [False, True])
def test_a_kill_at_any_step_is_harmless(tmp_path, monkeypatch, whole, is_done):
    """Kill at each renaming and removal, before or after it; a dead process does nothing more."""
    steps = {"left": 0, "is_dead": False}

    def killing(method):
        def step(*arguments, **options):
            if steps["is_dead"]:
                raise Killed
            steps["left"] -= 1
            steps["is_dead"] = steps["left"] < 0
            if is_done or not steps["is_dead"]:
                method(*arguments, **options)
            if steps["is_dead"]:
                raise Killed

        return step

    for name in ("replace", "unlink", "rmdir"):
        monkeypatch.setattr(Path, name, killing(getattr(Path, name)))
    num_kills = 0
    while True:
        folder = tmp_path / f"o{num_kills}"
        steps.update(left=num_kills, is_dead=False)
        try:
            encode(folder)
        except Killed:
            is_whole = (folder / "manifest.json").exists()
        else:
            break
        steps.update(left=1000, is_dead=False)
        if is_whole:
            assert sum(len(shard.ids) for shard in EncodedCorpus(folder)) == 25
        encode(folder)
        assert content(folder) == whole
        num_kills += 1
    assert num_kills > 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vector_dtype": "float16"}, "vector_dtype was 'float32' and is now 'float16'"),
        ({"store_texts": True, "shard_rows": 9}, "store_texts was False .* shard_rows was 10 and"),
        ({"model": Hashing(6)}, "vectors there have 5 dimensions, these 6"),
        ({"model": Hashing(scale=-1)}, "embed a fixed passage differently"),
    ],
)
@pytest.mark.parametrize("num_texts", [10, None])
def test_another_start_must_be_of_the_same_model_and_settings(
    tmp_path, options, message, num_texts
):
    folder = tmp_path / "o"
    start(folder, num_texts) if num_texts else encode(folder)
    before = content(folder)
    with pytest.raises(ValueError, match=message) as caught:
        encode(folder, **options)
    assert "choose another folder" in str(caught.value)
    assert content(folder) == before


def test_the_length_of_texts_may_not_change(tmp_path):
    model = Hashing()
    model.max_length = 7
    encode(tmp_path / "o", model)
    with pytest.raises(ValueError, match="max_length was 7 and is now None"):
        encode(tmp_path / "o")


def test_settings_may_change_while_no_shard_is_finished(tmp_path, monkeypatch, whole):
    monkeypatch.setattr("hybrid_fast.retrieval.corpus_encoding.remove_begun", lambda folder: None)
    start(tmp_path / "o", 0, vector_dtype="float16", shard_rows=3)
    assert [*content(tmp_path / "o")] == ["unfinished.json"]
    encode(tmp_path / "o")
    assert content(tmp_path / "o") == whole


def changed(row: int, **values: str):
    return [*CORPUS[:row], CORPUS[row]._replace(**values), *CORPUS[row + 1 :]]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (changed(13, id="x"), r"text 13 had the id 'p13' and has 'x' \(shard-00001.parquet\)"),
        (changed(10, language="fr"), "text 10 had the language 'de' and has 'fr'"),
        (changed(19, text="x"), "texts 10 to 19"),
        (CORPUS[1:], "text 0 had the id 'p0' and has 'p1'"),
        (CORPUS[:20], "it had more texts than the 20 of now"),
        (CORPUS[:24], "it had 5 texts from text 20 on, 4 now"),
        ([*CORPUS, ("x", "de", "x")], "it had 5 texts from text 20 on, 6 now"),
    ],
    ids=range(7),
)
def test_a_corpus_may_not_change(tmp_path, whole, corpus, message):
    with pytest.raises(ValueError, match=message) as caught:
        encode(tmp_path / "whole", corpus=corpus)
    assert "restore it, or encode it to another folder" in str(caught.value)
    assert content(tmp_path / "whole") == whole


def test_a_corpus_may_not_grow_by_shards(tmp_path):
    encode(tmp_path / "o", corpus=CORPUS[:20])
    with pytest.raises(ValueError, match="it had no text 20; restore"):
        encode(tmp_path / "o")


def test_the_text_that_changed_is_named_where_texts_are_kept(tmp_path):
    start(tmp_path / "o", 20, store_texts=True)
    with pytest.raises(ValueError, match="text 7 had the text 'text 0' and has 'x'"):
        encode(tmp_path / "o", corpus=changed(7, text="x"), store_texts=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("num_texts", [20, None])
def test_a_damaged_shard_alone_is_encoded_again(tmp_path, whole, caplog, damage, num_texts):
    folder = tmp_path / "o"
    start(folder, num_texts) if num_texts else encode(folder)
    damage(folder / "shard-00001.parquet")
    if num_texts is None:
        with pytest.raises(ValueError, match="shard-00001.parquet is .* encodes it again"):
            list(EncodedCorpus(folder))
    model = Hashing()
    encode(folder, model)
    assert content(folder) == whole
    expected = CORPUS[10:20] if num_texts is None else CORPUS[10:]
    assert set(model.encoded) == {text.text for text in expected}
    assert "shard-00001.parquet" in caplog.text


def test_a_damaged_record_and_a_damaged_header(tmp_path, whole, caplog):
    start(tmp_path / "o", 20)
    (tmp_path / "o" / "shard-00000.json").write_text("{")
    model = Hashing()
    encode(tmp_path / "o", model)
    assert content(tmp_path / "o") == whole
    assert "shard-00000.json cannot be read" in caplog.text
    for text in ("{", "[]", '{"version": 7}'):
        (tmp_path / "o" / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"manifest.json cannot be read .* remove"):
            encode(tmp_path / "o")


def test_what_killed_writers_left_goes(tmp_path, whole):
    start(tmp_path / "o", 10)
    for name in (".shard-00001.parquet.0.partial", "shard-00001.parquet", "shard-00009.parquet"):
        (tmp_path / "o" / name).write_text("half")
    encode(tmp_path / "o")
    assert content(tmp_path / "o") == whole


def test_one_writer_at_a_time(tmp_path):
    with sole_use(tmp_path / "o"), pytest.raises(FileExistsError, match="o is in use by process"):
        encode(tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_no_folder_of_something_else(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds mine.txt and no encoding that was begun"):
        encode(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"mine.txt is a file"):
        encode(tmp_path / "mine.txt")
    assert content(tmp_path) == {"mine.txt": b"mine"}


def test_shards_of_other_processes_are_told_apart(tmp_path, caplog):
    start(tmp_path / "o", 10)
    encoded = encode(tmp_path / "o", batch_size=7)
    assert "batch_size None there, 7 here" in caplog.text
    sizes = [each["batch_size"] for each in encoded.manifest.made_by["processes"]]
    assert sizes == [None, 7]
    assert [shard.process for shard in encoded.manifest.shards] == [0, 1, 1]
    flip(tmp_path / "o" / "shard-00002.parquet")
    encoded = encode(tmp_path / "o")
    assert [shard.process for shard in encoded.manifest.shards] == [0, 1, 0]


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
    ],
    ids=range(9),
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
