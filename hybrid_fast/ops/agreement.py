"""Ranks agree on one call of the loss before they exchange anything that depends on it.

The ranks exchange their sizes in any case. With the sizes go the options, which must be the same on
all ranks, and whether a rank refuses its arguments, so that all raise an error with the reason,
where else one would raise it and the others wait for it until a timeout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.ops.backends.registry import BACKENDS
from hybrid_fast.ops.checks import check_width, widths
from hybrid_fast.ops.distributed import Ranks, gather_rows
from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import EMBEDDING_DTYPES, NEGATIVES, PRECISIONS, REDUCTIONS, Problem
from hybrid_fast.ops.tensor_fields import PASSAGES

Option = str | float | torch.dtype | None
# Room for all entries of a header (an option for each tensor of the mask, and 24 more), and for the
# reason of a refusal.
_HEADER_SIZE, _MAX_REASON_BYTES = 32 + len(NegativeMask.layouts), 1000
_NONE = -(2**63)
_INTEGER_BYTES = 7  # of a positive one
_CHOICES: dict[str, tuple[Option, ...]] = {
    "dtype": EMBEDDING_DTYPES,
    "reduction": REDUCTIONS,
    "negatives": NEGATIVES,
    "precision": PRECISIONS,
}


class OtherRankError(ValueError):
    """Another rank of the process group refuses its arguments."""


@dataclass
class Call:
    """One call of all ranks: what each checks by itself, all refuse together.

    Attributes:
        group: the ranks.
        ranks: how many rows each holds; None before `exchange_sizes`.
    """

    group: dist.ProcessGroup
    ranks: Ranks | None = None

    def __post_init__(self) -> None:
        """Raise TypeError if the group is no process group that this rank belongs to."""
        if not isinstance(self.group, dist.ProcessGroup):
            raise TypeError(
                "process_group must be a torch.distributed.ProcessGroup that this rank belongs to, "
                f"got {type(self.group).__name__}"
            )

    @contextmanager
    def refused_together(self) -> Iterator[None]:
        """Tell the other ranks of an exception that is raised within before the exchange."""
        try:
            yield
        except Exception as error:
            if self.ranks is None:
                self._exchange_headers([1])
                self._exchange_reasons(str(error))
            raise

    def exchange_sizes(
        self, problem: Problem, temperature: float | Tensor, checks_columns: bool
    ) -> bool:
        """Learn how many rows each rank holds, and check that all ranks made the same call.

        Args:
            problem: of this rank, checked.
            temperature: as it was given.
            checks_columns: whether this rank would check `negatives="hard_only"`.

        Returns:
            Whether any rank would check it.

        Raises:
            OtherRankError: another rank refuses its arguments.
            ValueError: on every rank, if the ranks were called differently, a mask does not cover
                all passages, or the group does not serve the device.
        """
        self._check_device(problem.queries.device)
        options = _options(problem, temperature)
        codes = [_encode(name, value) for name, value in options.items()]
        masks = widths(problem)
        least, most = min(masks.values(), default=0), max(masks.values(), default=0)
        sizes = [len(problem.queries), len(problem.passages), least, most, int(checks_columns)]
        headers = self._exchange_headers([0, *sizes, *codes])
        refused, num_queries, num_passages, least_widths, most_widths, checks, *found = headers
        self.ranks = Ranks(self.group, num_queries, num_passages)
        if any(refused):
            rank = refused.index(1)
            raise OtherRankError(
                f"rank {rank} of process_group: {self._exchange_reasons('')[rank]}"
            )
        for name, of_ranks in zip(options, found, strict=False):
            if len(set(of_ranks)) > 1:
                values: list[Any] = [_decode(name, code) for code in of_ranks]
                if name == "rules":
                    values = self._exchange_reasons(_rules(problem))
                raise ValueError(f"the ranks of process_group differ in {name}, by rank: {values}")
        if masks:
            for width in (*least_widths, *most_widths):
                check_width(" or ".join(masks), width, sum(num_passages))
        return any(checks)

    def _exchange_headers(self, header: list[int]) -> list[list[int]]:
        """Return for each entry of the header those of all ranks."""
        padded = header + [0] * (_HEADER_SIZE - len(header))
        local = torch.tensor([padded], device=self._device())
        return gather_rows(local, [1] * dist.get_world_size(self.group), self.group).T.tolist()

    def _exchange_reasons(self, reason: str) -> list[str]:
        """Return why each rank refuses its arguments; empty if it does not."""
        text = reason.encode()[:_MAX_REASON_BYTES].ljust(_MAX_REASON_BYTES)
        local = torch.tensor([list(text)], dtype=torch.uint8, device=self._device())
        rows = gather_rows(local, [1] * dist.get_world_size(self.group), self.group)
        return [bytes(row).decode(errors="ignore").rstrip() for row in rows.tolist()]

    def _served_devices(self) -> list[str]:
        config = dist.get_backend_config(self.group)
        return [pair.partition(":")[0] for pair in config.split(",")]

    def _device(self) -> torch.device:
        """Return where headers are exchanged: on the CPU if the group serves it."""
        served = self._served_devices()
        if "cpu" in served:
            return torch.device("cpu")
        return torch.device(served[0], torch.get_device_module(served[0]).current_device())

    def _check_device(self, device: torch.device) -> None:
        served = self._served_devices()
        if device.type not in served:
            raise ValueError(
                f"queries is on {device}, but process_group communicates between "
                f"{' and '.join(served)}; move queries and passages there"
            )


def _options(problem: Problem, temperature: float | Tensor) -> dict[str, Option]:
    """Return the options that must agree: collectives must match, and the loss is one."""
    mask = problem.negative_mask
    options: dict[str, Option] = {
        "embedding dimension": problem.queries.shape[1],
        "dtype": problem.queries.dtype,
        "device": problem.queries.device.type,
        "reduction": problem.reduction,
        "symmetric": int(problem.symmetric),
        "negatives": problem.negatives,
        "normalize": int(problem.normalize),
        "precision": problem.precision,
        "recompute": int(problem.recompute),
        # Backends communicate differently for both directions alone.
        "backend": problem.backend if problem.symmetric else None,
        "margin": None if mask.margin is None else float(mask.margin),
        # The value of a tensor is not read, which would synchronise with the device.
        "temperature": None if isinstance(temperature, Tensor) else float(temperature),
        "rules": crc32(_rules(problem).encode()),
    }
    for name, layout in NegativeMask.layouts.items():
        if PASSAGES in layout.axes:
            options[f"whether {name} is given"] = int(getattr(mask, name) is not None)
    for name in ("queries", "passages", "weights", "temperature"):
        value = getattr(problem, name)
        needs_gradient = isinstance(value, Tensor) and value.requires_grad
        options[f"whether {name} needs a gradient"] = int(
            needs_gradient and torch.is_grad_enabled()
        )
    return options


def _rules(problem: Problem) -> str:
    """Tell all about the rules that must agree: their classes, and what of them is gathered."""
    tensors = [
        f"{name} {tensor.dtype} {tuple(tensor.shape[1:])}"
        for rule in problem.negative_mask.rules
        for name, tensor, layout in rule.tensors()
        if layout.axes == (PASSAGES,)
    ]
    return ", ".join([*(rule.class_name() for rule in problem.negative_mask.rules), *tensors])


def _choices(name: str) -> tuple[Option, ...] | None:
    """Return the values of an option that has a few."""
    return (None, *BACKENDS) if name == "backend" else _CHOICES.get(name)


def _encode(name: str, option: Option) -> int:
    """Return an option as a 64-bit integer."""
    choices = _choices(name)
    if choices is not None:
        return choices.index(option)
    if option is None:
        return _NONE
    if isinstance(option, str):  # a kind of device, of which new ones appear
        return int.from_bytes(option.encode()[:_INTEGER_BYTES])
    if isinstance(option, float):
        (bits,) = struct.unpack("q", struct.pack("d", option))
        return int(bits)
    assert isinstance(option, int)
    return option


def _decode(name: str, code: int) -> Option:
    """Return the option that `_encode` has made this integer of."""
    choices = _choices(name)
    if choices is not None:
        return choices[code]
    if code == _NONE:
        return None
    if name == "device":
        return code.to_bytes(_INTEGER_BYTES).lstrip(b"\0").decode()
    if name in ("margin", "temperature"):
        (number,) = struct.unpack("d", struct.pack("q", code))
        return float(number)
    return code
