"""What differs between the architectures of transformers: the class that embeds, and sizes.

Of a pair of encoder and decoder (T5, mT5) the encoder alone is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers import AutoModel, PreTrainedModel

from hybrid_fast.models.folders.foreign import untrainable

UNLIMITED = 1_000_000
# Kinds whose states of tokens depend on the padding after them, whatever the attention mask says.
MIXING_PADDING = ("convbert", "fnet", "funnel", "mobilebert", "reformer", "yoso")
# They have an encoder class that takes more than text.
_NOT_OF_TEXT = ("udop", "diffusion_gemma")


def loading_class(config: Any, auto_class: Any, folder: Path) -> Any:
    """Return the class that loads a model of this configuration.

    Args:
        config: of transformers; that of a pair is changed to that of its encoder.
        auto_class: of transformers, such as AutoModel.
        folder: of the model, for messages.

    Raises:
        UntrainableChainError: a pair of encoder and decoder whose encoder is not loaded alone.
        ValueError: a pair where `auto_class` adds a head to the encoder.
    """
    if not _is_pair(config):
        return auto_class
    encoder = _encoder_class(config)
    if encoder is None or auto_class is not AutoModel:
        alone = "alone" if encoder is None else "with a head"
        what = (
            f"a {config.model_type} is an encoder-decoder, whose encoder {alone} is not loaded "
            "here; give an encoder (such as BERT, XLM-R or that of a T5, mT5 or umT5) or a decoder "
            "(such as Qwen3)"
        )
        if auto_class is AutoModel:
            raise untrainable(folder, f"{folder} cannot be loaded: {what}")
        raise ValueError(what)
    config.is_encoder_decoder = False
    return encoder


def _is_pair(config: Any) -> bool:
    # The encoder of a T5 saved alone says no of itself; its class has a decoder nevertheless.
    try:
        return bool(config.is_encoder_decoder or type(config)().is_encoder_decoder)
    except (TypeError, ValueError):  # a class without defaults
        return False


def _encoder_class(config: Any) -> Any:
    if config.model_type in _NOT_OF_TEXT:
        return None
    family = type(config).__name__.removesuffix("Config")
    return getattr(transformers, f"{family}EncoderModel", None)


def state_size(model: PreTrainedModel) -> int:
    """Return D of the last hidden states, (n, length, D).

    Raises:
        ValueError: the configuration does not say.
    """
    for config in parts_of(model.config):
        # An OPT may project its states to the size of its token embeddings.
        for name in ("word_embed_proj_dim", "hidden_size", "hidden_dim"):
            size = getattr(config, name, None)
            if isinstance(size, int):
                return size
    raise ValueError(
        f"the configuration of a {model.config.model_type} has no hidden_size, so that the "
        "dimension of its embeddings is not known"
    )


def parts_of(config: Any) -> Iterator[Any]:
    """Yield a configuration, and those of its parts, that of texts or of an encoder first."""
    yield config
    for name in ("text_config", "encoder", *(getattr(config, "sub_configs", None) or ())):
        if hasattr(getattr(config, name, None), "to_dict"):
            yield getattr(config, name)


def position_limit(model: PreTrainedModel) -> int:
    """Return the number of tokens that the model has positions for, `UNLIMITED` if any number."""
    configs = parts_of(model.config)
    limits = (getattr(config, "max_position_embeddings", None) for config in configs)
    limit = next(filter(None, limits), -1)
    return int(limit) - first_position(model) if limit > 0 else UNLIMITED


def first_position(model: PreTrainedModel) -> int:
    """Return the position of the first token, 0 but for RoBERTa and its relatives.

    They count from the id of the padding token + 1.
    """
    for module in model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(positions, nn.Embedding) and positions.padding_idx is not None:
            return positions.padding_idx + 1
    return 0
