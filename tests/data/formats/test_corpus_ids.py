"""Ids that occur twice are found as by a set, and eight bytes an id are kept."""

from hypothesis import given
from hypothesis import strategies as st

from hybrid_fast.data.formats.corpus_ids import SeenIds


@given(st.lists(st.lists(st.text(max_size=2), max_size=6), max_size=20))
def test_as_a_set_finds_them(blocks):
    seen, known = SeenIds(), set()
    for block in blocks:
        repeated = []
        for place, each in enumerate(block):
            if each in known:
                repeated.append(place)
            known.add(each)
        assert seen.add(block) == repeated


def test_memory_is_eight_bytes_an_id_in_few_runs():
    seen = SeenIds()
    for start in range(0, 200_000, 1000):
        assert seen.add([f"id {n}" for n in range(start, start + 1000)]) == []
        assert sum(run.nbytes for run in seen._runs) == 8 * (start + 1000)
        assert len(seen._runs) <= 9
        for longer, run in zip(seen._runs, seen._runs[1:], strict=False):
            assert len(longer) > 2 * len(run)
    assert seen.add(["id 0", "new", "id 199999"]) == [0, 2]
