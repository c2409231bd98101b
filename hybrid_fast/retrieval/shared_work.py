"""Work that ranks share, or that one does while the others wait, outside collectives.

A collective ends the whole job if a rank comes later than its timeout. So ranks that may be apart
for long first meet: each counts its arrival in the store of the process group and polls it until
all have arrived. An exception of one rank ends the work of all, see `endings`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from hybrid_fast.retrieval.endings import PAUSE, Ending, bind

_T = TypeVar("_T")
_SHORTEST_PAUSE = 0.001  # seconds between two looks at the store
_ARRIVED, _LEFT = "arrived", "left"


@contextmanager
def shared_work(group: dist.ProcessGroup | None) -> Iterator[SharedWork | None]:
    """Begin work that all ranks of a group share, and end it together; None: nobody shares it.

    Raises:
        RuntimeError: see `endings.Ending.together`.
    """
    if group is None:
        yield None
        return
    shared = SharedWork(group)
    with shared.ending.together():
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
    `ending.together()`.

    Attributes:
        rank: number of this rank.
        num_ranks: how many there are.
        ending: of the work by an exception.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.rank, self.num_ranks = group.rank(), group.size()
        self._group = group
        self._bond = bind(group)
        self.ending = Ending(self._bond)
        self._store = self.ending.store
        self._num_meetings = 0

    def meet(self) -> None:
        """Wait until all ranks are here.

        Raises:
            RuntimeError: the process of another rank has ended.
        """
        self._num_meetings += 1
        self._store.add(_ARRIVED, 1)
        self._poll(self._have_met)

    def _have_met(self) -> bool:
        ended = self._bond.ended()
        if self._store.add(_ARRIVED, 0) >= self._num_meetings * self.num_ranks:
            return True
        if ended:
            raise self._bond.error_of_end(ended)
        return False

    def leave(self) -> None:
        """End the work; the first rank, which may keep the store, ends last."""
        self._store.set(f"{_LEFT}{self.rank}", "")
        self._store.add(_LEFT, 1)
        if self.rank == 0:
            self._poll(self._have_left)

    def _have_left(self) -> bool:
        ended = self._bond.ended()
        if self._store.add(_LEFT, 0) >= self.num_ranks:
            return True
        missing = {rank for rank in ended if not self._store.check([f"{_LEFT}{rank}"])}
        if missing:
            raise self._bond.error_of_end(missing)
        return False

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
                self.ending.look()
                if is_over():
                    return
                time.sleep(pause)
                pause = min(1.5 * pause, PAUSE)
        except dist.DistError as error:
            raise RuntimeError(
                f"rank {self.rank} of {self.num_ranks} waited for the others, but the process that "
                "connects them, the launcher or rank 0, has ended"
            ) from error

    def _device(self) -> torch.device:
        """Return where the process group communicates."""
        if "cpu:" in dist.get_backend_config(self._group):
            return torch.device("cpu")
        device = torch.accelerator.current_accelerator()
        assert device is not None
        return torch.device(device.type, torch.accelerator.current_device_index())
