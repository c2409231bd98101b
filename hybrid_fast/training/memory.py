"""How many tokens are embedded at a time, and for how many activations are cached.

Both limits are found once, from the free memory at the first step and the measured size of one
graph. If memory still runs out they are halved, on all ranks alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from hybrid_fast.common.environment import whole_number

logger = logging.getLogger(__name__)

MAX_HALVINGS = 3
# More gains nothing: on a CPU it would overflow the caches, a GPU is already saturated.
ENOUGH_TOKENS = {"cpu": 2_048, "cuda": 32_768}
# Usable share of the free memory: a CPU's is needed by others too, a GPU's gets fragmented.
_USABLE_SHARE = {"cpu": 0.5, "cuda": 0.85}
# Peak memory of a micro-batch's forward and backward pass, as a multiple of its graph.
_PEAK_FACTOR = 2.0


@dataclass
class TokenBudget:
    """Limits in tokens, padding included.

    Attributes:
        micro_batch: tokens embedded at a time.
        cached: tokens whose activations are cached in the first forward pass.
        num_halvings: how often the limits were halved.
    """

    micro_batch: int
    cached: int
    num_halvings: int = 0

    def halve(self) -> None:
        """Halve both limits.

        Raises:
            RuntimeError: they cannot be halved again.
        """
        if self.num_halvings == MAX_HALVINGS or self.micro_batch == 1:
            raise RuntimeError(
                f"memory does not suffice for micro-batches of {self.micro_batch} tokens, halved "
                f"{self.num_halvings} times; set micro_batch_tokens lower, "
                "cached_activation_tokens=0, "
                "activation_checkpointing=True, or a shorter max_passage_length"
            )
        self.num_halvings += 1
        self.micro_batch = max(self.micro_batch // 2, 1)
        self.cached //= 2
        logger.warning(
            "Memory ran out; the step is repeated with micro-batches of %d tokens and activations "
            "of %d tokens cached.",
            self.micro_batch,
            self.cached,
        )


def find_budget(
    model: nn.Module,
    embed_one: Callable[[], object],
    num_tokens: int,
    device: torch.device,
    reserved_bytes: int,
    micro_batch: int | None = None,
) -> TokenBudget:
    """Return the limits that the free memory of this process allows.

    Args:
        model: what is trained; its gradients and Adam's two moments are not allocated yet.
        embed_one: embeds one of the longest texts and returns what holds its graph.
        num_tokens: tokens of that text.
        device: where it runs.
        reserved_bytes: memory for the loss and the embeddings.
        micro_batch: tokens embedded at a time; None: to be found.
    """
    bytes_per_token = max(measure_graph(model, embed_one) // num_tokens, 1)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    usable = int(free_bytes(device) * _USABLE_SHARE[device.type]) // _processes_on(device)
    usable = max(usable - 3 * trained - reserved_bytes, 0)
    peak_bytes = _PEAK_FACTOR * bytes_per_token
    if micro_batch is None:
        micro_batch = max(min(ENOUGH_TOKENS[device.type], int(usable / peak_bytes)), 1)
    cached = int((usable - peak_bytes * micro_batch) / bytes_per_token)
    return TokenBudget(micro_batch, max(cached, 0))


def measure_graph(model: nn.Module, embed: Callable[[], object]) -> int:
    """Return the bytes that the graph of an embedding holds, without weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        graph = embed()
    del graph  # alive until here: the address of freed memory could be counted again
    return sum(saved.values())


def free_bytes(device: torch.device) -> int:
    """Return the bytes that this process can still allocate on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(cached)
    return min(int(psutil.virtual_memory().available), _free_in_container())


def _free_in_container(folder: Path = Path("/sys/fs/cgroup")) -> int:
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except OSError:  # no control group of version 2
        return psutil.virtual_memory().total
    return psutil.virtual_memory().total if limit == "max" else max(int(limit) - used, 0)


def _processes_on(device: torch.device) -> int:
    """Return how many processes share the device; torchrun gives each its own GPU."""
    return whole_number("LOCAL_WORLD_SIZE", 1, least=1) if device.type == "cpu" else 1
