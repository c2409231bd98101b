"""Work that ranks share, or that one does while the others wait, outside collectives.

A collective ends the whole job if a rank comes later than its timeout. So ranks that may be apart
for long first meet: each counts its arrival in the store of the process group and polls it until
all have arrived. The same store tells of an exception, which ends the work of all ranks.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.distributed as dist

_T = TypeVar("_T")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds between two looks at the store
_GRACE_SECONDS = 2.0  # for other ranks to read why this one ends, which may take the store along
_ARRIVED, _LEFT, _ENDED, _FAILED, _READ = "arrived", "left", "ended", "failed", "read"
# Other exceptions of one rank are RuntimeErrors on the others.
_KINDS = (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError)
_numbers: WeakKeyDictionary[dist.ProcessGroup, Iterator[int]] = WeakKeyDictionary()


@contextmanager
def shared_work(group: dist.ProcessGroup | None) -> Iterator[SharedWork | None]:
    """Begin work that all ranks of a group share, and end it together; None: nobody shares it.

    Raises:
        RuntimeError: see `SharedWork.ended_together`.
    """
    if group is None:
        yield None
        return
    shared = SharedWork(group)
    with shared.ended_together():
        yield shared
        shared.leave()


def hides_progress() -> bool | None:
    """Return `disable` of a progress bar: the first rank shows it on a terminal, others never."""
    return True if dist.is_initialized() and dist.get_rank() > 0 else None


def own_parts(parts: Sequence[np.ndarray], shared: SharedWork | None) -> Sequence[np.ndarray]:
    """Return the parts of the work that this rank does: all if it is not shared."""
    return parts if shared is None else parts[shared.rank :: shared.num_ranks]


class SharedWork:
    """One piece of work of the ranks of a process group.

    All ranks make it, and call `meet`, `gather` and `first_alone` in the same order, within
    `ended_together`.

    Attributes:
        rank: number of this rank.
        num_ranks: how many there are.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        store = dist.PrefixStore("hybrid_fast", group.get_group_store())
        if group not in _numbers:
            _numbers[group] = count()
            atexit.register(_tell_end, store)
        self.rank, self.num_ranks = group.rank(), group.size()
        self._group = group
        self._store_of_all = store
        self._store = dist.PrefixStore(str(next(_numbers[group])), store)
        self._num_meetings = 0

    @contextmanager
    def ended_together(self) -> Iterator[None]:
        """Raise an exception of one rank on all, on the others when they next meet.

        Raises:
            RuntimeError: another rank has raised an exception; or a ValueError, TypeError, OSError,
                ImportError, MemoryError or FloatingPointError if it has.
        """
        try:
            yield
        except _OtherRankError as error:
            raise error.as_raised() from None
        except BaseException as error:
            with suppress(dist.DistError):  # the store has ended too
                self._tell(error)
            raise

    def meet(self) -> None:
        """Wait until all ranks are here.

        Raises:
            RuntimeError: the process of another rank has ended.
        """
        self._num_meetings += 1
        self._store.add(_ARRIVED, 1)
        self._poll(self._have_met)

    def _have_met(self) -> bool:
        some_ended = self._store_of_all.check([_ENDED])
        if self._store.add(_ARRIVED, 0) >= self._num_meetings * self.num_ranks:
            return True
        if some_ended:
            raise RuntimeError(
                f"rank {self.rank} of {self.num_ranks} waits for the others, but one has ended; "
                "all ranks must evaluate, save and train together"
            )
        return False

    def leave(self) -> None:
        """End the work; the first rank, which may keep the store, ends last."""
        self._store.add(_LEFT, 1)
        if self.rank == 0:
            self._poll(lambda: self._store.add(_LEFT, 0) >= self.num_ranks)

    def gather(self, array: np.ndarray) -> list[np.ndarray]:
        """Return the arrays of all ranks, which may differ in shape, in rank order."""
        self.meet()
        headers: list[Any] = [None] * self.num_ranks
        dist.all_gather_object(headers, (array.shape, array.dtype.str), group=self._group)
        sizes = [
            int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize for shape, kind in headers
        ]
        device = self._device()
        # As bytes, since not every backend has every dtype; padded, since it needs equal sizes.
        local = torch.zeros(max(sizes), dtype=torch.uint8)
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        local[: sizes[self.rank]] = torch.from_numpy(flat)
        blocks = [torch.empty_like(local, device=device) for _ in sizes]
        dist.all_gather(blocks, local.to(device), group=self._group)
        return [
            block[:size].cpu().numpy().view(kind).reshape(shape)
            for block, size, (shape, kind) in zip(blocks, sizes, headers, strict=True)
        ]

    def rows_of_ranks(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return for each rank the rows, int64, of the parts that it does; see `own_parts`."""
        return [
            np.concatenate([np.empty(0, np.int64), *parts[rank :: self.num_ranks]])
            for rank in range(self.num_ranks)
        ]

    def fill_in(self, array: np.ndarray, rows_of_ranks: list[np.ndarray]) -> None:
        """Copy into an array the rows that other ranks have computed, for each rank its rows."""
        parts = self.gather(array[rows_of_ranks[self.rank]])
        for rows, part in zip(rows_of_ranks, parts, strict=True):
            array[rows] = part

    def first_alone(self, compute: Callable[[], _T]) -> _T:
        """Return what the first rank computes; the others wait for a copy of it."""
        results: list[Any] = [compute() if self.rank == 0 else None]
        self.meet()
        first = dist.get_global_rank(self._group, 0)
        dist.broadcast_object_list(results, src=first, group=self._group)
        result: _T = results[0]
        return result

    def _poll(self, is_over: Callable[[], bool]) -> None:
        pause = _SHORTEST_PAUSE
        try:
            while True:
                self._raise_if_told()
                if is_over():
                    return
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST_PAUSE)
        except dist.DistError as error:
            raise RuntimeError(
                f"rank {self.rank} of {self.num_ranks} waited for the others, but the process that "
                "connects them, the launcher or rank 0, has ended"
            ) from error

    def _raise_if_told(self) -> None:
        if not self._store.check([_FAILED]):
            return
        kind, _, message = self._store.get(_FAILED).decode().partition(" ")
        self._store.add(_READ, 1)
        raise _OtherRankError(kind, message)

    def _tell(self, error: BaseException) -> None:
        """Tell the others, and wait a moment for those that listen."""
        kind = next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), "RuntimeError")
        reason = str(error) or type(error).__name__
        self._store.set(_FAILED, f"{kind} rank {self.rank} of {self.num_ranks}: {reason}")
        end = time.monotonic() + _GRACE_SECONDS
        while self._store.add(_READ, 0) < self.num_ranks - 1 and time.monotonic() < end:
            time.sleep(_LONGEST_PAUSE)

    def _device(self) -> torch.device:
        """Return where the process group communicates."""
        if "cpu:" in dist.get_backend_config(self._group):
            return torch.device("cpu")
        device = torch.accelerator.current_accelerator()
        assert device is not None
        return torch.device(device.type, torch.accelerator.current_device_index())


def _tell_end(store: dist.Store) -> None:
    """Tell ranks that wait for this one that its process ends."""
    with suppress(dist.DistError):  # the store has ended before
        store.set(_ENDED, "")


class _OtherRankError(Exception):
    """What another rank has told."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def as_raised(self) -> BaseException:
        """Return the exception that this rank raises."""
        kinds = {kind.__name__: kind for kind in _KINDS}
        return kinds.get(self.kind, RuntimeError)(str(self))
