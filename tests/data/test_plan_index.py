"""The saved language-pair index: the same plans, found beside its table, damage noticed; columns in
any form and order give the same batches."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from damaged_files import assert_damage_is_noticed

from hybrid_fast.data import AlignedTable, HybridBatchSampler, PlanIndex
from hybrid_fast.data import plan_index as plan_index_module


def columns(num_groups=400, num_languages=12, density=0.5, seed=0):
    """A table of many profiles: 400 groups of 12 languages have mixed cells besides none full."""
    rng = np.random.default_rng(seed)
    groups, languages = np.nonzero(rng.random((num_groups, num_languages)) < density)
    order = rng.permutation(len(groups))
    return groups[order], np.char.add("l", languages[order].astype(str))


def batches(index, steps=range(40), **options):
    sampler = HybridBatchSampler(index, **{"batch_size": 32, "seed": 5, **options})
    return [(b.query_rows.tolist(), b.passage_rows.tolist()) for b in map(sampler.batch, steps)]


@pytest.fixture
def index():
    return PlanIndex.from_arrays(*columns(), fingerprint="f1")


def test_a_saved_index_gives_the_same_batches(index, tmp_path):
    index.save(tmp_path / "plan.index")
    opened = PlanIndex.open(tmp_path / "plan.index", fingerprint="f1")
    assert batches(opened) == batches(index)
    assert batches(pickle.loads(pickle.dumps(opened))) == batches(index)
    assert (opened.languages, opened.num_items) == (index.languages, index.num_items)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.index"]


def test_a_sampler_with_an_index_in_memory_can_be_pickled(index):
    sampler = HybridBatchSampler(index, batch_size=16)
    copy = pickle.loads(pickle.dumps(sampler))
    assert np.array_equal(copy.batch(7).query_rows, sampler.batch(7).query_rows)


def test_the_index_of_a_loaded_table_is_kept_beside_it(tmp_path, monkeypatch):
    groups, languages = columns(60, 3)
    table = AlignedTable.from_columns(
        {
            "group_id": groups.tolist(),
            "lang": np.array(["de", "en", "th"])[np.unique(languages, return_inverse=True)[1]],
            "query": [f"question {row}" for row in range(len(groups))],
            "passage": [f"passage {row}" for row in range(len(groups))],
        }
    )
    expected = batches(table, batch_size=16)
    table.save(tmp_path / "table")
    loaded = AlignedTable.load(tmp_path / "table")
    assert loaded.fingerprint == table.fingerprint
    assert batches(PlanIndex.of_table(loaded), batch_size=16) == expected
    assert (tmp_path / "table" / "plan.index").is_file()
    monkeypatch.setattr(plan_index_module.PlanIndex, "build", None)  # must not be built again
    assert batches(AlignedTable.load(tmp_path / "table"), batch_size=16) == expected


LANGUAGES = ["ar", "de", "el", "en", "es", "hi", "th"]


def table_of_interleaved_sources(num_groups):
    groups = np.repeat(np.arange(num_groups), len(LANGUAGES))
    languages = np.tile(LANGUAGES, num_groups)
    return AlignedTable.from_columns(
        {
            "group_id": groups.tolist(),
            "lang": languages,
            "query": [f"question {row}" for row in range(len(groups))],
            "passage": [f"passage {row}" for row in range(len(groups))],
            "source": [f"source {group % 5}" for group in groups],
        }
    )


def test_neighbours_in_the_table_are_drawn_far_apart_whatever_their_sources():
    num_groups, batch_size = 1200, 60
    sampler = HybridBatchSampler(
        table_of_interleaved_sources(num_groups), batch_size=batch_size, kind="cross"
    )
    num_neighbours = 0
    for step in range(100):
        drawn = np.sort(sampler.batch(step).query_rows // len(LANGUAGES))
        num_neighbours += (np.diff(drawn) == 1).sum()
    of_random_batches = 100 * batch_size**2 / num_groups
    assert num_neighbours < 0.6 * of_random_batches


def test_sources_are_told_apart_only_where_they_are_weighted(tmp_path):
    table = table_of_interleaved_sources(60)
    weights = {"source 0": 1.0, "source 3": 2.0}
    options = {"batch_size": 8, "kind": "cross"}
    with pytest.raises(ValueError, match=r"tells sources apart.*by_source=True"):
        HybridBatchSampler(PlanIndex.of_table(table), **options, source_weights=weights)
    weighted = HybridBatchSampler(table, **options, source_weights=weights)
    drawn = np.concatenate([weighted.batch(step).query_rows for step in range(8)])
    assert set(drawn // len(LANGUAGES) % 5) == {0, 3}
    table.save(tmp_path / "table")
    loaded = AlignedTable.load(tmp_path / "table")
    again = HybridBatchSampler(loaded, **options, source_weights=weights)
    HybridBatchSampler(loaded, **options)
    assert [p.name for p in sorted((tmp_path / "table").glob("*.index"))] == [
        "plan-by-source.index",
        "plan.index",
    ]
    np.testing.assert_array_equal(again.batch(5).query_rows, weighted.batch(5).query_rows)


def test_an_index_of_another_table_is_refused(index, tmp_path):
    path = tmp_path / "plan.index"
    index.save(path)
    with pytest.raises(ValueError, match=r"index of another table.*remove it"):
        PlanIndex.open(path, fingerprint="f2")


def flipped(data):
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"no index at all" * 100, "is not a saved index"),
        (lambda data: data[:-64], "is truncated"),
        (lambda data: data[:20], "is not a saved index"),
        (lambda data: data[:8] + b"\x63" + data[9:], "has version 99 of the format"),
        (flipped, "is damaged: its checksum"),
    ],
)
def test_damage_is_one_clear_error(index, tmp_path, damage, message):
    path = tmp_path / "plan.index"
    index.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"plan.index {message}.*remove it") as caught:
        PlanIndex.open(path)
    assert "\n" not in str(caught.value)


def test_no_damaged_index_is_read(tmp_path):
    path = tmp_path / "plan.index"
    PlanIndex.from_arrays([1, 1, 2, 2], ["de", "en"] * 2, fingerprint="f").save(path)

    def load():
        opened = PlanIndex.open(path)
        return opened.languages, opened.fingerprint, batches(opened, range(3), batch_size=2)

    assert_damage_is_noticed(path, load)


def test_files_that_cannot_be_read_or_written_are_named(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.index"):
        PlanIndex.open(tmp_path / "none.index")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        index.save(tmp_path / "nowhere" / "plan.index")


FORMS = {
    "integers": lambda ids: ids,
    "NumPy strings": lambda ids: np.char.add("group ", ids.astype(str)),
    "objects": lambda ids: np.array([f"group {i}" for i in ids], object),
    "a list": lambda ids: [f"group {i}" for i in ids],
    "Arrow strings": lambda ids: pa.array([f"group {i}" for i in ids]),
    "Arrow chunks": lambda ids: pa.chunked_array(
        [[f"group {i}" for i in ids[:9]], *[[f"group {i}" for i in ids[9:]]]]
    ),
    "an Arrow dictionary": lambda ids: pa.array([f"group {i}" for i in ids]).dictionary_encode(),
    "Arrow integers": lambda ids: pa.array(ids),
}


@pytest.mark.parametrize("form", FORMS)
def test_group_ids_in_any_form_group_the_same_rows(form):
    groups, languages = columns(50, 3)
    index = PlanIndex.from_arrays(FORMS[form](groups), languages)
    for queries, passages in batches(index, batch_size=16):
        assert (groups[queries] == groups[passages]).all()
        assert len(set(groups[queries])) == 16


def test_passage_texts_serve_as_ids():
    groups, languages = np.repeat(np.arange(40), 2), np.tile(["de", "en"], 40)
    texts = [f"passage {group // 4}, the same for four groups" for group in groups]
    sampler = HybridBatchSampler.from_arrays(groups, languages, texts, batch_size=4)
    for step in range(50):
        passages = sampler.batch(step).passage_rows
        assert len({texts[row] for row in passages}) == 4


def test_query_texts_serve_as_ids():
    """Ten answers to each of 40 queries, a line each: no query meets its other answers."""
    texts = [f"query {number // 10}" for number in range(400)]
    flat = [-1] * 400, ["en"] * 400
    index = PlanIndex.from_arrays(*flat, query_ids=texts)
    assert (index.num_items, index.num_different_queries) == (400, 40)
    assert index.num_different_passages == 400
    uses = np.zeros(400, int)
    sampler = HybridBatchSampler(index, batch_size=20, kind="mono")
    for step in range(40):
        rows = sampler.batch(step).query_rows
        assert len({texts[row] for row in rows}) == 20
        uses[rows] += 1
    assert uses.tolist() == [2] * 400
    with pytest.raises(ValueError, match=r"query or passage twice.* largest batch_size .* is 40$"):
        HybridBatchSampler(index, batch_size=41, kind="mono")


def test_queries_without_an_id_meet_all_others():
    queries = np.array([5, 5, -1, -1, 5, 5])
    has_query = np.array([True] * 4 + [False] * 2)
    index = PlanIndex.from_arrays([-1] * 6, ["en"] * 6, has_query=has_query, query_ids=queries)
    assert index.num_different_queries == 1
    sampler = HybridBatchSampler(index, batch_size=3, kind="mono")
    assert {2, 3} < set(sampler.batch(0).query_rows.tolist())


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_memory_follows_the_queries_that_are_shared(share):
    """A quarter of a byte an item, and at most six bytes an item whose query others have."""
    rng = np.random.default_rng(0)
    groups, codes = np.nonzero(rng.random((2_000, 200)) < 0.05)
    languages = np.char.add("l", codes.astype(str))
    rows = np.arange(len(groups))
    alone = PlanIndex.from_arrays(groups, languages)
    queries = np.where(rng.random(len(rows)) < share, rows // 400 * 200 + codes, 10**9 + rows)
    index = PlanIndex.from_arrays(groups, languages, query_ids=queries)
    extra = (index.num_bytes - alone.num_bytes) / len(rows)
    assert 0.25 < extra < 0.25 + 6 * share + 0.2


def test_items_of_group_minus_one_stand_alone():
    """Guarantee 1 must not take them for one group, and cross batches must not pair them."""
    groups = np.array([0, 0, 1, 1, 2, 2, -1, -1, -1, -1])
    languages = np.array(["x", "y"] * 3 + ["x"] * 4)
    mono = HybridBatchSampler.from_arrays(groups, languages, batch_size=7, kind="mono")
    assert sorted(mono.batch(0).query_rows) == [0, 2, 4, 6, 7, 8, 9]
    cross = HybridBatchSampler.from_arrays(groups, languages, batch_size=3, kind="cross")
    assert max(cross.batch(0).query_rows) < 6


def test_every_caller_thread_gets_the_same_batches(index):
    sampler = HybridBatchSampler(index, batch_size=64)
    steps = [*range(100), *range(10**12, 10**12 + 100)]
    alone = [sampler.batch(step).query_rows.tolist() for step in steps]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda step: sampler.batch(step).query_rows.tolist(), steps))
    assert together == alone


def test_mixed_sources_can_be_left_out_only_with_the_columns_at_hand(tmp_path):
    groups, languages = np.repeat(np.arange(40), 3), np.tile(["x", "y", "z"], 40)
    sources = np.tile(["good", "good", "bad"], 40)
    index = PlanIndex.from_arrays(groups, languages, sources=sources)
    good = HybridBatchSampler(index, batch_size=8, source_weights={"good": 1.0})
    assert set(sources[good.batch(0).query_rows]) == {"good"}
    index.save(tmp_path / "plan.index")
    with pytest.raises(ValueError, match="build it from the table"):
        HybridBatchSampler(
            PlanIndex.open(tmp_path / "plan.index"), batch_size=8, source_weights={"good": 1.0}
        )


def test_more_languages_than_labels_can_hold_are_refused():
    names = [f"l{number}" for number in range(4097)]
    with pytest.raises(ValueError, match=r"has 4097 languages; at most 4096"):
        PlanIndex.from_arrays(np.zeros(4097, int), names)


def test_columns_with_missing_or_foreign_values_are_named():
    with pytest.raises(ValueError, match=r"languages\[1\] is missing"):
        PlanIndex.from_arrays([1, 2], pa.array(["de", None]))
    with pytest.raises(TypeError, match="languages holds int64"):
        PlanIndex.from_arrays([1, 2], pa.array([1, 2]))
    with pytest.raises(ValueError, match=r"group_ids\[0\] is -2; -1 \(none\) or more"):
        PlanIndex.from_arrays([-2, 2], ["de", "en"])
    with pytest.raises(ValueError, match="leaves no ids"):
        PlanIndex.from_arrays([-1, 2**63 - 1], ["de", "en"])
