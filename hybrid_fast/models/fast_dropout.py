"""A model of transformers that drops values by the kernels of this library, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from hybrid_fast.models import dropout_attention
from hybrid_fast.models.compat import attention_of, configs_of_attention, set_attention
from hybrid_fast.models.dropout import Dropout


@contextmanager
def fast_dropout(model: nn.Module) -> Iterator[None]:
    """Let a model drop values by our kernels within; afterwards it is as it was.

    In place of each `torch.nn.Dropout` stands one of ours, and the attention "sdpa" of
    transformers is `dropout_attention.attend`. Rates and semantics stay, masks are others. Modules
    with a dropout of their own, such as DeBERTa's, and other attentions keep theirs.
    """
    replaced = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout and not child.inplace
    ]
    configs = [config for config in configs_of_attention(model) if attention_of(config) == "sdpa"]
    try:
        for parent, name, child in replaced:
            setattr(parent, name, Dropout(child.p).train(child.training))
        for config in configs:
            set_attention(config, dropout_attention.NAME)
        yield
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child)
        for config in configs:
            set_attention(config, "sdpa")
