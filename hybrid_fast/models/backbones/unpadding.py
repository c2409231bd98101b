"""Whether a transformer embeds texts that lie one after another as it embeds padded ones.

On CPUs torch's attention needs padded texts, ours does not. It is taken for families that are
written for flash attentions, which are told of texts in the same way, and then some tokens are
embedded both ways: code of others, such as an architecture of one's own, may count positions or mix
tokens as it likes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid_fast.cpu.ways import preferred
from hybrid_fast.models.backbones.architectures import parts_of
from hybrid_fast.models.compat import (
    configs_of_attention,
    supports_flash_attention,
)
from hybrid_fast.models.encoding import evaluation_mode
from hybrid_fast.models.kernels.encoder import can_replace_attention, fast_encoder

_LENGTHS = (5, 1, 9)
# Windows that take longer texts to show are not tried; texts that reach them stay padded.
_LONGEST = 256
# Norm of the difference of the states over that of the states. Wrong positions make it .01 to 1.
_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.03}
# The same, of a text among others; a recurrence that runs on through all texts makes it .001 to .1.
_INDEPENDENT = 1e-6
# What the code of a model raises that knows no positions or no places of texts.
_ERRORS = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError)


def can_unpad(backbone: Any) -> bool:
    """Tell whether a backbone embeds unpadded texts as it does padded ones, on this CPU.

    Args:
        backbone: a TransformerBackbone, in any mode; torch's random state stays as it is.
    """
    transformer = backbone.model
    configs = configs_of_attention(transformer)
    if not (
        transformer.device.type == "cpu"
        and transformer.dtype in _TOLERANCES
        and configs
        and all(map(can_replace_attention, configs))
        and any(map(supports_flash_attention, transformer.modules()))
        and not _asks_for_torch()
    ):
        return False
    lengths = _lengths(transformer.config, max(backbone.max_lengths.values()))
    return lengths is not None and _embeds_alike(backbone, np.array(lengths))


def case_of(backbone: Any) -> object:
    """Return what `can_unpad` depends on; whatever weights have become, it stays."""
    transformer = backbone.model
    modules = tuple(
        (id(each), len(each._forward_hooks), len(each._forward_pre_hooks))
        for each in transformer.modules()
    )
    longest, asked = max(backbone.max_lengths.values()), _asks_for_torch()
    return transformer.dtype, transformer.device, longest, asked, modules


def _asks_for_torch() -> bool:
    return preferred("attention", "unpadded", ("core", "torch")) == "torch"


def _lengths(config: Any, longest: int) -> list[int] | None:
    """Return lengths of texts to try, those of windows that `longest` reaches; None: too long."""
    names = ("sliding_window", "local_attention", "attention_chunk_size")
    windows = [getattr(part, name, None) for part in parts_of(config) for name in names]
    lengths = {each + 3 for each in windows if isinstance(each, int) and 0 < each < longest}
    if max(lengths, default=0) > _LONGEST:
        return None
    return sorted({min(length, longest) for length in {*_LENGTHS, *lengths}}, key=lambda n: n % 7)


def _embeds_alike(backbone: Any, lengths: np.ndarray) -> bool:
    special = set(backbone.tokenizer.all_special_ids)
    ids = [token for token in range(min(backbone.num_embeddings, 4096)) if token not in special]
    if not ids:
        return False
    tokens = np.resize(np.array(ids, np.int32), lengths.sum())
    offsets = np.concatenate([[0], lengths.cumsum()])
    # Every second text stays; states that mix with those of others may differ by very little.
    stays = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    others = np.where(stays, tokens, np.resize(tokens[::-1], len(tokens)))

    def states(unpadded: bool, tokens: np.ndarray = tokens) -> Tensor:
        with fast_encoder(backbone, unpadded=unpadded):
            if backbone.is_unpadded != unpadded:
                raise RuntimeError("the model does not take its attention from its configuration")
            features = backbone.features(tokens, offsets, np.arange(len(lengths)))
            return torch.cat(backbone.token_states(features)).float()

    autocast_off = torch.autocast("cpu", enabled=False)
    with evaluation_mode(backbone), torch.no_grad(), torch.random.fork_rng([]), autocast_off:
        try:
            padded, flat, among_others = states(False), states(True), states(True, others)
        except _ERRORS:
            return False
    kept, again = flat[stays], among_others[stays]
    return _differ(flat, padded) <= _TOLERANCES[backbone.model.dtype] and (
        _differ(again, kept) <= _INDEPENDENT
    )


def _differ(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
