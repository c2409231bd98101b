"""What a small loss on a GPU costs Python, without a GPU: operations, launches and microseconds.

    python benchmarks/host_time.py [FILE.json]

Below some thousand rows a GPU waits for Python. `idle_gpu` lets everything run but what the GPU
would do; torch's operations run on a handful of numbers. Beside it the loss as a user writes it, in
the same process. On a real GPU each launch costs some microseconds more, in both.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import machine
import torch
from idle_gpu import idle_gpu
from loss_ways import TEMPERATURE, cross_entropy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hybrid_fast.ops import info_nce, operators, value_and_grad

SIZE, DIM = 64, 32
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
KINDS: dict[str, dict[str, Any]] = {"mean": {}, "symmetric": {"symmetric": True}}
CALLS, ROUNDS = 20, 100  # of one measurement; the fastest round counts
PROFILED = 500
PARTS = ("/hybrid_fast/", "/triton/", "/torch/", "built in: torch, and Python's own")
# Views, memory, and what the host does alone.
NO_LAUNCH = frozenset(
    "alias as_strided detach diagonal empty empty_like empty_strided expand lift_fresh new_empty "
    "permute promote_types scalar_tensor select slice squeeze t transpose unbind unsqueeze view "
    "_local_scalar_dense".split()
)
Step = Callable[[], Tensor]


def is_on_host(tensor: Tensor) -> bool:
    """Tell whether a tensor would be on the CPU if embeddings were on a GPU."""
    return getattr(tensor, "on_host", False)


class Operations(TorchDispatchMode):
    """Counts the operations of torch that launch something on a GPU.

    Numbers that Python knows are tensors on the CPU there too: what is computed of them alone is
    not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launched: list[str] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = operator(*args, **(kwargs or {}))
        name = operator.name().removeprefix("aten::").split(".")[0]
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        on_host = name == "scalar_tensor" or (bool(tensors) and all(map(is_on_host, tensors)))
        if on_host and isinstance(result, Tensor):
            result.on_host = True  # type: ignore[attr-defined]
        elif not on_host and name not in NO_LAUNCH:
            self.launched.append(name)
        return result


@contextmanager
def counted() -> Iterator[list[str]]:
    """Yield the operations of torch that launch something; a mode that is not looked for."""
    with (
        mock.patch.object(operators, "_is_watched", return_value=False),
        Operations() as operations,
    ):
        yield operations.launched


def ways(kind: str) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return ours and the loss as a user writes it."""
    ours = partial(info_nce, temperature=TEMPERATURE, backend="triton", **KINDS[kind])
    return {"ours": ours, "eager": cross_entropy(kind)}


def embeddings(dtype: torch.dtype, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Return queries and passages, which need gradients."""
    queries, passages = (torch.ones(size, DIM, dtype=dtype, requires_grad=True) for _ in range(2))
    return queries, passages


def upstream_of(loss: Tensor) -> Tensor:
    """Return a gradient that is not 1, by which those on a CPU would not be multiplied."""
    return torch.full_like(loss, 2.0)


def count(loss: Callable[[Tensor, Tensor], Tensor], kernels: list[str], dtype: torch.dtype) -> Any:
    """Return what one call launches, kernels of Triton and operations of torch, by pass."""
    found = {}
    queries, passages = embeddings(dtype)
    upstream = upstream_of(loss(queries, passages))  # once, so that nothing is compiled
    with counted() as operations:
        kernels.clear()
        value = loss(queries, passages)
        found["forward"] = {"triton": [*kernels], "torch": [*operations]}
        kernels.clear()
        operations.clear()
        value.backward(upstream)
        found["backward"] = {"triton": [*kernels], "torch": [*operations]}
    return found


def microseconds(*steps: Callable[[], object]) -> list[float]:
    """Return the fastest of many rounds of each step, in turn."""
    best = [float("inf")] * len(steps)
    for _ in range(ROUNDS):
        for index, step in enumerate(steps):
            start = time.perf_counter()
            for _ in range(CALLS):
                step()
            best[index] = min(best[index], (time.perf_counter() - start) / CALLS)
    return [seconds * 1e6 for seconds in best]


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Return the share of the time of a step that each part takes, by cProfile."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(PROFILED):
        step()
    profile.disable()
    seconds = dict.fromkeys(PARTS, 0.0)
    stats: Any = pstats.Stats(profile)
    for (file, _, _), (_, _, own, _, _) in stats.stats.items():
        seconds[next((part for part in PARTS if part in file), PARTS[-1])] += own
    total = sum(seconds.values())
    return {part.strip("/"): round(own / total, 2) for part, own in seconds.items()}


def measure(kind: str, dtype: torch.dtype, kernels: list[str]) -> dict[str, Any]:
    """Return counts and microseconds of ours and of eager torch, for one kind and dtype."""
    queries, passages = embeddings(dtype)

    def step(loss: Callable[[Tensor, Tensor], Tensor], upstream: Tensor) -> None:
        queries.grad = passages.grad = None
        loss(queries, passages).backward(upstream)

    found = {}
    losses = ways(kind)
    upstreams = {name: upstream_of(loss(queries, passages)) for name, loss in losses.items()}
    steps = {name: partial(step, loss, upstreams[name]) for name, loss in losses.items()}
    whole = microseconds(*steps.values())
    forward = microseconds(*(partial(loss, queries, passages) for loss in losses.values()))
    for index, (name, loss) in enumerate(losses.items()):
        found[name] = {
            **count(loss, kernels, dtype),
            "microseconds": round(whole[index], 1),
            "microseconds_forward": round(forward[index], 1),
        }
    found["ours"]["shares"] = shares(steps["ours"])
    call = partial(
        value_and_grad, queries, passages, temperature=TEMPERATURE, backend="triton", **KINDS[kind]
    )
    found["ours"]["microseconds_value_and_grad"] = round(microseconds(call)[0], 1)
    return found


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="the JSON; without it none is written")
    file = parser.parse_args().file
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with idle_gpu() as kernels:
        for dtype_name, dtype in DTYPES.items():
            for kind in KINDS:
                found = results[f"{kind}, {dtype_name}"] = measure(kind, dtype, kernels)
                for name, one in found.items():
                    launches = {
                        each: [len(one[each][by]) for by in ("triton", "torch")]
                        for each in ("forward", "backward")
                    }
                    print(
                        f"{kind:10} {dtype_name:9} {name:6} {one['microseconds']:6} us {launches}"
                    )
    if file is not None:
        report = {
            "what": "host time of a small loss, by a driver that launches nothing",
            "date": machine.today(),
            "machine": machine.describe(),
            "size": [SIZE, DIM],
            "cases": results,
        }
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
