"""How many tokens are embedded at a time, and for how many activations are cached.

Both limits are found once, from the free memory at the first step and the measured size of one
graph. If memory still runs out they are halved, on all ranks alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn

from hybrid_fast.common.environment import whole_number
from hybrid_fast.training.control_groups import free_in_groups

logger = logging.getLogger(__name__)

MAX_HALVINGS = 3
# More gains nothing: on a CPU it would overflow the caches, a GPU is already saturated.
ENOUGH_TOKENS_ON_CPU, ENOUGH_TOKENS = 1_024, 32_768
# Fewer would be slow, and seldom save what is short: weights and optimiser take most of it.
LEAST_TOKENS = 256
# Usable share of the free memory: a CPU's is needed by others too, a GPU's gets fragmented.
_USABLE_SHARE_OF_CPU, _USABLE_SHARE = 0.5, 0.85
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
            torch.OutOfMemoryError: they cannot be halved again; it is a RuntimeError.
        """
        if self.num_halvings == MAX_HALVINGS or self.micro_batch == 1:
            raise torch.OutOfMemoryError(
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
    on_cpu = device.type == "cpu"
    free = free_bytes(device) // _processes_on(device)
    usable = int(free * (_USABLE_SHARE_OF_CPU if on_cpu else _USABLE_SHARE))
    usable = max(usable - 3 * trained - reserved_bytes, 0)
    peak_bytes = _PEAK_FACTOR * bytes_per_token
    if micro_batch is None:
        enough = ENOUGH_TOKENS_ON_CPU if on_cpu else ENOUGH_TOKENS
        micro_batch = min(enough, int(usable / peak_bytes))
        if micro_batch < LEAST_TOKENS:
            micro_batch = LEAST_TOKENS
            _warn_of_little(free, 3 * trained + reserved_bytes, device)
    cached = int((usable - peak_bytes * micro_batch) / bytes_per_token)
    return TokenBudget(micro_batch, max(cached, 0))


def _warn_of_little(free: int, needed: int, device: torch.device) -> None:
    logger.warning(
        "Only %d MiB of memory are free for this process on %s, and gradients, optimiser and loss "
        "take %d MiB; training may run out of memory. Texts that need padding are embedded %d "
        "tokens at a time.",
        free // 2**20,
        device,
        needed // 2**20,
        LEAST_TOKENS,
    )


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
    if device.type == "cpu":
        available = int(psutil.virtual_memory().available)
        in_groups = free_in_groups()
        return available if in_groups is None else min(available, in_groups)
    if device.type == "mps":  # shares the memory of the CPU
        own = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return max(min(own, int(psutil.virtual_memory().available)), 0)
    free, _ = torch.accelerator.get_memory_info(device)
    memory = torch.accelerator.memory
    return int(free) + memory.memory_reserved(device) - memory.memory_allocated(device)


def _processes_on(device: torch.device) -> int:
    """Return how many processes share the device; torchrun gives each its own GPU."""
    return whole_number("LOCAL_WORLD_SIZE", 1, least=1) if device.type == "cpu" else 1
