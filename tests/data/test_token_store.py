"""The token store: right ids, shared by equal texts, and never read when it is not whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from damaged_files import assert_damage_is_noticed

from hybrid_fast.data import AlignedTable, TokenStore, open_token_store, table_file, token_store

LONGEST = 12


def make_table(num_groups: int = 5) -> AlignedTable:
    """Queries and passages with repeats, titles, gaps, and hard negatives in some rows."""
    keys = [(group, lang) for group in range(num_groups) for lang in ("de", "en")]
    return AlignedTable.from_columns(
        {
            "group_id": [str(group) for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [None if group == 1 else f"{lang} question {group}" for group, lang in keys],
            "passage": [f"answer {group % 3}" for group, _ in keys],
            "passage_id": [f"{group} {lang}" for group, lang in keys],
            "title": ["title" if group == 2 else None for group, _ in keys],
            "negatives": [
                [f"answer {group % 2}", f"{lang} wrong {group}"] if group in (0, 3) else None
                for group, lang in keys
            ],
        }
    )


class Tokenizer:
    """Characters as ids; counts what it is asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        self.texts += texts
        ids = [[ord(character) for character in text[:LONGEST]] for text in texts]
        flat = np.array([token for row in ids for token in row], np.int32)
        return flat, np.array([len(row) for row in ids]), sum(len(t) > LONGEST for t in texts)


def open_store(folder: Path, tokenize: Tokenizer | None = None, **options) -> TokenStore:
    arguments = {"side": "passage", "key": "characters", **options}
    table = arguments.pop("table", None) or make_table()
    return open_token_store(table, tokenize=tokenize or Tokenizer(), folder=folder, **arguments)


def text_of(store: TokenStore, number: int) -> str:
    begin, end = store.tokens.offsets[number : number + 2]
    return "".join(map(chr, store.tokens.ids[begin:end]))


def test_rows_and_negatives_lead_to_the_ids_of_their_texts(tmp_path):
    table = make_table()
    passages = open_store(tmp_path)
    assert passages.tokens.ids.dtype == np.uint16
    rows = np.arange(len(table))
    expected = [text[:LONGEST] for text in table.passages(rows)]
    assert [text_of(passages, number) for number in passages.text_numbers(rows)] == expected
    for some in (rows, rows[::-1], np.array([6, 2, 2])):
        negatives = [text[:LONGEST] for row in table.negatives(some) for text in row or []]
        assert [text_of(passages, n) for n in passages.negative_numbers(some)] == negatives
    queries = open_store(tmp_path, side="query")
    has = np.flatnonzero(table.has_query)
    expected = [text[:LONGEST] for text in table.queries(has)]
    assert [text_of(queries, number) for number in queries.text_numbers(has)] == expected
    assert not queries.has_negatives


class Shifted(Tokenizer):
    """Ids of which the largest is given: a vocabulary with a hole before its last token."""

    def __init__(self, largest: int, text: str = "answer 1") -> None:
        super().__init__()
        self.largest, self.text = largest, text

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        ids, lengths, truncated = super().__call__(texts)
        ids = ids.astype(np.int64)
        if self.text in texts:
            ids[lengths[: texts.index(self.text)].sum()] = self.largest
        return ids, lengths, truncated


@pytest.mark.parametrize("at_a_time", [1, 2, 10_000])
@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(2**16 - 1, np.uint16), (2**16, np.int32), (2**16 + 65, np.int32), (2**31 - 1, np.int32)],
)
def test_the_width_of_ids_follows_from_the_largest(
    tmp_path, monkeypatch, largest, dtype, at_a_time
):
    monkeypatch.setattr(token_store, "_TEXTS_AT_A_TIME", at_a_time)
    monkeypatch.setattr(token_store, "_BYTES_AT_A_TIME", 6)
    store = open_store(tmp_path, Shifted(largest))
    plain = open_store(tmp_path / "plain")
    assert store.tokens.ids.dtype == dtype
    expected = plain.tokens.ids.astype(np.int64)
    number = store.text_numbers(np.array([2]))[0]  # of "answer 1"
    expected[plain.tokens.offsets[number]] = largest
    assert store.tokens.ids.tolist() == expected.tolist()
    assert {path.name for path in store.folder.iterdir()} == {
        *("store.json", "ids", "offsets", "rows", "negatives", "negative_offsets")
    }


@pytest.mark.parametrize("largest", [-1, 2**31, -(2**40), 2**62])
def test_ids_that_do_not_fit_are_named_with_their_text(tmp_path, largest):
    with pytest.raises(ValueError, match=rf"gave the id {largest} for a token of 'answer 1'; ids"):
        open_store(tmp_path, Shifted(largest))
    assert list(tmp_path.iterdir()) == []


def test_ids_that_belong_to_no_text_are_an_error(tmp_path):
    def tokenize(texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        return np.arange(3), np.ones(len(texts), np.int64), 0

    with pytest.raises(ValueError, match="gave 3 ids for texts of 7 tokens"):
        open_store(tmp_path, tokenize)


def test_each_different_text_is_tokenised_once_and_never_again(tmp_path):
    tokenize = Tokenizer()
    store = open_store(tmp_path, tokenize)
    table = make_table()
    everything = table.passages(range(10)) + [
        t for row in table.negatives(range(10)) for t in row or []
    ]
    assert sorted(tokenize.texts) == sorted(set(everything))
    numbers = np.concatenate(
        [store.text_numbers(np.arange(10)), store.negative_numbers(np.arange(10))]
    )
    assert np.array_equal(
        numbers[:, None] == numbers, np.array([[a == b for b in everything] for a in everything])
    )
    assert store.num_truncated == sum(len(text) > LONGEST for text in set(everything)) > 0
    again = Tokenizer()
    assert open_store(tmp_path, again).num_truncated == store.num_truncated
    assert again.texts == []


def test_a_row_without_a_text_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="row 3 has no text on this side"):
        open_store(tmp_path, side="query").text_numbers(np.array([0, 3]))


@pytest.mark.parametrize(
    "other",
    [
        {"key": "words"},
        {"side": "query"},
        {"table": make_table(num_groups=6)},
    ],
)
def test_another_table_side_or_tokenizer_has_a_store_of_its_own(tmp_path, other):
    open_store(tmp_path)
    tokenize = Tokenizer()
    open_store(tmp_path, tokenize, **other)
    assert tokenize.texts
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_texts_of_a_large_table_make_no_store(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "_CHEAP_BYTES", 0)
    make_table().save(tmp_path / "t")
    path = tmp_path / "t" / "table.arrow"
    path.write_bytes(path.read_bytes().replace(b"answer 1", b"answer l", 1))
    with pytest.raises(ValueError, match=r"table\.arrow .*damaged"):
        open_store(tmp_path / "stores", table=AlignedTable.load(tmp_path / "t"))
    assert not (tmp_path / "stores").exists()


def only_folder(folder: Path) -> Path:
    (store,) = folder.iterdir()
    return store


@pytest.mark.parametrize("name", ["ids", "offsets", "rows", "negatives", "negative_offsets"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_array_is_noticed_and_built_again(tmp_path, caplog, name, damage):
    open_store(tmp_path)
    path = only_folder(tmp_path) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-1])
    assert_built_again(tmp_path, caplog)


@pytest.mark.parametrize("name", ["ids", "offsets", "rows", "store.json"])
def test_no_damage_of_a_file_is_read(tmp_path, name):
    store = open_store(tmp_path)

    def load():
        read = pickle.loads(pickle.dumps(store))
        arrays = (read.tokens.ids, read.tokens.offsets, read.rows, read.negatives)
        return [array.tolist() for array in arrays], read.tokens.ids.dtype, read.num_truncated

    assert_damage_is_noticed(store.folder / name, load)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"version": 1}'])
def test_a_damaged_description_is_noticed_and_the_store_built_again(tmp_path, caplog, content):
    open_store(tmp_path)
    (only_folder(tmp_path) / "store.json").write_bytes(content)
    assert_built_again(tmp_path, caplog)


def test_a_store_under_the_name_of_another_is_not_read(tmp_path, caplog):
    open_store(tmp_path)
    path = only_folder(tmp_path)
    open_store(tmp_path / "other", key="words")
    shutil.rmtree(path)
    only_folder(tmp_path / "other").rename(path)
    (tmp_path / "other").rmdir()
    assert_built_again(tmp_path, caplog)


def assert_built_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenize = Tokenizer()
    store = open_store(folder, tokenize)
    assert tokenize.texts
    assert "is built again" in caplog.text
    assert text_of(store, 0) == make_table().passages([0])[0]
    untouched = Tokenizer()
    open_store(folder, untouched)
    assert untouched.texts == []


def kill_while_building(folder: Path) -> None:
    def tokenize(texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        os.kill(os.getpid(), signal.SIGKILL)
        return Tokenizer()(texts)

    open_store(folder, tokenize)


def test_an_interrupted_build_leaves_nothing_that_is_taken_for_whole(tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=kill_while_building, args=(tmp_path,)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    tokenize = Tokenizer()
    open_store(tmp_path, tokenize)
    assert tokenize.texts


def test_a_failing_build_leaves_nothing_at_all(tmp_path):
    def fail(texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        raise ValueError("the text '...' has no token")

    with pytest.raises(ValueError, match="has no token"):
        open_store(tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_build_at_once_the_later_takes_the_store_of_the_earlier(tmp_path):
    class Late(Tokenizer):
        def __call__(self, texts):
            if not self.texts:
                open_store(tmp_path)  # another process is quicker
            return super().__call__(texts)

    late = Late()
    store = open_store(tmp_path, late)
    assert late.texts
    assert store.folder == only_folder(tmp_path)


def test_a_pickled_store_maps_the_same_files(tmp_path):
    store = open_store(tmp_path)
    content = pickle.dumps(store)
    assert len(content) < 1000
    copy = pickle.loads(content)
    assert np.array_equal(copy.tokens.ids, store.tokens.ids)
    assert np.array_equal(copy.rows, store.rows)


def test_the_description_names_what_is_there(tmp_path):
    store = open_store(tmp_path)
    description = json.loads((store.folder / "store.json").read_text())
    assert description["arrays"]["ids"]["num_bytes"] == store.tokens.ids.nbytes
    assert description["fingerprint"] == store.folder.name
