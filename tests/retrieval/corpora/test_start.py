"""Starts that go on where others ended, however these ended, and what they refuse."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hashed_corpora import CORPUS, Hashing, changed, content, encode

from hybrid_fast.common.locks import sole_use
from hybrid_fast.cpu import Choice, ways
from hybrid_fast.retrieval import EncodedCorpus


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    """The bytes of the corpus encoded at once."""
    encode(tmp_path / "whole")
    return content(tmp_path / "whole")


def start(folder: Path, num_texts: int, **options) -> None:
    """Begin a folder, and be interrupted after some texts."""
    with pytest.raises(KeyboardInterrupt):
        encode(folder, Hashing(ends_after=num_texts), **options)


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
def test_a_kill_at_any_step_is_harmless(tmp_path, monkeypatch, is_done):
    """Kill at each renaming and removal, before or after it; a dead process does nothing more."""
    encode(tmp_path / "whole", corpus=CORPUS[:12])
    whole = content(tmp_path / "whole")
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
            encode(folder, corpus=CORPUS[:12])
        except Killed:
            is_whole = (folder / "manifest.json").exists()
        else:
            break
        steps.update(left=1000, is_dead=False)
        if is_whole:
            assert sum(len(shard.ids) for shard in EncodedCorpus(folder)) == 12
        encode(folder, corpus=CORPUS[:12])
        assert content(folder) == whole
        num_kills += 1
    assert num_kills > 10


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
    monkeypatch.setattr("hybrid_fast.retrieval.corpora.encode.remove_begun", lambda folder: None)
    start(tmp_path / "o", 0, vector_dtype="float16", shard_rows=3)
    assert [*content(tmp_path / "o")] == ["unfinished.json"]
    encode(tmp_path / "o")
    assert content(tmp_path / "o") == whole


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
        with pytest.raises(ValueError, match=r"00001.parquet is .* encodes it again"):
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
    for name in ("shard-00001.parquet", "shard-00009.parquet"):
        (tmp_path / "o" / name).write_text("half")
    for name in (".shard-00001.parquet.0.partial", ".ways.json.1.partial", ".ways.json.lock"):
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
    for name, message in (("ways.json", "holds ways.json"), ("unfinished.json", "cannot be read")):
        (tmp_path / "mine.txt").rename(tmp_path / name)
        with pytest.raises((FileExistsError, ValueError), match=message):
            encode(tmp_path)
        assert content(tmp_path) == {name: b"mine"}
        (tmp_path / name).rename(tmp_path / "mine.txt")


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


class Choosing(Hashing):
    """A model whose vectors depend on the way that is found to be the fastest."""

    def encode_passages(self, texts):
        names = dict.fromkeys(("torch", "core"))
        way = ways.fastest("gelu", "4 x 4", "torch 2", lambda: names)
        return super().encode_passages(texts) * {"torch": 1, "core": 1.001}[way]

    encode_queries = encode_passages


@pytest.fixture
def measured(monkeypatch):
    """Let a new process find a way to be the fastest."""
    monkeypatch.delenv("HYBRID_FAST_WAYS", raising=False)

    def find(way: str) -> None:
        monkeypatch.setattr(ways, "_chosen", {})
        monkeypatch.setattr(ways, "compare", lambda *given: Choice(way, "measured"))

    return find


def test_all_starts_compute_by_the_ways_of_the_first(tmp_path, measured, monkeypatch, caplog):
    measured("core")
    encode(tmp_path / "other", Choosing())
    measured("torch")
    encode(tmp_path / "whole", Choosing())
    whole, folder = content(tmp_path / "whole"), tmp_path / "o"
    assert content(tmp_path / "other") != whole
    with pytest.raises(KeyboardInterrupt):
        encode(folder, Choosing(ends_after=10))
    measured("core")
    encoded = encode(folder, Choosing())
    assert content(folder) == whole
    assert encoded.manifest.made_by["ways"] == {"torch 2": {"gelu 4 x 4": "torch"}}
    flip(folder / "shard-00001.parquet")
    encode(folder, Choosing())
    assert content(folder) == whole
    assert "another kind of process" not in caplog.text
    monkeypatch.setenv("HYBRID_FAST_WAYS", "gelu=core")
    flip(folder / "shard-00001.parquet")
    encode(folder, Choosing())
    assert "ways None there, 'gelu=core' here" in caplog.text
