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

from hybrid_fast.cpu.ways import asked_otherwise
from hybrid_fast.models.backbones.architectures import parts_of
from hybrid_fast.models.compat import (
    attention_of,
    configs_of_attention,
    supports_flash_attention,
)
from hybrid_fast.models.encoding import evaluation_mode
from hybrid_fast.models.kernels.encoder import fast_encoder

_LENGTHS = (5, 1, 9)
# Windows that take longer texts to show are not tried; texts that reach them stay padded.
_LONGEST = 256
# Norm of the difference of the states over that of the states. Wrong positions make it .01 to 1.
_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.03}
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
        and all(attention_of(config) == "sdpa" for config in configs)
        and any(map(supports_flash_attention, transformer.modules()))
        and not asked_otherwise({"attention": "core"})
    ):
        return False
    lengths = _lengths(transformer.config, max(backbone.max_lengths.values()))
    return lengths is not None and _embeds_alike(backbone, np.array(lengths))


def _lengths(config: Any, longest: int) -> list[int] | None:
    """Return lengths of texts to try, those of windows that `longest` reaches; None: too long."""
    names = ("sliding_window", "local_attention")
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

    def states(unpadded: bool) -> Tensor:
        with fast_encoder(backbone, unpadded=unpadded):
            if backbone.is_unpadded != unpadded:
                raise RuntimeError("the model does not take its attention from its configuration")
            features = backbone.features(tokens, offsets, np.arange(len(lengths)))
            return torch.cat(backbone.token_states(features)).float()

    autocast_off = torch.autocast("cpu", enabled=False)
    with evaluation_mode(backbone), torch.no_grad(), torch.random.fork_rng([]), autocast_off:
        try:
            padded, flat = states(False), states(True)
        except _ERRORS:
            return False
    tolerance = _TOLERANCES[backbone.model.dtype]
    return bool((flat - padded).norm() <= tolerance * padded.norm())
