"""InfoNCE as a module, with an optionally learnable temperature."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from hybrid_fast.common.choices import nearest
from hybrid_fast.ops.checks import check_number, check_temperature
from hybrid_fast.ops.infonce import info_nce
from hybrid_fast.ops.problem import InfoNCEOptions, InfoNCETensors

MIN_TEMPERATURE = 0.001
MAX_TEMPERATURE = 100.0
_LOG_BOUNDS = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)


class InfoNCELoss(nn.Module):
    """`info_nce` with fixed options.

    A learnable temperature is stored as its logarithm in the parameter `log_temperature` and
    clamped to [0.001, 100]: the loss takes the nearest value within, with the gradient as if it
    were there, so that a bound can be left; the next call puts the parameter back to the bound.

    Args:
        temperature: a number; if learnable, the initial value.
        learnable: whether the temperature is a parameter.
        **options: of `InfoNCEOptions`.

    Raises:
        TypeError: if the temperature is no number or an option is unknown.
        ValueError: if the temperature is not above 0 or, if learnable, outside its bounds.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        learnable: bool = False,
        **options: Unpack[InfoNCEOptions],
    ) -> None:
        super().__init__()
        _check_names(tuple(options))
        check_number("temperature", temperature)
        check_temperature(temperature)
        if learnable and not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
            raise ValueError(
                f"temperature is {temperature}; need a learnable one within "
                f"[{MIN_TEMPERATURE}, {MAX_TEMPERATURE}]"
            )
        self.learnable = learnable
        self.options = options
        self._fixed_temperature = float(temperature)
        if learnable:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    @property
    def temperature(self) -> float | Tensor:
        """The current temperature: a number or, if learnable, a 0-dim tensor with gradient."""
        if not self.learnable:
            return self._fixed_temperature
        # In float32 at least: half precision would round the temperature by percents.
        dtype = torch.promote_types(self.log_temperature.dtype, torch.float32)
        logarithm = self.log_temperature.to(dtype)
        clamped = logarithm.detach().clamp(*_LOG_BOUNDS)
        # Its gradient is that of the parameter, of which backward needs no value.
        return (clamped + (logarithm - logarithm.detach())).exp()

    def forward(
        self, queries: Tensor, passages: Tensor, **tensors: Unpack[InfoNCETensors]
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            queries: (B, D).
            passages: (N, D).
            **tensors: of `InfoNCETensors`.

        Returns:
            As `info_nce`.
        """
        if self.learnable:
            # `data`: a graph that still waits for its backward pass does not forbid it.
            self.log_temperature.data.clamp_(*_LOG_BOUNDS)
        return info_nce(queries, passages, temperature=self.temperature, **tensors, **self.options)

    def extra_repr(self) -> str:
        """Return the settings for `print`."""
        temperature = torch.as_tensor(self.temperature, dtype=torch.float64).item()
        settings = {"temperature": f"{temperature:.6g}", "learnable": self.learnable}
        return ", ".join(f"{name}={value}" for name, value in (settings | self.options).items())


def _check_names(names: tuple[str, ...]) -> None:
    known = tuple(InfoNCEOptions.__annotations__)
    for name in names:
        if name not in known:
            options = ", ".join(known)
            raise TypeError(f"unknown option {name!r}; need one of {options}{nearest(name, known)}")
