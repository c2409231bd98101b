"""Time, memory, products and graphs of an NVIDIA GPU, and steps measured on it in turns.

`ProcessorStandIn` takes the place of `Gpu` where there is none, so that all of the GPU check runs
in a test. No figure of it says anything about a GPU.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from memory import resident_bytes
from side_by_side import num_rounds
from torch import Tensor
from torch.profiler import ProfilerActivity

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]  # loss and both gradients

CASE_S = 8  # for the rounds of one case, but at least FEWEST_ROUNDS
WARM_UPS, FEWEST_ROUNDS, MOST_ROUNDS = 2, 3, 10
SLOW_MS = 1000  # a step that takes longer is timed once
NO_TIME = {"skipped": "no time left"}
SQUARE = 8192  # of the product that gives the rate


class Gpu:
    """The current NVIDIA GPU.

    Attributes:
        way: what is running on it, by `reported`.
    """

    way: str | None = None
    type = "cuda"
    activity = ProfilerActivity.CUDA

    def milliseconds(self, function: Callable[..., object], *arguments: Tensor) -> float:
        """Return how long a call takes on the device."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function(*arguments)
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def allocated_bytes(self) -> int:
        return torch.cuda.memory_allocated()

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated()

    def empty_cache(self) -> None:
        torch.cuda.empty_cache()

    def product(
        self, a: Tensor, b: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return a b, of another dtype than theirs if one is given, in `out` if that is given."""
        options: dict[str, Any] = {} if dtype is None else {"out_dtype": dtype}
        return torch.mm(a, b, **options, out=out)

    def add_product(self, total: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Add a b, of half precision, to a float32 total."""
        return torch.addmm(total, a, b, out_dtype=total.dtype, out=total)

    def captured(self, step: Step, inputs: tuple[Tensor, Tensor]) -> Step:
        """Return the step as a CUDA graph of these inputs."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = step(*inputs)

        def replay(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            graph.replay()
            return results

        return replay

    def works(self) -> bool:
        """Tell whether the device still answers; after a fault in a kernel it never does."""
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return False
        return True

    def time_of(self, event: Any) -> float:
        """Return the microseconds of kernels in a row of a profile; 0 for rows of the host."""
        on_device = event.device_type == torch.autograd.DeviceType.CUDA
        # A name that was given to a stretch of time has that of all kernels within.
        is_kernel = on_device and not getattr(event, "is_user_annotation", False)
        return event.device_time_total if is_kernel else 0.0

    def describe(self) -> dict[str, Any]:
        """Return what the card is, with its driver and CUDA."""
        properties = torch.cuda.get_device_properties(0)
        return {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }


class ProcessorStandIn:
    """Stands in for `Gpu` on a CPU: clocks of the host, resident memory, no graphs."""

    way: str | None = None
    type = "cpu"
    activity = ProfilerActivity.CPU

    def milliseconds(self, function: Callable[..., object], *arguments: Tensor) -> float:
        start = time.perf_counter()
        function(*arguments)
        return (time.perf_counter() - start) * 1e3

    def synchronize(self) -> None:
        pass

    def allocated_bytes(self) -> int:
        return resident_bytes()

    def reset_peak(self) -> None:
        pass

    def peak_bytes(self) -> int:
        return resident_bytes()

    def empty_cache(self) -> None:
        pass

    def product(
        self, a: Tensor, b: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return a b: a product with a wider result is not on the CPU."""
        result = a @ b if dtype is None else a.to(dtype) @ b.to(dtype)
        return result if out is None else out.copy_(result)

    def add_product(self, total: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return total.add_(a.to(total.dtype) @ b.to(total.dtype))

    def captured(self, step: Step, inputs: tuple[Tensor, Tensor]) -> Step:
        step(*inputs)
        return step

    def works(self) -> bool:
        return True

    def time_of(self, event: Any) -> float:
        return event.self_cpu_time_total

    def describe(self) -> dict[str, Any]:
        return {"name": "no GPU: a processor stands in", "cuda": None}


Device = Gpu | ProcessorStandIn


class DeviceLostError(RuntimeError):
    """A way left the device without an answer; only a new process finds it again."""

    def __init__(self, way: str, said: str) -> None:
        super().__init__(f"{way} lost the device: {said}")
        self.way = way


def matmul_rate(device: Device, size: int = SQUARE) -> float:
    """Return FLOP/s of a large bfloat16 product."""
    a, b = (torch.randn(size, size, device=device.type).bfloat16() for _ in range(2))
    times = [device.milliseconds(torch.mm, a, b) for _ in range(20)]
    return 2 * size**3 / (statistics.median(times[5:]) * 1e-3)


def median_ms(device: Device, function: Callable[[], object], rounds: int = MOST_ROUNDS) -> float:
    """Return the median milliseconds of a call, after some that are not timed."""
    for _ in range(WARM_UPS):
        function()
    return statistics.median(device.milliseconds(function) for _ in range(rounds))


def rounds_of_case(round_s: float, left_s: float, most: int = MOST_ROUNDS) -> int:
    """Return how many rounds fit into what is left for one case."""
    return num_rounds(round_s, min(CASE_S, left_s), FEWEST_ROUNDS, most)


@contextmanager
def reported(device: Device, results: dict[str, Any], way: str) -> Iterator[None]:
    """Name the way that runs, and put into the results why it could not.

    Raises:
        DeviceLostError: after it the device answers no more.
    """
    device.way = way
    try:
        yield
    except torch.OutOfMemoryError:
        results[way] = {"skipped": "out of memory"}
    except Exception as error:  # of whatever kind: the other ways are still to be measured
        said = f"{type(error).__name__}: {error}"[:600]
        results[way] = {"failed": said}
        if not device.works():
            raise DeviceLostError(way, said) from error
    finally:
        device.way = None


def warm_up(device: Device, step: Step, inputs: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Return milliseconds of a step and its peak MiB beyond inputs, also without gradients."""
    for _ in range(WARM_UPS - 1):
        step(*inputs)
    device.synchronize()
    before = device.allocated_bytes()
    device.reset_peak()
    gradients: list[Tensor] = []

    def run() -> None:
        gradients.extend(step(*inputs)[1:])

    first_ms = device.milliseconds(run)
    peak = device.peak_bytes() - before
    returned = sum(gradient.nbytes for gradient in gradients)
    return {
        "first_ms": first_ms,
        "peak_mib": peak / 2**20,
        "scratch_mib": (peak - returned) / 2**20,
    }


def measure(
    device: Device,
    steps: Mapping[str, Step],
    inputs: tuple[Tensor, Tensor],
    deadline: float,
    *,
    most_rounds: int = MOST_ROUNDS,
    keeps_memory: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return median milliseconds and memory of each step, interleaved.

    Args:
        device: that the inputs are on.
        steps: by name. One that takes longer than SLOW_MS is timed once, outside the rounds.
        inputs: queries and passages.
        deadline: of `time.monotonic`; what has not begun before is skipped.
        most_rounds: as many as fit, up to these.
        keeps_memory: whether freed memory stays with torch between steps, as it may where none is
            large.
    """
    results: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for name, step in steps.items():
        if time.monotonic() > deadline:
            results[name] = dict(NO_TIME)
            continue
        with reported(device, results, name):
            results[name] = warm_up(device, step, inputs)
            times[name] = []
        if not keeps_memory:
            device.empty_cache()
    fast = [name for name in times if results[name]["first_ms"] <= SLOW_MS]
    # Memory freed for another step is asked for again, which must not be timed.
    again = len(times) > 1 and not keeps_memory
    round_s = sum(results[name]["first_ms"] for name in fast) * 1e-3 * (2 if again else 1)
    left_s = deadline - time.monotonic()
    for _ in range(rounds_of_case(round_s, left_s, most_rounds) if fast else 0):
        for name in [name for name in fast if "first_ms" in results[name]]:
            with reported(device, results, name):
                if again:
                    steps[name](*inputs)
                times[name].append(device.milliseconds(steps[name], *inputs))
            if again:
                device.empty_cache()
    return {name: _summary(result, times.get(name, [])) for name, result in results.items()}


def _summary(result: dict[str, Any], times: list[float]) -> dict[str, Any]:
    """Return the result with its median in place of the first time."""
    if "first_ms" not in result:
        return result
    times = times or [result["first_ms"]]
    kept = {name: value for name, value in result.items() if name != "first_ms"}
    return kept | {"median_ms": statistics.median(times), "rounds": len(times)}


def _driver() -> str | None:
    """Return the version of NVIDIA's driver."""
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        return found.stdout.splitlines()[0].strip()
    return None
