"""Encoding by several processes, each with a copy of the model on a device of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import Thread
from weakref import finalize

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.cpu.half_precision import leave_unsaid
from hybrid_fast.models.devices import check_devices
from hybrid_fast.models.dtypes import say_if_slow
from hybrid_fast.models.encoding import EncodeOptions
from hybrid_fast.models.text_encoder import TextEncoder

Device = str | torch.device
_CPU_PROCESSES = 4  # where there is no accelerator and none are named, as sentence-transformers
_CHUNKS_PER_PROCESS, _LARGEST_CHUNK = 10, 5000


@dataclass(eq=False)
class EncoderPool:
    """Processes that encode; made by `start`, ended by `stop`.

    Attributes:
        model: whose copies, as it was at the start, encode.
        devices: of each process.
        executor: of the processes.
        is_stopped: whether they were ended.
    """

    model: TextEncoder
    devices: tuple[str, ...]
    executor: ProcessPoolExecutor
    is_stopped: bool = False

    @classmethod
    def start(cls, model: TextEncoder, devices: Sequence[Device] | None = None) -> EncoderPool:
        """Start a process for each device.

        Args:
            model: to copy; it stays where it is.
            devices: such as ["cuda:0", "cuda:1"] or ["cpu", "cpu"]; default all accelerators of
                this machine, or four processes on the CPU.

        Raises:
            ValueError: no device is named, or one is not there.
        """
        used = check_devices(_all_devices() if devices is None else devices)
        context = get_context("spawn")  # a forked process cannot use a GPU
        places = context.SimpleQueue()
        for device in used:
            places.put(device)
        on_cpu = sum(torch.device(device).type == "cpu" for device in used)
        threads = max(1, torch.get_num_threads() // max(1, on_cpu))
        # Processes share the memory of what they are given on the CPU; a copy stays as it is.
        copied = deepcopy(model).to("cpu")
        if on_cpu and copied.has_layers:
            with torch.autocast("cpu", enabled=False):  # as in the processes, which say nothing
                say_if_slow(copied)
        executor = ProcessPoolExecutor(
            len(used),
            mp_context=context,
            initializer=_Worker.start,
            initargs=(copied, places, threads),
        )
        for _ in used:  # a process starts when there is work and no other is idle
            executor.submit(os.getpid)
        pool = cls(model, used, executor)
        finalize(pool, executor.shutdown, cancel_futures=True)  # a pool that nobody stops
        return pool

    def stop(self) -> None:
        """End the processes; what they are at is finished first."""
        self.is_stopped = True
        self.executor.shutdown(cancel_futures=True)

    def encode(
        self,
        texts: Sequence[str],
        options: EncodeOptions,
        *,
        tokens: bool = False,
        chunk_size: int | None = None,
        progress: str | None = None,
    ) -> Tensor | list[Tensor]:
        """Encode texts, a chunk at a time.

        Args:
            texts: at least one.
            options: how they are encoded.
            tokens: whether the states of their tokens are wanted; see `TextEncoder.embed_tokens`.
            chunk_size: texts that a process takes at a time.
            progress: label of a progress bar; None: no bar.

        Returns:
            On the CPU, float32 (n, options.dim), or the states of each text, in their order.

        Raises:
            ValueError: a chunk size below 1.
            RuntimeError: a process ended.
            Exception: what a process raised.
        """
        if chunk_size is None:
            chunk_size = math.ceil(len(texts) / len(self.devices) / _CHUNKS_PER_PROCESS)
            chunk_size = min(max(1, chunk_size), _LARGEST_CHUNK)
        if chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}; it must be at least 1")
        chunks = [texts[start : start + chunk_size] for start in range(0, len(texts), chunk_size)]
        options = replace(options, on_cpu=True)  # what goes from process to process
        encode = partial(_Worker.encode, options=options, tokens=tokens)
        try:
            parts = list(
                tqdm(
                    self.executor.map(encode, chunks),
                    desc=progress,
                    total=len(chunks),
                    delay=2,
                    disable=None if progress else True,
                    leave=False,
                )
            )
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that encodes ended; its own message may stand above. Check the memory, "
                "and that the script starts its work under if __name__ == '__main__':"
            ) from error
        if tokens:
            return [torch.from_numpy(states) for part in parts for states in part]
        return torch.from_numpy(np.concatenate(parts))


@contextmanager
def pool_of(
    model: TextEncoder, pool: EncoderPool | None, devices: Sequence[Device] | None
) -> Iterator[EncoderPool]:
    """Yield the pool that is given, or else one for some devices that ends afterwards.

    Raises:
        ValueError: the pool is of another model or was stopped, or there is no device.
    """
    if pool is None:
        started = EncoderPool.start(model, devices)
        try:
            yield started
        finally:
            started.stop()
    elif not isinstance(pool, EncoderPool) or pool.model is not model:
        raise ValueError(
            f"pool is no pool of this model but {pool!r:.60}; give what its "
            "start_multi_process_pool returned"
        )
    elif pool.is_stopped:
        raise ValueError("pool was stopped; start another by start_multi_process_pool")
    else:
        yield pool


class _Worker:
    """What a process of a pool holds."""

    model: TextEncoder
    device: str = ""

    @classmethod
    def start(cls, model: TextEncoder, places: SimpleQueue[str], threads: int) -> None:
        """Take the model and a device."""
        Thread(target=_leave_with_parent, daemon=True).start()
        cls.model, cls.device = model, places.get()
        torch.set_num_threads(threads)
        leave_unsaid()

    @classmethod
    def encode(
        cls, texts: list[str], options: EncodeOptions, tokens: bool
    ) -> np.ndarray | list[np.ndarray]:
        """Encode a chunk."""
        # Here, not at the start, where an error would end the process without its reason.
        cls.model.to(cls.device)
        if tokens:
            return [each.float().cpu().numpy() for each in cls.model.embed_tokens(texts, options)]
        return cls.model.embed(texts, options).numpy()


def _leave_with_parent() -> None:
    """End this process when that which started it ends, however it does."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _all_devices() -> tuple[str, ...]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ("cpu",) * _CPU_PROCESSES
    return tuple(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))
