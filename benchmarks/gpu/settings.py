"""What the sections of the GPU check share: the device, our ways, the size of the cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from cuda_timing import Device, Gpu, ProcessorStandIn
from torch import Tensor

LANDED, NEW = "triton", "triton_one_pass"


@dataclass(frozen=True)
class Settings:
    """How a run is made.

    Attributes:
        device: that is measured.
        ours: backends of the library by the names of our ways.
        tiny: whether all sizes are tiny and a CPU stands in, which shows that the code runs.
        folder: for what runs leave behind, such as encoders.
        without: ways that are left out of a case, because they lost the device.
    """

    device: Device
    ours: dict[str, str]
    tiny: bool
    folder: Path
    without: frozenset[str] = frozenset()

    @classmethod
    def of(cls, folder: Path, *, tiny: bool) -> Settings:
        """Return those of a run, with a processor in place of the GPU if it is tiny."""
        if tiny:
            return cls(ProcessorStandIn(), {LANDED: "cpu", NEW: "cpu"}, True, folder)
        return cls(Gpu(), {LANDED: LANDED, NEW: NEW}, False, folder)

    def scaled(self, case: Case, by: int = 1024) -> Case:
        """Return a case, or a tiny one in its place, of as many times fewer rows."""
        if not self.tiny:
            return case
        return replace(case, size=case.size // by, dim=case.dim // 16)


@dataclass(frozen=True)
class Case:
    """A loss of as many passages as queries, in bfloat16."""

    size: int
    dim: int
    kind: str  # "mean", "symmetric" or "none"

    def __str__(self) -> str:
        return f"{self.size:,} x {self.dim:,} {self.kind}"

    def three_products_ms(self, flop_per_s: float) -> float:
        """Return how long the scores and both gradients take at the rate of one product."""
        return 6 * self.size**2 * self.dim / flop_per_s * 1e3


@dataclass(frozen=True)
class Task:
    """One case of a section.

    Attributes:
        name: in the report.
        run: takes the settings and a deadline of `time.monotonic`, returns what it found.
        needs_s: seconds without which it is not begun.
        limit_s: seconds after which its process is ended, whatever it does.
    """

    name: str
    run: Callable[[Settings, float], dict[str, Any]]
    needs_s: float = 2
    limit_s: float = 90


Tasks = Callable[[Settings], Iterable[Task]]


def embeddings(case: Case, device: str, noise: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return unit vectors in bfloat16, with the default noise as in the middle of a training."""
    generator = torch.Generator(device).manual_seed(seed)

    def random() -> Tensor:
        return torch.randn(case.size, case.dim, generator=generator, device=device)

    passages = F.normalize(random(), dim=1)
    queries = F.normalize(passages + noise * F.normalize(random(), dim=1), dim=1)
    return queries.bfloat16(), passages.bfloat16()
