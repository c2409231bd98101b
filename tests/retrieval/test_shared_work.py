"""Ranks that share work: what they exchange, how one waits for another, how all end."""

from __future__ import annotations

import atexit
import time
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
from ranks import run_ranks

from hybrid_fast.retrieval.encoders import Encoder
from hybrid_fast.retrieval.shared_encoding import share_encoder
from hybrid_fast.retrieval.shared_work import own_parts, shared_work

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.empty((0, 0), np.float32),
    np.array([True, False]),
    np.array([[np.nan], [-np.inf]]),
]


def exchange(rank: int, world_size: int) -> dict[str, Any]:
    dist.init_process_group("gloo")
    record: dict[str, Any] = {}
    with shared_work(dist.group.WORLD) as shared:
        gathered = shared.gather(ARRAYS[rank])
        record["gathered"] = [
            array.dtype == given.dtype and array.tobytes() == given.tobytes()
            for array, given in zip(gathered, ARRAYS[:world_size], strict=True)
        ]
        parts = [np.arange(start, min(start + 2, 11)) for start in range(0, 11, 2)]
        squares = np.full(11, -1.0)
        for part in own_parts(parts, shared):
            squares[part] = part**2
        record["own"] = (squares >= 0).sum().item()
        shared.fill_in(squares, shared.rows_of_ranks(parts))
        record["squares"] = squares.tolist()
        record["first"] = shared.first_alone(lambda: {"rank": rank})
    with shared_work(dist.group.WORLD) as shared:  # another piece of work
        record["second"] = [array.tolist() for array in shared.gather(np.array([rank]))]
    dist.destroy_process_group()
    return record


@pytest.mark.parametrize("world_size", [1, 4])
def test_ranks_exchange_arrays_of_any_shape_and_dtype(world_size):
    records = run_ranks(exchange, world_size)
    for record in records:
        assert record["gathered"] == [True] * world_size
        assert record["squares"] == [float(n**2) for n in range(11)]
        assert record["first"] == {"rank": 0}
        assert record["second"] == [[rank] for rank in range(world_size)]
    assert sum(record["own"] for record in records) == 11


def test_without_other_ranks_nothing_is_shared():
    with shared_work(None) as shared:
        assert shared is None
        assert own_parts([1, 2, 3], shared) == [1, 2, 3]

    encoder = Encoder(list, "list")
    assert share_encoder(encoder, None, 8) is encoder


def fail(rank: int, world_size: int, failing: int, kind: str) -> list[str]:
    dist.init_process_group("gloo")
    caught = "nothing"
    try:
        with shared_work(dist.group.WORLD) as shared:
            if rank == failing:
                raise {"value": ValueError, "key": KeyError, "exit": SystemExit}[kind]("no text 7")
            shared.meet()
            time.sleep(60)
    except BaseException as error:
        caught = f"{type(error).__name__}: {error}"
    dist.destroy_process_group()
    return [caught]


@pytest.mark.parametrize(
    ("kind", "there", "here"),
    [
        ("value", "ValueError: no text 7", "ValueError: rank 1 of 2: no text 7"),
        ("key", "KeyError: 'no text 7'", "RuntimeError: rank 1 of 2: 'no text 7'"),
        ("exit", "SystemExit: no text 7", "RuntimeError: rank 1 of 2: no text 7"),
    ],
)
def test_an_exception_of_one_rank_ends_all_with_its_reason(kind, there, here):
    assert run_ranks(fail, 2, 1, kind) == [[here], [there]]


def test_an_exception_of_the_first_rank_that_keeps_the_store():
    first, *others = run_ranks(fail, 3, 0, "value")
    assert first == ["ValueError: no text 7"]
    assert others == [["ValueError: rank 0 of 3: no text 7"]] * 2


def evaluate_alone(rank: int, world_size: int) -> str:
    """Work together once; then one rank goes on alone, and the other comes to its end."""
    dist.init_process_group("gloo")
    with shared_work(dist.group.WORLD) as shared:
        shared.meet()
    if rank == 1:
        atexit._run_exitfuncs()  # which the process of a test would leave out
        time.sleep(5)
        return "ended"
    with (
        pytest.raises(RuntimeError, match=r"rank 0 of 2 waits .* rank 1 has ended") as caught,
        shared_work(dist.group.WORLD) as shared,
    ):
        shared.meet()
    return str(caught.value)


def test_a_rank_does_not_wait_for_one_that_has_ended():
    message, other = run_ranks(evaluate_alone, 2)
    assert "all ranks must evaluate, save and train together" in message
    assert other == "ended"


def encode(rank: int, world_size: int, num_texts: int) -> dict[str, Any]:
    calls: list[int] = []

    def encoder(texts: list[str], batch_size: int = 3) -> np.ndarray:
        calls.append(len(texts))
        return np.array([[float(text), batch_size] for text in texts])  # float64

    dist.init_process_group("gloo")
    with shared_work(dist.group.WORLD) as shared:
        shared_encoder = share_encoder(Encoder(encoder, "encode", "texts"), shared, 3)
        embeddings = shared_encoder([str(number) for number in range(num_texts)], batch_size=5)
    dist.destroy_process_group()
    return {"calls": calls, "dtype": str(embeddings.dtype), "embeddings": embeddings.tolist()}


@pytest.mark.parametrize(("num_texts", "calls"), [(8, [[5], [3]]), (2, [[2], []])])
def test_ranks_encode_batches_in_turn(num_texts, calls):
    records = run_ranks(encode, 2, num_texts)
    assert [record["calls"] for record in records] == calls
    for record in records:
        assert record["dtype"] == "float32"
        assert record["embeddings"] == [[float(number), 5.0] for number in range(num_texts)]
