"""The module that is trained: encoder and loss."""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.adapters.adapters import is_adapter, transformer_of
from hybrid_fast.models.adapters.options import make_config
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.models.dtypes import widen_trainable
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training.argument_checks import BF16, FLOAT32
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.frozen_layers import check_trained, freeze_layers
from hybrid_fast.training.layer_rates import layer_rates
from hybrid_fast.training.loss_precision import choose_precision

logger = logging.getLogger(__name__)
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ContrastiveModel(nn.Module):
    """The encoder and the loss, whose temperature may be a parameter.

    Args:
        encoder: turns features into embeddings (n, D).
        loss: compares them.
        widens: whether the loss gets embeddings in half precision in float32.
    """

    def __init__(self, encoder: BiEncoder, loss: InfoNCELoss, *, widens: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss
        self.widens = widens

    def compare(self, queries: Tensor, passages: Tensor, **given: Tensor) -> Tensor:
        """Return the loss of embeddings, 0-dim; see `InfoNCELoss.forward`."""
        if self.widens:
            queries, passages = (
                each.to(torch.promote_types(each.dtype, torch.float32))
                for each in (queries, passages)
            )
        loss: Tensor = self.loss(queries, passages, **given)
        return loss

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Let the transformer recompute activations in the backward pass.

        Raises:
            ValueError: the encoder is static, which has none worth recomputing.
        """
        transformer = self._transformer()
        transformer.activation_checkpointing_enable(**options)
        _choose_input_gradients(transformer, options)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Do the same, under the name that older versions of transformers call."""
        transformer = self._transformer()
        transformer.gradient_checkpointing_enable(**options)
        _choose_input_gradients(transformer, options)

    def _transformer(self) -> PreTrainedModel:
        if not isinstance(self.encoder.backbone, TransformerBackbone):
            raise ValueError(
                "only transformer encoders can recompute activations; leave out "
                "gradient_checkpointing and activation_checkpointing"
            )
        return transformer_of(self.encoder.backbone.model)


def _choose_input_gradients(transformer: PreTrainedModel, options: dict[str, Any]) -> None:
    """Let states above frozen embeddings require gradients where recomputation needs it alone.

    A reentrant checkpoint has no backward pass if its input requires no gradient, whatever is
    trained within. transformers lets inputs require them with any checkpoint, so that gradients
    would be propagated through frozen layers too.
    """
    given = (value for value in options.values() if isinstance(value, dict))
    if not any(value.get("use_reentrant") for value in given):
        transformer.disable_input_require_grads()
    elif not any(p.requires_grad for p in transformer.get_input_embeddings().parameters()):
        transformer.enable_input_require_grads()


def make_model(encoder: BiEncoder, args: HybridTrainingArguments) -> ContrastiveModel:
    """Return an encoder with the loss that the arguments describe.

    The encoder is changed in place: it is given an adapter, layers are frozen and its dropout is
    set, as the arguments say, and weights in half precision are widened, see `widen_trainable`.

    Raises:
        ValueError: nothing is left to train, or an argument does not fit the encoder.
    """
    if args.adapter is not None:
        _add_adapter(encoder, args.adapter, args.seed)
    freeze_layers(encoder, args.frozen_layers)
    check_trained(encoder)
    layer_rates(encoder, args)  # errors now, not after the texts have been tokenised
    if args.dropout is not None:
        set_dropout(encoder, args.dropout)
    widen_trainable(encoder, _AUTOCAST.get(args.mixed_precision))
    loss = InfoNCELoss(
        args.temperature,
        learnable=args.learn_temperature,
        symmetric=args.symmetric,
        margin=args.margin,
        normalize=encoder.similarity_fn_name == "cosine" and not encoder.normalize,
        negatives=args.negatives,
        precision=BF16 if choose_precision(args, encoder) == BF16 else None,
        process_group=dist.group.WORLD if args.shares_negatives else None,
    )
    return ContrastiveModel(encoder, loss, widens=args.loss_precision == FLOAT32)


def _add_adapter(encoder: BiEncoder, options: dict[str, Any], seed: int) -> None:
    """Add an adapter, unless the encoder has it already, as one that was loaded from its folder."""
    here = encoder.adapter_config
    if here is None or not isinstance(encoder.backbone, TransformerBackbone):
        encoder.add_adapter(options, seed=seed)
        return
    if not is_adapter(encoder.backbone.model, make_config(options)):
        raise ValueError(
            f"adapter is {options!r}, and the encoder has another one already: {here!r}; leave it "
            "out to train that one, or merge it first (BiEncoder.merge_adapter)"
        )
    logger.info("The adapter that the encoder has is trained further.")
