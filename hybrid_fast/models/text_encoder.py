"""TextEncoder: prompts, tokens and embeddings of queries and passages.

Queries and passages differ by prompt and, with a transformer, by maximum length. The backbone
handles tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hybrid_fast.models.backbones.static import StaticBackbone
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.dtypes import say_if_slow
from hybrid_fast.models.encoding import (
    EncodeOptions,
    check_truncate_dim,
    cut_batch,
    encode_in_batches,
    evaluation_mode,
    longest_first,
    most_texts,
    most_tokens,
)
from hybrid_fast.models.head.head import members
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.prompts import Prompts, check_prompts, fills
from hybrid_fast.models.texts import (
    Features,
    Integers,
    Side,
    TokenIds,
    Tokens,
    check_num_tokens,
    check_side,
    check_texts,
)
from hybrid_fast.models.token_counts import TokenCounts
from hybrid_fast.models.transfer import to_device


class TextEncoder(nn.Module):
    """What embeds texts of either side.

    Args:
        backbone: a StaticBackbone or TransformerBackbone.
        head: modules after pooling; may be empty.
        prompts: put before texts, by name.
        normalize: whether embeddings are scaled to norm 1.
        truncate_dim: entries of embeddings that encoding keeps, the first ones; None keeps all.
    """

    def __init__(
        self,
        backbone: StaticBackbone | TransformerBackbone,
        head: nn.Sequential,
        prompts: Mapping[str, str | None],
        normalize: bool,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalize = normalize
        self.prompts = prompts
        self.truncate_dim = truncate_dim
        self.token_counts = TokenCounts(backbone)

    @property
    def prompts(self) -> Prompts:
        """What is put before texts, by name; any mapping of texts may be assigned."""
        return self._prompts

    @prompts.setter
    def prompts(self, prompts: Mapping[str, str | None]) -> None:
        checked = Prompts(prompts)
        check_prompts(self.backbone, checked, self.max_length)
        self._prompts = checked

    @property
    def num_truncated(self) -> dict[Side, int]:
        """How many texts of each side this process has truncated so far."""
        return self.token_counts.num_truncated

    @property
    def embedding_dim(self) -> int:
        """D, the dimension of the embeddings, whether encoding truncates them or not."""
        return members(self.head)[-1].embedding_dim if self.head else self.backbone.embedding_dim

    @property
    def truncate_dim(self) -> int | None:
        """Entries of embeddings that encoding keeps, the first ones; None keeps all."""
        return self._truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, dim: int | None) -> None:
        self._truncate_dim = None if dim is None else check_truncate_dim(dim, self.embedding_dim)

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Truncate embeddings to some dimensions for a while; ValueError if they have fewer."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    @property
    def has_unit_norm(self) -> bool:
        """Whether encoded texts have norm 1: embeddings are normalised and not truncated."""
        return self.normalize and self.get_embedding_dimension() == self.embedding_dim

    def get_embedding_dimension(self) -> int:
        """Return the dimension of embeddings as they are encoded, which may be truncated."""
        return self.truncate_dim or self.embedding_dim

    @property
    def default_batch_size(self) -> int:
        """Texts that encoding takes at a time: of a transformer 64 on a CPU, else 1024."""
        if isinstance(self.backbone, StaticBackbone):
            return self.backbone.default_batch_size
        return most_texts(self.device)

    @property
    def has_layers(self) -> bool:
        """Whether embeddings take matrix products: not those of a static encoder without a head."""
        return isinstance(self.backbone, TransformerBackbone) or bool(self.head.state_dict())

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
        prompt = self.prompts.of_side(side)
        self.check_room(prompt, side)
        return self._token_ids(texts, prompt, side, warn=warn)

    def check_room(self, prompt: str, side: Side) -> None:
        """Raise ValueError if a prompt leaves no room for texts, which would all be the same."""
        limit = self.max_length.get(side)
        if limit is not None and fills(self.backbone, prompt, side, limit):
            raise ValueError(
                f"the prompt {prompt[:60]!r} alone fills the {limit} tokens that texts may have; "
                "shorten it or raise max_seq_length"
            )

    def _token_ids(
        self,
        texts: Sequence[str],
        prompt: str,
        side: Side,
        *,
        warn: bool = True,
        must_have_tokens: bool = True,
    ) -> tuple[TokenIds, Integers, int]:
        prompted = [prompt + text for text in texts]
        ids, lengths, num_cut = self.backbone.token_ids(prompted, side)
        if must_have_tokens:
            check_num_tokens(prompted, lengths)
        self.token_counts.add(side, ids, lengths, num_cut, warn=warn)
        return ids, lengths, num_cut

    def tokenizer_key(self, side: Side) -> str:
        """Return a digest of tokenizer, prompt and maximum length: equal keys, equal token ids."""
        parts = (
            self.backbone.tokenizer_state(),
            self.prompts.of_side(check_side(side)),
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
        return self._features(ids, lengths, self.prompt_length(side))

    def _features(
        self, ids: TokenIds, lengths: Integers, prompt_length: int, rows: Integers | None = None
    ) -> Features:
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        return self.backbone.features(
            ids,
            offsets,
            np.arange(len(lengths)) if rows is None else rows,
            prompt_lengths=np.full(len(lengths), prompt_length) if prompt_length else None,
        )

    def prompt_length(self, side: Side) -> int:
        """Return how many tokens at the head of each text are not pooled, those of the prompt.

        It is 0 unless the folder says `include_prompt: false`.
        """
        return self.backbone.prompt_length(self.prompts.of_side(side), side)

    def forward(self, features: Features) -> Tensor:
        """Return embeddings (n, D), of norm 1 if the model normalises."""
        if self.has_layers:
            say_if_slow(self)
        embeddings = self.head(self.backbone(features))
        return normalize(embeddings, dim=-1) if self.normalize else embeddings

    def encode_queries(
        self, texts: Iterable[str], batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Encode queries without gradients, in evaluation mode.

        Args:
            texts: the queries; none may be empty.
            batch_size: texts at a time at most, of like length; a transformer embeds 768 tokens of
                them at a time on a CPU, 32,768 elsewhere. Default `default_batch_size`.
            show_progress: whether to show a progress bar, on a terminal and after two seconds.

        Returns:
            float32 (n, D), or fewer columns with a `truncate_dim`, in the order of the texts.

        Raises:
            TypeError: a single string instead of a list, or an element that is not a string.
            ValueError: an empty text (with its position), or a batch size below 1.
        """
        return self._encode_side(texts, "query", batch_size, show_progress)

    def encode_passages(
        self, texts: Iterable[str], batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Encode passages; see `encode_queries`."""
        return self._encode_side(texts, "passage", batch_size, show_progress)

    def _encode_side(
        self, texts: Iterable[str], side: Side, batch_size: int | None, show_progress: bool
    ) -> np.ndarray:
        texts, dim = check_texts(texts, side), self.get_embedding_dimension()
        size = self.default_batch_size if batch_size is None else batch_size
        options = EncodeOptions(side, self.prompts.of_side(side), dim, size)
        self.check_room(options.prompt, side)
        return self.embed(texts, options, f"encode {side}" if show_progress else None).numpy()

    def embed(
        self, texts: Sequence[str], options: EncodeOptions, progress: str | None = None
    ) -> Tensor:
        """Return the embeddings of texts, (n, options.dim), without gradients.

        Args:
            texts: any number of strings.
            options: how they are encoded.
            progress: see `encode_in_batches`.

        Raises:
            ValueError: a text has no token, or a batch size is below 1.
        """

        def embed(tokens: Tokens) -> Iterator[tuple[Integers, Tensor]]:
            for rows in self._cut(tokens):
                kept = self(self._inputs(tokens, rows))[:, : options.dim]
                yield rows, normalize(kept, dim=-1) if options.normalize else kept

        with evaluation_mode(self), fast_encoder(self, unpadded=self.can_unpad()):
            return encode_in_batches(
                lambda batch: self._tokens(batch, options),
                embed,
                texts,
                options.dim,
                options.batch_size,
                on_cpu=options.on_cpu,
                progress=progress,
            )

    def embed_tokens(
        self, texts: Sequence[str], options: EncodeOptions, progress: str | None = None
    ) -> list[Tensor]:
        """Return the last hidden states of each text and its prompt, (num_tokens, hidden size).

        Args:
            texts: any number of strings.
            options: how they are encoded; the dimension and the norm are those of the states.
            progress: see `encode_in_batches`.

        Raises:
            ValueError: the encoder is static, a text has no token, or a batch size is below 1.
        """
        backbone = self.backbone
        if not isinstance(backbone, TransformerBackbone):
            raise ValueError("a static encoder has no token embeddings; encode sentence embeddings")
        say_if_slow(self)
        states: list[Tensor] = [torch.empty(0)] * len(texts)
        with torch.no_grad(), evaluation_mode(self), fast_encoder(self, unpadded=self.can_unpad()):
            for rows in longest_first(texts, options.batch_size, progress):
                tokens = self._tokens([texts[row] for row in rows], options)
                for part in self._cut(tokens):
                    found = backbone.token_states(self._inputs(tokens, part))
                    for row, each in zip(rows[part], found, strict=True):
                        states[row] = each
        return states

    def _cut(self, tokens: Tokens) -> list[Integers]:
        """Return the texts of a batch that are embedded at a time; see `cut_batch`."""
        backbone = self.backbone
        limit = most_tokens(self.device) if backbone.pads else None
        unpadded = isinstance(backbone, TransformerBackbone) and backbone.is_unpadded
        return cut_batch(tokens.lengths, limit, unpadded=unpadded)

    def can_unpad(self) -> bool:
        """Tell whether `fast_encoder` may embed texts without padding."""
        return isinstance(self.backbone, TransformerBackbone) and self.backbone.can_unpad

    def _tokens(self, texts: list[str], options: EncodeOptions) -> Tokens:
        must_have_tokens = options.must_have_tokens or self.backbone.pads
        ids, lengths, _ = self._token_ids(
            texts, options.prompt, options.side, must_have_tokens=must_have_tokens
        )
        return Tokens(ids, lengths, self.backbone.prompt_length(options.prompt, options.side))

    def _inputs(self, tokens: Tokens, rows: Integers) -> Features:
        return to_device(self._features(*tokens, rows), self.device)
