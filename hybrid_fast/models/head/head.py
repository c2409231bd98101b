"""The head of an encoder: the modules between pooling, or a static backbone, and the embedding.

It is an nn.Sequential of `HeadModule`s, empty if there are none. A final Normalize is no part of
it: that is `BiEncoder.normalize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from torch import nn

from hybrid_fast.models.folders.chain import Part, chain_folders, first_names
from hybrid_fast.models.head.modules import HEAD_MODULES, HeadModule


def load_head(
    parts: Sequence[Part], dim: int, dtype: torch.dtype, *, trust_remote_code: bool = False
) -> nn.Sequential:
    """Read the modules of a head.

    Args:
        parts: class and folder of each, in the order in which they are applied.
        dim: dimension of what the first one takes.
        dtype: of the weights.
        trust_remote_code: see `HeadModule.load`.

    Raises:
        FileNotFoundError, ValueError: see `HeadModule.load`.
    """
    head = nn.Sequential()
    for part in parts:
        kind = HEAD_MODULES[part.name]
        module = kind.load(part.folder, dim, trust_remote_code=trust_remote_code)
        head.append(cast(nn.Module, module))
        dim = module.embedding_dim
    return head.to(dtype)


def untrained_head(head: nn.Sequential, seed: int) -> nn.Sequential:
    """Return a head of the same modules with freshly initialised weights."""
    fresh = deepcopy(head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return fresh


def head_parts(head: nn.Sequential, folder: Path, *, static: bool) -> list[Part]:
    """Return class and folder of each module, within the folder of the model that it is saved in.

    Args:
        head: of the model.
        folder: of the model.
        static: whether the backbone is static.
    """
    names = [type(module).__name__ for module in members(head)]
    first = first_names(static=static)
    places = chain_folders([*first, *names])[len(first) :]
    return [Part(name, folder / place) for name, place in zip(names, places, strict=True)]


def save_head(head: nn.Sequential, folder: Path, *, static: bool) -> tuple[Part, ...]:
    """Save the modules into new folders within that of the model; arguments as `head_parts`."""
    parts = head_parts(head, folder, static=static)
    for part, module in zip(parts, members(head), strict=True):
        part.folder.mkdir()
        module.save(part.folder)
    return tuple(parts)


def members(head: nn.Sequential) -> list[HeadModule]:
    """Return the modules of a head.

    Raises:
        TypeError: one is of another kind, which sentence-transformers would not read.
    """
    for module in head:
        if type(module) not in HEAD_MODULES.values():
            raise TypeError(
                f"the head holds a {type(module).__name__}, which is not saved; take "
                f"{', '.join(HEAD_MODULES)} of hybrid_fast.models.head.modules"
            )
    return cast(list[HeadModule], list(head))
