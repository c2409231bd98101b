"""TextEncoder: prompts, tokens and embeddings of queries and passages.

Queries and passages differ by prompt and, with a transformer, by maximum length. The backbone
handles tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hybrid_fast.models.encoding import encode_in_batches, evaluation_mode
from hybrid_fast.models.prompts import check_prompts
from hybrid_fast.models.static import StaticBackbone
from hybrid_fast.models.texts import (
    Features,
    Integers,
    Side,
    TokenIds,
    check_num_tokens,
    check_side,
    check_texts,
)
from hybrid_fast.models.token_counts import TokenCounts
from hybrid_fast.models.transformer import TransformerBackbone


class TextEncoder(nn.Module):
    """What embeds texts of either side; BiEncoder adds where it comes from and how it is saved.

    Args:
        backbone: a StaticBackbone or TransformerBackbone.
        prompts: what is put before every text of a side.
        normalize: whether embeddings are scaled to norm 1.
    """

    def __init__(
        self,
        backbone: StaticBackbone | TransformerBackbone,
        prompts: dict[Side, str],
        normalize: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = normalize
        self.prompts = prompts
        self.token_counts = TokenCounts(backbone)
        check_prompts(backbone, self.prompts)

    @property
    def num_truncated(self) -> dict[Side, int]:
        """How many texts of each side this process has truncated so far."""
        return self.token_counts.num_truncated

    @property
    def embedding_dim(self) -> int:
        """D, the dimension of the embeddings."""
        return self.backbone.embedding_dim

    @property
    def max_length(self) -> dict[Side, int]:
        """Maximum number of tokens of each side; empty if there is no limit."""
        return self.backbone.max_lengths

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def token_ids(
        self, texts: Iterable[str], side: Side, *, warn: bool = True
    ) -> tuple[TokenIds, Integers, int]:
        """Tokenise texts, prompted and truncated to the maximum length; `warn` of what that loses.

        Returns:
            The token ids of all texts, concatenated, int32; the number of tokens of each text,
            int64 (n,); and how many texts were truncated.

        Raises:
            TypeError: a single string instead of a list, or an element that is not a string.
            ValueError: an empty text (with its position), no text at all, or an unknown side.
        """
        texts = check_texts(texts, check_side(side))
        if not texts:
            raise ValueError(f"there is no {side} to tokenise; give at least one text")
        prompt = self.prompts[side]
        prompted = [prompt + text for text in texts]
        ids, lengths, num_cut = self.backbone.token_ids(prompted, side)
        check_num_tokens(prompted, lengths)
        self.token_counts.add(side, ids, lengths, num_cut, warn=warn)
        return ids, lengths, num_cut

    def tokenizer_key(self, side: Side) -> str:
        """Return a digest of tokenizer, prompt and maximum length: equal keys, equal token ids."""
        parts = (
            self.backbone.tokenizer_state(),
            self.prompts[check_side(side)],
            str(self.max_length.get(side)),
            version("tokenizers"),
        )
        return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def tokenize(self, texts: Iterable[str], side: Side) -> Features:
        """Tokenise texts as `token_ids` does; return the features that `forward` takes, on the CPU.

        Of a transformer these are `input_ids` (n, longest) and, if there is padding,
        `attention_mask`; of a static encoder `input_ids`, the tokens of all texts concatenated, and
        `offsets` (n,), where each text starts.

        Raises:
            TypeError, ValueError: as `token_ids`.
        """
        ids, lengths, _ = self.token_ids(texts, side)
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        return self.backbone.features(ids, offsets, np.arange(len(lengths)))

    def forward(self, features: Features) -> Tensor:
        """Return embeddings (n, D), of norm 1 if the model normalises."""
        embeddings = self.backbone(features)
        return normalize(embeddings, dim=-1) if self.normalize else embeddings

    def encode_queries(
        self, texts: Iterable[str], batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Encode queries without gradients, in evaluation mode.

        Args:
            texts: the queries; none may be empty.
            batch_size: texts at a time, of like length; default 64, of a static encoder 1024.
            show_progress: whether to show a progress bar, on a terminal and after two seconds.

        Returns:
            float32 (n, D), in the order of the texts.

        Raises:
            TypeError: a single string instead of a list, or an element that is not a string.
            ValueError: an empty text (with its position), or a batch size below 1.
        """
        return self._encode(texts, "query", batch_size, show_progress)

    def encode_passages(
        self, texts: Iterable[str], batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Encode passages; see `encode_queries`."""
        return self._encode(texts, "passage", batch_size, show_progress)

    def _encode(
        self, texts: Iterable[str], side: Side, batch_size: int | None, show_progress: bool
    ) -> np.ndarray:
        texts = check_texts(texts, side)
        if batch_size is None:
            batch_size = self.backbone.default_batch_size

        def encode(batch: list[str]) -> Tensor:
            features = self.tokenize(batch, side)
            return self({name: tensor.to(self.device) for name, tensor in features.items()})

        progress = f"encode {side}" if show_progress else None
        with evaluation_mode(self):
            return encode_in_batches(
                encode, texts, self.embedding_dim, batch_size, progress=progress
            )
