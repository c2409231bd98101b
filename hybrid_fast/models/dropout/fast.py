"""A model of transformers that drops values by the kernels of this library, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from hybrid_fast.models.compat import attention_of, configs_of_attention, set_attention
from hybrid_fast.models.dropout import attention
from hybrid_fast.models.dropout.modules import Dropout


@contextmanager
def fast_dropout(model: nn.Module) -> Iterator[None]:
    """Let a model drop values by our kernels within; afterwards it is as it was.

    Each `torch.nn.Dropout` is one of ours meanwhile, with its rate, mode and hooks, and the
    attention "sdpa" of transformers is `attention.attend`. Rates and semantics stay, masks
    are others. Modules with a dropout of their own, such as DeBERTa's, and other attentions keep
    theirs.
    """
    dropouts = [each for each in model.modules() if type(each) is nn.Dropout and not each.inplace]
    configs = [config for config in configs_of_attention(model) if attention_of(config) == "sdpa"]
    try:
        # The modules stay, since others may hold them and what was compiled looks for them.
        for module in dropouts:
            module.__class__ = Dropout
        for config in configs:
            set_attention(config, attention.NAME)
        yield
    finally:
        for module in dropouts:
            module.__class__ = nn.Dropout
        for config in configs:
            set_attention(config, "sdpa")
