"""The backends of the loss by name, and the choice among them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from hybrid_fast.common.choices import check_choice
from hybrid_fast.ops.backends import cpu, gpu
from hybrid_fast.ops.kernels import Kernels
from hybrid_fast.ops.problem import Problem


@dataclass(frozen=True)
class Backend:
    """One way to compute the loss.

    Attributes:
        make_kernels: makes the steps of one call that differ between devices, see `Kernels`, of a
            problem and whether losses and gradients come from the same scores; None for the
            definition in plain torch, which has no such steps.
        device_types: kinds of devices that it computes on; None: any.
        is_installed: whether what it needs is there.
        precisions: values of `precision` that it supports.
    """

    make_kernels: Callable[[Problem, bool], Kernels] | None
    device_types: tuple[str, ...] | None = None
    is_installed: bool = True
    precisions: tuple[str | None, ...] = (None, "bf16")

    def runs_on(self, device_type: str) -> bool:
        """Tell whether it is installed and computes on a kind of device."""
        return self.is_installed and (self.device_types is None or device_type in self.device_types)

    def supports(self, precision: str | None, device_type: str) -> bool:
        """Tell whether it computes in a precision on a kind of device."""
        return self.runs_on(device_type) and precision in self.precisions


_VARIABLE = "HYBRID_FAST_LOSS_BACKEND"
# The fastest first, of those that ran on their devices: the one pass has not yet.
BACKENDS = {
    "triton": Backend(gpu.make_kernels, ("cuda",), gpu.HAS_TRITON),
    "triton_one_pass": Backend(gpu.make_one_pass_kernels, ("cuda",), gpu.HAS_TRITON),
    "cpu": Backend(cpu.make_kernels, ("cpu",)),
    "reference": Backend(None, precisions=(None,)),
}


def select_backend(name: str, precision: str | None, device_type: str) -> str:
    """Return the name of the backend to use.

    "auto" takes the one that the environment variable HYBRID_FAST_LOSS_BACKEND names, if it
    supports the call, otherwise the first that does.

    Raises:
        ValueError: there is no such backend, or it does not support the device or the precision.
    """
    wanted = _preferred() if name == "auto" else name
    fitting = [
        known for known, backend in BACKENDS.items() if backend.supports(precision, device_type)
    ]
    if wanted in fitting:
        return wanted
    if name == "auto" and fitting:
        return fitting[0]
    check_choice("backend", name, ("auto", *BACKENDS))
    usable = [known for known, backend in BACKENDS.items() if backend.runs_on(device_type)]
    if name not in ("auto", *usable):
        why = f"not for tensors on {device_type!r}"
        if not BACKENDS[name].is_installed:
            why = "not installed"
        available = ", ".join(map(repr, ("auto", *usable)))
        raise ValueError(f"backend {name!r} is {why}; available: {available}")
    asked = usable if name == "auto" else [name]
    supported = sorted({str(p) for known in asked for p in BACKENDS[known].precisions})
    raise ValueError(
        f"backend {name!r} does not support precision {precision!r} for tensors on "
        f"{device_type!r}; it supports: {', '.join(supported)}"
    )


def _preferred() -> str:
    """Return the backend that the environment asks for, "auto" for none.

    Raises:
        ValueError: there is no such backend.
    """
    asked = os.environ.get(_VARIABLE, "").strip() or "auto"
    return check_choice(f"the environment variable {_VARIABLE}", asked, ("auto", *BACKENDS))
