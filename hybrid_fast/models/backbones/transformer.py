"""The transformer backbone: any AutoModel encoder, its tokenizer and a pooling.

Decoders (causal models) work too, with last-token pooling, or in both directions (direction.py).
"""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast import _core
from hybrid_fast.models.adapters.adapters import (
    has_adapter,
    merged,
    transformer_of,
)
from hybrid_fast.models.adapters.saving import Base, save_adapter
from hybrid_fast.models.backbones.architectures import first_position, position_limit, state_size
from hybrid_fast.models.backbones.direction import keep_windows, reads_both_ways
from hybrid_fast.models.backbones.embedded_tokens import check_token_ids, count_embeddings
from hybrid_fast.models.backbones.pooling import check_pooling, pool, pool_flat
from hybrid_fast.models.backbones.unpadding import Trials
from hybrid_fast.models.compat import uses_flash_attention
from hybrid_fast.models.dtype_boundary import name_widest
from hybrid_fast.models.kernels.encoder import is_unpadded
from hybrid_fast.models.texts import Features, Integers, Side, TokenIds

_LEAST_BOUND = 64  # tokens; shorter texts are one tile of any attention


class TransformerBackbone(nn.Module):
    """A transformer whose last hidden states are pooled.

    Args:
        model: a model of transformers that returns `last_hidden_state`.
        tokenizer: its tokenizer; without a padding token, as those of Llama, it pads by the token
            that ends a text: padding is masked, so that any token does.
        pooling: see `check_pooling`.
        max_lengths: maximum tokens of each side, special tokens and prompt included.
        include_prompt: whether pooling includes the tokens of the prompt.

    Raises:
        ValueError: an unknown pooling, a length that the model cannot take, or no token to pad by.
    """

    pads = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        pooling: str,
        max_lengths: dict[Side, int],
        *,
        include_prompt: bool = True,
    ) -> None:
        super().__init__()
        if tokenizer.pad_token_id is None:
            _pad_by_end(tokenizer)
        self.pooling = check_pooling(pooling)
        self.include_prompt = include_prompt
        # Learned positions are counted from the left, padding included.
        tokenizer.padding_side = "right"
        self.tokenizer = tokenizer
        self.model = model
        self._trials = Trials()
        self.set_max_lengths(max_lengths)
        if getattr(model, "pooler", None) is not None:
            # Our embeddings do not depend on it; without gradients DDP does not wait for it.
            model.pooler.requires_grad_(False)
        if getattr(model.config, "use_cache", False):
            model.config.use_cache = False

    def set_max_lengths(self, max_lengths: dict[Side, int]) -> None:
        """Set the maximum tokens of each side.

        Raises:
            ValueError: a length that the model cannot take.
        """
        tokenizer = self.tokenizer
        shortest, longest = tokenizer.num_special_tokens_to_add() + 1, position_limit(self.model)
        for side, length in max_lengths.items():
            if not isinstance(length, int) or not shortest <= length <= longest:
                raise ValueError(
                    f"max_{side}_length is {length!r}; it must be a whole number from {shortest} "
                    f"to {longest} with this model"
                )
        self.max_lengths = max_lengths
        # What is saved must allow, when it is loaded again, the lengths asked for now.
        tokenizer.model_max_length = max(tokenizer.model_max_length, *max_lengths.values())

    @property
    def embedding_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.token_dim * len(self.pooling.split("+"))

    @property
    def token_dim(self) -> int:
        """Dimension of the states of tokens."""
        return state_size(self.model)

    @property
    def bidirectional(self) -> bool:
        """Whether it is a decoder that attends in both directions."""
        return reads_both_ways(self.model.config)

    @property
    def is_unpadded(self) -> bool:
        """Whether texts are concatenated instead of padded: the attention tells them apart.

        It does with flash attention and, where `can_unpad`, within `fast_encoder`.
        """
        return uses_flash_attention(self.model) or is_unpadded(self.model.config)

    @property
    def can_unpad(self) -> bool:
        """Whether `fast_encoder` may concatenate texts here; see `unpadding.can_unpad`.

        It is tried again when dtype, device, maximum lengths, modules or hooks change, and on a GPU
        in training mode and for each dtype of autocast.
        """
        return self._trials.can_unpad(self)

    @property
    def num_embeddings(self) -> int:
        """Number of tokens that the model has embeddings of."""
        return count_embeddings(self.model)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones and holes in the numbering included; ids are below it."""
        return max(len(self.tokenizer), max(self.tokenizer.get_vocab().values()) + 1)

    @property
    def unknown_id(self) -> int | None:
        """Id of the token that stands for what is not in the vocabulary; None if there is none."""
        unknown: int | None = self.tokenizer.unk_token_id
        return unknown

    def tokenizer_state(self) -> str:
        """Return everything that token ids depend on, text, prompt and maximum length aside."""
        if self.tokenizer.is_fast:
            backend = self.tokenizer.backend_tokenizer
            backend.no_truncation()  # set again by every call
            backend.no_padding()
            return str(backend.to_str())
        options = sorted(self.tokenizer.init_kwargs.items())
        return f"{type(self.tokenizer).__qualname__} {self.tokenizer.get_vocab()} {options}"

    def token_ids(self, texts: list[str], side: Side) -> tuple[TokenIds, Integers, int]:
        """Tokenise texts, special tokens included; see `BiEncoder.token_ids`.

        Raises:
            ValueError: a text has a token that the model has no embedding of.
        """
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        limit = self.max_lengths[side]
        batch = self.tokenizer(texts, truncation=True, max_length=limit, **options)
        ids = batch["input_ids"]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        if batch.encodings is not None:
            num_truncated = sum(bool(encoding.overflowing) for encoding in batch.encodings)
        else:  # a tokenizer in Python does not tell: is a text of full length longer by itself?
            full = [texts[row] for row in np.flatnonzero(lengths == limit)]
            whole = self.tokenizer(full, **options)["input_ids"] if full else []
            num_truncated = sum(len(each) > limit for each in whole)
        flat = np.fromiter(chain.from_iterable(ids), np.int32, lengths.sum())
        check_token_ids(texts, flat, lengths, count_embeddings(self.model), self._token)
        return flat, lengths, num_truncated

    def prompt_length(self, prompt: str, side: Side) -> int:
        """Return how many tokens at the head of a text with this prompt are not pooled.

        They are those that the prompt alone has, but for a special token at its end, as
        sentence-transformers counts them.
        """
        if self.include_prompt or not prompt:
            return 0
        ids = self.token_ids([prompt], side)[0]
        return len(ids) - int(ids[-1] in self.tokenizer.all_special_ids)

    def _token(self, number: int) -> object:
        return self.tokenizer.convert_ids_to_tokens(number)

    def features(
        self,
        ids: TokenIds,
        offsets: Integers,
        rows: Integers,
        length: int | None = None,
        prompt_lengths: Integers | None = None,
    ) -> Features:
        """Return the features of some tokenised texts, as `forward` takes them.

        Args:
            ids: uint16 or int32, of all texts; text i is `ids[offsets[i]:offsets[i + 1]]`.
            offsets: int64 (number of texts + 1,).
            rows: int64 (n,), the texts to take.
            length: to pad to; default the length of the longest.
            prompt_lengths: int64 (number of texts,), how many tokens at the head of each are not
                pooled; the last token of a text always is. None means that all are.

        Returns:
            `input_ids`, int64 (n, length), padded on the right, and, where there is padding,
            `attention_mask` of the same shape, 0 at padding. With flash attention the T tokens of
            all texts are concatenated instead: `input_ids` and `position_ids` (1, T),
            `cu_seq_lens`, int32 (n + 1,), where each text starts and the last one ends, and
            `max_length`, int64 (), which no text is longer than.
            `prompt_lengths`, int64 (n,), if they are given.
        """
        lengths = offsets[rows + 1] - offsets[rows]
        if self.is_unpadded:
            features = self._flat_features(ids, offsets, rows, int(lengths.max()))
        else:
            features = self._padded_features(ids, offsets, rows, lengths, length)
        if prompt_lengths is not None:
            features["prompt_lengths"] = torch.from_numpy(
                np.minimum(prompt_lengths[rows], lengths - 1)
            )
        return features

    def _padded_features(
        self,
        ids: TokenIds,
        offsets: Integers,
        rows: Integers,
        lengths: Integers,
        length: int | None,
    ) -> Features:
        length = int(lengths.max()) if length is None else length
        padded = _core.pad_tokens(ids, offsets, rows, length, self.tokenizer.pad_token_id)
        features = {"input_ids": torch.from_numpy(padded)}
        if (lengths < length).any():
            mask = np.arange(length) < lengths[:, None]
            features["attention_mask"] = torch.from_numpy(mask).long()
        return features

    def _flat_features(
        self, ids: TokenIds, offsets: Integers, rows: Integers, longest: int
    ) -> Features:
        # A power of two: what is compiled or planned for a bound is so for a few of them.
        bound = max(1 << (longest - 1).bit_length(), _LEAST_BOUND)
        taken, cu_seq_lens = _core.take_tokens(ids, offsets, rows)
        positions = np.arange(len(taken)) - np.repeat(cu_seq_lens[:-1], np.diff(cu_seq_lens))
        return {
            "input_ids": torch.from_numpy(taken.astype(np.int64))[None],
            # The model itself would count them through all texts.
            "position_ids": torch.from_numpy(positions + first_position(self.model))[None],
            "cu_seq_lens": torch.from_numpy(cu_seq_lens.astype(np.int32)),
            "max_length": torch.tensor(bound),
        }

    def untrained(self, seed: int) -> TransformerBackbone:
        """Return a backbone of the same configuration with freshly initialised weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = type(transformer_of(self.model))(deepcopy(self.model.config))
        model.to(device=self.model.device, dtype=self.model.dtype)
        tokenizer = deepcopy(self.tokenizer)
        return TransformerBackbone(
            model,
            tokenizer,
            self.pooling,
            dict(self.max_lengths),
            include_prompt=self.include_prompt,
        )

    def forward(self, features: Features) -> Tensor:
        """Return the pooled embedding of each text, (n, D)."""
        states = self.hidden_states(features)
        if "cu_seq_lens" in features:
            return pool_flat(
                self.pooling, states, features["cu_seq_lens"], features.get("prompt_lengths")
            )
        mask, skipped = features.get("attention_mask"), features.get("prompt_lengths")
        return pool(self.pooling, states, mask, skipped)

    def token_states(self, features: Features) -> tuple[Tensor, ...]:
        """Return the last hidden states of each text, (number of tokens, hidden size)."""
        states = self.hidden_states(features)
        if "cu_seq_lens" in features:
            return states.split(features["cu_seq_lens"].diff().tolist())
        mask = features.get("attention_mask")
        lengths = [states.shape[1]] * len(states) if mask is None else mask.sum(1).tolist()
        return tuple(each[:length] for each, length in zip(states, lengths, strict=True))

    def hidden_states(self, features: Features) -> Tensor:
        """Return the last hidden states, (n, length, hidden size), or (T, hidden size) unpadded."""
        of_model = {name: each for name, each in features.items() if name != "prompt_lengths"}
        if "cu_seq_lens" in features:
            return self._flat_states(**of_model)
        states: Tensor = self.model(**of_model).last_hidden_state
        return states

    def _flat_states(
        self, input_ids: Tensor, position_ids: Tensor, cu_seq_lens: Tensor, max_length: Tensor
    ) -> Tensor:
        longest = int(max_length)  # on the CPU, whatever the others are on
        states: Tensor = self.model(
            input_ids=input_ids,
            position_ids=position_ids,
            cu_seq_lens_q=cu_seq_lens,
            cu_seq_lens_k=cu_seq_lens,
            max_length_q=longest,
            max_length_k=longest,
        ).last_hidden_state[0]
        return states

    def save(self, folder: Path) -> None:
        """Write model and tokenizer into an existing folder, as transformers does.

        An adapter is merged into the weights that are written.
        """
        transformer = transformer_of(self.model)
        with merged(transformer) if has_adapter(self.model) else nullcontext():
            transformer.save_pretrained(folder)
            keep_windows(transformer.config, folder)
            name_widest(transformer, folder)
        self._save_tokenizer(folder)

    def save_apart(self, folder: Path, base: Base) -> None:
        """Write the adapter and the tokenizer into an existing folder; `base` is named there."""
        save_adapter(self.model, folder, base)
        self._save_tokenizer(folder)

    def _save_tokenizer(self, folder: Path) -> None:
        if self.tokenizer.is_fast:
            # Truncation and padding of the last call would be saved as the tokenizer's own.
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.save_pretrained(folder)


def _pad_by_end(tokenizer: Tokenizer) -> None:
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has neither a padding token nor one that ends a text (eos_token), so "
            "texts cannot be batched; set tokenizer.pad_token, and save the tokenizer with the "
            "model"
        )
    tokenizer.pad_token = tokenizer.eos_token
