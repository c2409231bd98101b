"""A GPU that is not there: Triton's launch path as it is, down to a driver that launches nothing.

So what Python does between a call of the loss and its kernels runs without a GPU, on tensors of the
CPU: kernels are compiled for sm_90, bound, specialised and looked up as there. Values are not
computed: what kernels and half-precision products write stays what it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from hybrid_fast.ops import infonce
from hybrid_fast.ops.backends import gpu_products, registry, triton_rows
from hybrid_fast.ops.problem import Problem

_DEVICE = -1  # no kernel of a GPU that is there is found under its number
_SHARED_MEMORY = 232_448  # of a block on sm_90


class IdleDriver(DriverBase):
    """What Triton asks of a driver."""

    def __init__(self) -> None:
        super().__init__()
        self.utils = self
        self.launches: list[str] = []
        self._functions: set[Any] = set()

    @classmethod
    def is_active(cls) -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return _DEVICE

    def get_current_stream(self, device: int) -> int:
        return 0

    def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
        """Return what takes the arguments of a launch as the compiled launcher does."""
        self._functions.add(source.fn)
        name = metadata.name

        def launch(*arguments: Any) -> None:
            for argument in arguments[9:]:  # after grid, stream, function, metadata and hooks
                if type(argument) is Tensor:
                    argument.data_ptr()
                    # What `host_time` has found to be on the CPU, beside embeddings on a GPU.
                    assert not hasattr(argument, "on_host"), f"{name} cannot read the host's memory"
            self.launches.append(name)

        return launch

    def forget_kernels(self) -> None:
        for function in self._functions:
            function.device_caches.pop(_DEVICE)

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": _SHARED_MEMORY}

    def load_binary(self, *_: Any) -> tuple[str, int, int, int, int]:
        """Return module, function, registers, spills and the most threads of a block."""
        return "a module", 0, 0, 0, 1024

    def unload_module(self, module: str) -> None:
        pass

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError("no launcher is compiled")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("nothing runs that could be timed")


@contextmanager
def idle_gpu() -> Iterator[list[str]]:
    """Let `backend="triton"` take tensors of the CPU; yield the names of kernels as launched."""
    driver = IdleDriver()
    backend = replace(registry.BACKENDS["triton"], device_types=("cpu",))
    products = {name: getattr(gpu_products, name) for name in _PRODUCTS}
    with (
        mock.patch.dict(registry.BACKENDS, triton=backend),
        mock.patch.dict(gpu_products._launched, clear=True),
        mock.patch.multiple(gpu_products, **{n: _in_float32(p) for n, p in products.items()}),
        # As if the temperature, a number, were not where the scores are.
        mock.patch.object(triton_rows, "number_or_address", lambda scale, _: float(scale)),
        # No `Mock`, each call of which would take microseconds.
        mock.patch.object(infonce, "check_values", _do_nothing),
    ):
        triton.runtime.driver.set_active(driver)
        try:
            yield driver.launches
        finally:
            gpu_products._launched.clear()
            driver.forget_kernels()
            triton.runtime.driver.set_active(None)  # the default, made when it is asked for


def _do_nothing(problem: Problem) -> None:
    pass


_PRODUCTS = ("multiply", "multiply_add")
_HALVES = (torch.bfloat16, torch.float16)


def _in_float32(product: Any) -> Any:
    """Return a product that takes zeros in float32 for factors in half precision.

    torch has none on the CPU that takes half precision and returns float32.
    """

    def on_the_cpu(*arguments: Any) -> Any:
        return product(*map(_single, arguments))

    return on_the_cpu


def _single(argument: Any) -> Any:
    if isinstance(argument, Tensor) and argument.dtype in _HALVES:
        return _zeros(argument.shape)
    return argument


@functools.cache
def _zeros(shape: torch.Size) -> Tensor:
    return torch.zeros(shape)
