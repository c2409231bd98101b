"""Weights that are not trained: the lowest layers of an encoder, or modules by name."""

from __future__ import annotations

import logging

from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.layers import Layers, find_layers
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.training.weight_names import check_matches, matches

logger = logging.getLogger(__name__)


def freeze_layers(encoder: BiEncoder, frozen: int | list[str] | None) -> None:
    """Freeze weights of an encoder, in place; those that are frozen already stay so.

    Args:
        encoder: with its adapter, if it is to have one.
        frozen: n for the token embeddings and the n lowest layers, or names of modules, see
            `weight_names`; None freezes nothing.

    Raises:
        ValueError: there are not so many layers, or a name that matches no weight.
    """
    if frozen is None:
        return
    named = dict(encoder.named_parameters())
    if isinstance(frozen, int):
        found = _below(encoder, frozen)
    else:
        check_matches("frozen_layers", frozen, named)
        found = [w for n, w in named.items() if any(matches(pattern, n) for pattern in frozen)]
    for weight in found:
        weight.requires_grad_(False)
    trained = [weight.numel() for weight in named.values() if weight.requires_grad]
    logger.info(
        "frozen_layers = %r: %d of %d weights of the encoder are trained, %.1f of %.1f million "
        "numbers.",
        frozen,
        len(trained),
        len(named),
        sum(trained) / 1e6,
        sum(weight.numel() for weight in named.values()) / 1e6,
    )


def check_trained(encoder: BiEncoder) -> None:
    """Raise a ValueError if nothing of an encoder is to be trained."""
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        return
    what = "encoder" if encoder.adapter_config is None else "encoder and of its adapter"
    raise ValueError(
        f"all weights of the {what} are frozen; set requires_grad of those to train, or give "
        "frozen_layers less"
    )


def layers_of(encoder: BiEncoder, option: str) -> tuple[nn.Module, Layers]:
    """Return the transformer of an encoder and its layers.

    Args:
        encoder: any.
        option: that needs them, for the message.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(encoder.backbone, TransformerBackbone):
        raise ValueError(f"{option}: a static encoder has no layers; leave it out")
    model = encoder.backbone.model
    try:
        return model, find_layers(model)
    except ValueError as error:
        raise ValueError(f"{option}: {error}; give names of modules instead") from error


def _below(encoder: BiEncoder, number: int) -> list[nn.Parameter]:
    """Return the weights of the embeddings and of so many of the lowest layers."""
    model, layers = layers_of(encoder, f"frozen_layers is {number}")
    if number > layers.number:
        raise ValueError(
            f"frozen_layers is {number}, and the encoder has {layers.number} layers; give at most "
            "so many"
        )
    return [w for name, w in model.named_parameters() if layers.depth(name) <= number]
