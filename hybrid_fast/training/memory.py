"""How many tokens are embedded at a time, and for how many the graph is kept.

Both are found once, from the free memory at the first step and the size of a graph that is made to
measure it. When memory runs out all the same they are halved, on all ranks alike.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

MAX_HALVINGS = 3
# More gains nothing: on a CPU less would fit the cache, a GPU is busy with as much.
ENOUGH_TOKENS = {"cpu": 2_048, "cuda": 32_768}
# Of the free memory. A CPU shares it with others; on a GPU fragments get lost.
_SHARE = {"cpu": 0.5, "cuda": 0.85}
# Of the graph of a micro-batch: what its forward and backward pass need beside it, at most.
_WORKING_SHARE = 2.0


@dataclass
class TokenBudget:
    """Limits in tokens, padding included.

    Attributes:
        micro_batch: tokens embedded at a time.
        kept: tokens whose graphs are kept from the first forward pass.
    """

    micro_batch: int
    kept: int
    num_halvings: int = 0

    def halve(self) -> None:
        """Halve both.

        Raises:
            RuntimeError: they were halved three times already.
        """
        if self.num_halvings == MAX_HALVINGS or self.micro_batch == 1:
            raise RuntimeError(
                f"memory does not suffice for micro-batches of {self.micro_batch} tokens, halved "
                f"{self.num_halvings} times; set micro_batch_tokens lower, kept_graph_tokens=0, "
                "activation_checkpointing=True, or a shorter max_passage_length"
            )
        self.num_halvings += 1
        self.micro_batch = max(self.micro_batch // 2, 1)
        self.kept //= 2
        logger.warning(
            "Memory ran out; the step is done again with micro-batches of %d tokens and graphs of "
            "%d kept.",
            self.micro_batch,
            self.kept,
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
        model: what is trained; its gradients and the two moments of Adam are still to come.
        embed_one: embeds one of the longest texts and returns what keeps its graph.
        num_tokens: of that text.
        device: where it runs.
        reserved_bytes: for the loss and the embeddings.
        micro_batch: tokens embedded at a time; None: to be found.
    """
    bytes_per_token = max(measure_graph(model, embed_one) // num_tokens, 1)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    usable = int(free_bytes(device) * _SHARE[device.type]) // _processes_on(device)
    usable = max(usable - 3 * trained - reserved_bytes, 0)
    working_bytes = _WORKING_SHARE * bytes_per_token
    if micro_batch is None:
        micro_batch = max(min(ENOUGH_TOKENS[device.type], int(usable / working_bytes)), 1)
    kept = int((usable - working_bytes * micro_batch) / bytes_per_token)
    return TokenBudget(micro_batch, max(kept, 0))


def measure_graph(model: nn.Module, embed: Callable[[], object]) -> int:
    """Return the bytes that the graph of an embedding keeps, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        graph = embed()
    del graph  # alive until here: memory that was freed would be counted again elsewhere
    return sum(kept.values())


def free_bytes(device: torch.device) -> int:
    """Return the memory that this process could still take on a device."""
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
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1
