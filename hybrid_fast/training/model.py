"""What is trained: the encoder and the loss with its temperature."""

from __future__ import annotations

from typing import Any

from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.transformer import TransformerBackbone
from hybrid_fast.ops import InfoNCELoss


class ContrastiveModel(nn.Module):
    """The encoder and the loss with its temperature: what is trained."""

    def __init__(self, encoder: BiEncoder, loss: InfoNCELoss) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Let the transformer recompute activations.

        Raises:
            ValueError: the encoder is static, which has none worth recomputing.
        """
        if not isinstance(self.encoder.backbone, TransformerBackbone):
            raise ValueError(
                "gradient_checkpointing serves transformer encoders only; leave it out"
            )
        self.encoder.backbone.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs)
