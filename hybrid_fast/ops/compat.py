"""The private names of torch that the loss relies on, all of them here.

Those with a public substitute fall back on it. The others are looked up by `required`, which names
the versions that work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

TESTED_TORCH = "2.13"


def required(holder: Any, name: str) -> Any:
    """Return a private attribute of torch that has no substitute.

    Raises:
        ImportError: if this torch does not have it.
    """
    try:
        return getattr(holder, name)
    except AttributeError:
        raise ImportError(
            f"torch {torch.__version__} has no {name}, which hybrid_fast.ops needs; versions known "
            f"to work: {TESTED_TORCH}"
        ) from None


# Dispatches operators to the kernels below autograd. What is public, `torch.library.custom_op`,
# costs 70 microseconds more a call.
BelowAutograd = required(torch._C, "_AutoDispatchBelowAutograd")


# Classes of tensors that bring no code of their own, as others may.
_PLAIN = frozenset((Tensor, torch.nn.Parameter))


def is_watched(arguments: Sequence[Tensor]) -> bool:
    """Tell whether something looks at a call of an operator: a mode, or the class of an argument.

    True if this torch cannot tell.
    """
    num_modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
    if num_modes is None or num_modes() > 0:
        return True
    return not _PLAIN.issuperset(map(type, arguments))


def process_group(name: str) -> dist.ProcessGroup:
    """Return the process group with the given `group_name`."""
    group: dist.ProcessGroup = required(dist.distributed_c10d, "_resolve_process_group")(name)
    return group


def keeps_graph() -> bool:
    """Tell whether the running backward pass keeps its graph, so that saved tensors are used again.

    True if this torch cannot tell, which costs a copy of the gradients.
    """
    autograd = getattr(torch._C, "_autograd", None)
    tell = getattr(autograd, "_get_current_graph_task_keep_graph", None)
    return True if tell is None else bool(tell())
