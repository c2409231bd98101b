"""What is trained: the encoder and the loss with its temperature."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.transformer import TransformerBackbone
from hybrid_fast.ops import InfoNCELoss


class ContrastiveModel(nn.Module):
    """The encoder and the loss with its temperature: what is trained."""

    def __init__(self, encoder: BiEncoder, loss: InfoNCELoss) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Let the transformer recompute activations, under the name that transformers has now.

        Raises:
            ValueError: the encoder is static, which has none worth recomputing.
        """
        self._transformer().activation_checkpointing_enable(**options)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Do the same under the older name."""
        self._transformer().gradient_checkpointing_enable(**options)

    def _transformer(self) -> PreTrainedModel:
        if not isinstance(self.encoder.backbone, TransformerBackbone):
            raise ValueError(
                "activations are recomputed of transformer encoders only; leave "
                "gradient_checkpointing and activation_checkpointing out"
            )
        return self.encoder.backbone.model
