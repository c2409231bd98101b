"""How many tokens are embedded at a time, and for how many activations are cached.

Both limits are found once, from the free memory at the first step and the measured size of
graphs. If memory still runs out they are halved, on all ranks alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn

from hybrid_fast.common.control_groups import free_in_groups
from hybrid_fast.common.environment import whole_number
from hybrid_fast.training.compat import is_out_of_memory

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


@dataclass(frozen=True)
class GraphSize:
    """Bytes that the graphs of micro-batches hold beside weights and buffers.

    Attributes:
        per_token: of each token, padding included.
        per_graph: of each graph, however many tokens it has. Compiled layers hold weights that
            autocast has cast in each.
        shared: of all graphs together. Autocast casts each weight once a pass, for all of them.
    """

    per_token: float
    per_graph: float = 0
    shared: int = 0

    def of(self, num_tokens: int) -> float:
        """Return the bytes of one graph, without what all share."""
        return self.per_graph + self.per_token * num_tokens


_TOO_MUCH = GraphSize(2.0**62)


def find_budget(
    model: nn.Module,
    measure: Callable[[], GraphSize],
    device: torch.device,
    reserved_bytes: int,
    micro_batch: int | None = None,
) -> TokenBudget:
    """Return the limits that the free memory of this process allows.

    Args:
        model: what is trained; its gradients and Adam's two moments are not allocated yet.
        measure: measures graphs, see `measure_graphs`; memory may run out meanwhile.
        device: where it runs.
        reserved_bytes: memory for the loss and the embeddings.
        micro_batch: tokens embedded at a time; None: to be found.
    """
    size = _measured(measure)
    # Only now: a first pass leaves workspaces of libraries, and frozen weights that were converted.
    free = free_bytes(device) // _processes_on(device)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    beside = 3 * trained + reserved_bytes + size.shared
    on_cpu = device.type == "cpu"
    usable = max(int(free * (_USABLE_SHARE_OF_CPU if on_cpu else _USABLE_SHARE)) - beside, 0)
    if micro_batch is None:
        enough = ENOUGH_TOKENS_ON_CPU if on_cpu else ENOUGH_TOKENS
        fitting = (usable / _PEAK_FACTOR - size.per_graph) / size.per_token
        micro_batch = min(enough, int(fitting))
        if micro_batch < LEAST_TOKENS:
            micro_batch = LEAST_TOKENS
            _warn_of_little(free, beside, device)
    # Micro-batches of texts that are no longer than they may be are more than half full.
    per_cached_token = size.per_token + 2 * size.per_graph / micro_batch
    cached = int((usable - _PEAK_FACTOR * size.of(micro_batch)) / per_cached_token)
    return TokenBudget(micro_batch, max(cached, 0))


def _measured(measure: Callable[[], GraphSize]) -> GraphSize:
    """Return what is measured; where memory does not even suffice for that, too much for any."""
    try:
        return measure()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _TOO_MUCH


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


def measure_graphs(
    model: nn.Module, embed: Callable[[int], object], num_tokens: tuple[int, int]
) -> GraphSize:
    """Measure what graphs hold by two of unequal size, which tell what grows with tokens.

    Args:
        model: whose weights and buffers are not counted.
        embed: embeds the first or the second sample and returns what holds its graph. Both have to
            be within one context of autocast, as the micro-batches of a pass are.
        num_tokens: of both samples, padding included.

    Raises:
        torch.OutOfMemoryError: memory does not suffice for both graphs at once.
    """
    # Alive together: the address of freed memory could be counted as what both share.
    graphs, held = zip(*(_held_by(model, embed, index) for index in (0, 1)), strict=True)
    shared = sum(size for address, size in held[0].items() if address in held[1])
    first, second = (sum(each.values()) - shared for each in held)
    del graphs
    more_tokens, more_bytes = num_tokens[1] - num_tokens[0], second - first
    if more_tokens <= 0 or more_bytes <= 0:  # equal samples, or nothing that grows
        return GraphSize(max(second / num_tokens[1], 1), shared=shared)
    per_token = max(more_bytes / more_tokens, 1)
    return GraphSize(per_token, max(first - per_token * num_tokens[0], 0), shared)


def _held_by(
    model: nn.Module, embed: Callable[[int], object], index: int
) -> tuple[object, dict[int, int]]:
    """Return a graph and the bytes that it holds by their address, without weights."""
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    held: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        return embed(index), held


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
