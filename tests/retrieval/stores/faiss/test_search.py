"""Searches by an index of FAISS: recall, filters, deleted and later rows, and exact scores."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from store_cases import made_info

from hybrid_fast.retrieval.stores import Rows, create_store, open_store
from hybrid_fast.retrieval.stores.faiss import rows as faiss_rows
from hybrid_fast.retrieval.stores.faiss import search as faiss_search
from hybrid_fast.retrieval.stores.faiss import upkeep

DIMENSION, NUM_ROWS = 16, 700
KINDS = ["hnsw", "ivf-pq", "ivf-sq8", "sq8", "PQ4x4fs", "OPQ4_16,IVF8,PQ4np", "IVF8,PQ4,RFlat"]


def clustered(num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((30, DIMENSION))
    vectors = centres[rng.integers(0, 30, num)] + 0.4 * rng.standard_normal((num, DIMENSION))
    return vectors.astype(np.float32)


def rows_of(num: int, first: int = 0, seed: int = 1) -> Rows:
    ids = [f"doc {number}" for number in range(first, first + num)]
    return Rows(ids, ["en" if number % 8 else "de" for number in range(num)], clustered(num, seed))


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    """Make a store with an index; filters are left to it however few rows they leave."""
    monkeypatch.setattr(faiss_search, "EXACT_ROWS", 0)
    opened = []

    def make(kind, similarity="cosine", **options):
        address = f"faiss:{tmp_path}/store"
        info = made_info(similarity, DIMENSION)
        with create_store(address, info, index=kind, **options) as store:
            store.add(rows_of(NUM_ROWS))
        opened.append(open_store(address))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def recall(store, k=10, languages=None, num_queries=40) -> float:
    """Return how much of exact search is found; scores and order are checked on the way."""
    queries = clustered(num_queries, 2)
    found = store.search(queries, k, languages)
    true = store._find(None, queries, k, languages)
    shares = []
    for ids, truth, languages_of, scores in zip(
        found.ids, true.ids, found.languages, found.scores, strict=True
    ):
        assert len(ids) == len(truth) == len(set(ids))
        assert languages is None or set(languages_of) <= set(languages)
        assert (np.diff(scores[: len(ids)]) <= 0).all()
        shares.append(len({*ids} & {*truth}) / len(truth))
    return float(np.mean(shares))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_finds_nearly_all_and_filters(indexed, kind, similarity):
    store = indexed(kind, similarity)
    assert not store.exact
    assert recall(store) > 0.85
    assert recall(store, languages=["de"]) > 0.85  # an eighth of the rows
    assert recall(store, k=150) > 0.6
    assert recall(store, k=NUM_ROWS + 5) == 1


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq", "PQ4x4fs"])
def test_what_it_finds_has_exact_scores(indexed, kind):
    store = indexed(kind)
    queries = clustered(5, 3)
    found, true = store.search(queries, 10), store._find(None, queries, NUM_ROWS, None)
    for ids, scores, all_ids, all_scores in zip(
        found.ids, found.scores, true.ids, true.scores, strict=True
    ):
        exact = dict(zip(all_ids, all_scores, strict=True))
        np.testing.assert_allclose(scores, [exact[each] for each in ids], atol=1e-6)


@pytest.mark.parametrize("kind", ["hnsw", "ivf-sq8", "PQ4x4fs"])
def test_deleted_and_later_rows(indexed, kind, monkeypatch):
    store = indexed(kind)
    store.delete([f"doc {number}" for number in range(100)])
    store.add(rows_of(50, 10_000, seed=5))
    for _ in range(2):
        assert store.count() == 650
        found = store.search(clustered(700, 1)[:100], 5)
        assert not {each for ids in found.ids for each in ids} & {f"doc {n}" for n in range(100)}
        assert recall(store) > 0.85
        own = store.search(rows_of(50, 10_000, seed=5).vectors, 1)
        assert own.ids == [[f"doc {number}"] for number in range(10_000, 10_050)]
        assert len(store._search.index) == NUM_ROWS  # the later ones are compared exactly
        store.commit()
    monkeypatch.setattr(upkeep, "TAIL_ROWS", 60)
    store.add(rows_of(20, 20_000, seed=6))
    store.commit()
    assert len(store._search.index) == NUM_ROWS + 70  # now they are in it
    store.close()
    assert recall(open_store(store.address)) > 0.85


def test_many_deleted_rows_make_the_index_anew(indexed):
    store = indexed("ivf-sq8")
    store.delete([f"doc {number}" for number in range(300)])
    store.commit()
    assert len(store._search.index) == 400
    assert recall(store) > 0.85


def test_effort_is_chosen_for_a_recall_and_can_be_set(indexed):
    store = indexed("ivf-sq8", target_recall=0.6)
    low = store._search
    assert low.recall >= 0.6
    assert "nprobe" in store.index
    store.close()
    whole = open_store(store.address, nprobe=low.index.most, refine=4)
    assert recall(whole) == 1
    with pytest.raises(ValueError, match=r"no ef_search.*IVF"):
        open_store(store.address, ef_search=3)
    with pytest.raises(ValueError, match="nprobe is 0"):
        open_store(store.address, nprobe=0)


def between_clusters(num: int, seed: int) -> np.ndarray:
    """Queries far from rows, whose neighbours lie in many lists."""
    return (clustered(num, seed) + clustered(num, seed + 1) + clustered(num, seed + 2)) / 3


def found_of(store, queries) -> float:
    found, true = store.search(queries, 10), store.search_exactly(queries, 10)
    pairs = zip(found.ids, true.ids, strict=True)
    return float(np.mean([len({*ids} & {*truth}) / 10 for ids, truth in pairs]))


def test_effort_is_chosen_for_the_queries_that_are_given(indexed, monkeypatch):
    store = indexed("ivf-sq8", target_recall=0.9)
    asked = between_clusters(300, 7)
    of_rows, before = store._search.effort, found_of(store, asked)
    assert before < 0.8, "what is chosen for rows does not suffice"
    store.tune(asked[::2])
    store.commit()
    effort = store._search.effort
    assert effort > of_rows
    store.close()
    store = open_store(store.address)
    assert store._search.effort == effort
    assert found_of(store, asked[1::2]) > 0.87
    assert store._search.recall >= 0.9
    # Later choices are for the same queries.
    monkeypatch.setattr(upkeep, "TAIL_ROWS", 60)
    store.add(rows_of(70, 10_000, seed=5))
    store.commit()
    assert len(store._search.index) == NUM_ROWS + 70
    assert found_of(store, asked[1::2]) > 0.87
    store.delete([f"doc {number}" for number in range(400)])
    store.commit()
    assert len(store._search.index) == NUM_ROWS - 330
    assert found_of(store, asked[1::2]) > 0.87
    store.close()
    assert open_store(store.address)._rows.queries.shape == (150, DIMENSION)


def test_tuned_while_there_is_nothing_to_find(indexed):
    store = indexed("ivf-sq8")
    store.delete([f"doc {number}" for number in range(NUM_ROWS)])
    store.tune(clustered(4, 2))
    store.commit()
    assert store.search(clustered(4, 2), 3).ids == [[]] * 4


def test_queries_that_searches_cannot_be_tuned_to(indexed):
    store = indexed("hnsw")
    with pytest.raises(ValueError, match="no queries to tune to"):
        store.tune(np.empty((0, DIMENSION), np.float32))
    with pytest.raises(ValueError, match=r"queries have shape \(3, 5\)"):
        store.tune(np.ones((3, 5), np.float32))
    with open_store(store.address) as writer:
        writer.delete(["doc 1"])
        with pytest.raises(FileExistsError):
            store.tune(clustered(4, 2))


def test_effort_that_was_given_is_not_kept(indexed):
    store = indexed("hnsw")
    chosen, address = store.index, store.address
    store.close()
    with open_store(address, ef_search=5000, refine=9) as store:
        assert "ef_search 5000, 9 candidates" in store.index
        store.add(rows_of(1, 10_000))
        assert "ef_search 5000, 9 candidates" in store.index
    assert open_store(address).index == chosen


def test_deleted_rows_do_not_make_searches_careless(tmp_path):
    """Few enough rows that a search with a filter would be exact, whatever the effort."""
    efforts = []
    for deleted in ([], ["doc 5"]):
        address = f"faiss:{tmp_path}/{len(deleted)}"
        with create_store(address, made_info(dimension=DIMENSION), index="ivf-sq8") as store:
            store.add(rows_of(NUM_ROWS))
            store.delete(deleted)
        efforts.append(store.index)
    assert efforts[0] == efforts[1]


def test_a_writer_begins_at_the_index_that_another_left(indexed):
    store = indexed("ivf-sq8")
    with open_store(store.address) as other:
        other.delete([f"doc {number}" for number in range(300)])
    store.add(rows_of(1, 10_000, seed=5))
    assert recall(store) > 0.85
    rest = rows_of(NUM_ROWS)
    found = store.search(rest.vectors[300:], 1).ids
    assert found == [[each] for each in rest.ids[300:]]


def test_a_recall_that_is_not_reached_is_said(indexed, caplog):
    indexed("PQ2x4fs", target_recall=1.0, refine=0)
    assert "of the true first 10" in caplog.text


def test_without_refine_scores_are_those_of_the_index(indexed):
    store = indexed("PQ4x4fs", refine=0)
    queries = clustered(5, 3)
    found, true = store.search(queries, 3), store._find(None, queries, 3, None)
    assert np.abs(found.scores - true.scores).max() > 1e-4


def test_a_commit_that_failed_can_be_tried_again(tmp_path, monkeypatch):
    def full(path, array):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with create_store(
        f"faiss:{tmp_path}/store", made_info(dimension=DIMENSION), index="sq8"
    ) as store:
        store.add(rows_of(NUM_ROWS))
        with monkeypatch.context() as patch:
            patch.setattr(faiss_rows, "write_array", full)  # the index is written by then
            with pytest.raises(OSError, match="No space"):
                store.commit()
    assert recall(open_store(store.address)) > 0.85


def test_a_store_with_too_few_rows_left_is_searched_exactly(indexed, caplog):
    store = indexed("ivf-pq")
    store.delete([f"doc {number}" for number in range(680)])
    store.commit()
    assert "is searched exactly for now: 20 vectors do not train" in caplog.text
    assert store.exact
    store.add(rows_of(NUM_ROWS, 10_000))
    store.commit()
    store.close()
    assert open_store(store.address).index.startswith("IVF")


def test_too_few_rows_for_an_index(tmp_path):
    store = create_store(f"faiss:{tmp_path}/store", made_info(dimension=DIMENSION), index="ivf-pq")
    store.add(rows_of(40))
    with pytest.raises(ValueError, match=r"40 vectors do not train.*use flat"):
        store.commit()
    store.close()
    assert not any(tmp_path.iterdir())


def test_an_index_that_takes_no_parameters(indexed):
    with pytest.raises(ValueError, match=r"search params not supported.*use another index"):
        indexed("HNSW8_2+PQ4")


def test_a_damaged_index(indexed):
    store = indexed("hnsw")
    (path,) = store.folder.glob("build-*/index-1.faiss")
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(ValueError, match=r"index-1\.faiss is damaged"):
        open_store(store.address)
    with pytest.raises(ValueError, match=r"index-1\.faiss is damaged: FAISS"):
        open_store(store.address, verify=False)


def test_filters_that_leave_few_rows_are_searched_exactly(indexed, monkeypatch):
    store = indexed("PQ2x4fs", refine=0)
    assert recall(store, languages=["de"]) < 1
    monkeypatch.setattr(faiss_search, "EXACT_ROWS", NUM_ROWS // 8 + 1)
    assert recall(store, languages=["de"]) == 1
