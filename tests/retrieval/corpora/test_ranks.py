"""Ranks that encode one corpus: the same bytes whatever their number; an error ends all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from hashed_corpora import CORPUS, Hashing, changed, content, encode
from ranks import run_ranks


def encode_together(
    rank: int, world_size: int, folder: str, ends_after: float, fails: bool, row: int | None
) -> list[Any]:
    """Encode, on the last rank with a failing model or another corpus; return what came of it."""
    dist.init_process_group("gloo")
    is_last = rank == world_size - 1
    model = Hashing(ends_after=ends_after if is_last or not fails else float("inf"))
    corpus = CORPUS if row is None or not is_last else changed(row, text="x")
    try:
        encoded = encode(Path(folder), model, corpus, shard_rows=3, process_group=dist.group.WORLD)
        result = [len(encoded), len(model.encoded)]
    except (KeyboardInterrupt, RuntimeError, ValueError, OSError) as error:
        result = [type(error).__name__, str(error)]
    dist.destroy_process_group()
    return result


def run(folder: Path, num_ranks: int, ends_after: float = float("inf"), **options: Any) -> Any:
    """Return what came of encoding on each rank."""
    given = {"fails": False, "row": None, **options}
    return run_ranks(encode_together, num_ranks, str(folder), ends_after, *given.values())


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    """The bytes of the corpus encoded by one process."""
    encode(tmp_path / "whole", shard_rows=3)
    return content(tmp_path / "whole")


@pytest.mark.parametrize("num_ranks", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_ranks_share_the_shards(tmp_path, whole, num_ranks):
    results = run(tmp_path / "o", num_ranks)
    assert content(tmp_path / "o") == whole
    assert [size for size, _ in results] == [25] * num_ranks
    assert sum(encoded for _, encoded in results) == sum(
        len({text.text for text in CORPUS[start : start + 3]}) for start in range(0, 25, 3)
    )
    assert [encoded for _, encoded in run(tmp_path / "o", num_ranks)] == [0] * num_ranks


@pytest.mark.slow
def test_their_number_may_change_between_starts(tmp_path, whole):
    folder, finished = tmp_path / "o", 0
    for num_ranks, ends_after in ((3, 4), (2, 4)):
        results = run(folder, num_ranks, ends_after)
        assert "KeyboardInterrupt" in {name for name, _ in results}
        assert not (folder / "manifest.json").exists()
        assert len(list(folder.glob("shard-*.json"))) > finished
        finished = len(list(folder.glob("shard-*.json")))
    assert finished < 9
    assert len(encode(folder, shard_rows=3)) == 25
    assert content(folder) == whole


def test_the_failure_of_one_ends_all(tmp_path, whole):
    first, last = run(tmp_path / "o", 2, ends_after=0, fails=True)
    assert last[0] == "KeyboardInterrupt"
    assert first == ["RuntimeError", "rank 1 of 2: KeyboardInterrupt"]
    encode(tmp_path / "o", shard_rows=3)
    assert content(tmp_path / "o") == whole


def test_one_rank_sees_that_the_corpus_has_changed(tmp_path, whole):
    first, last = run(tmp_path / "whole", 2, row=4)
    assert "list is not what was encoded" in last[1]
    assert first == ["ValueError", f"rank 1 of 2: {last[1]}"]
    assert content(tmp_path / "whole") == whole


def test_all_ranks_are_kept_out_by_another_writer(tmp_path):
    from hybrid_fast.common.locks import sole_use

    with sole_use(tmp_path / "o"):
        results = run(tmp_path / "o", 2)
    assert [name for name, _ in results] == ["FileExistsError", "OSError"]
    assert all("is in use by process" in message for _, message in results)
