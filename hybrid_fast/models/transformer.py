"""The transformer backbone: any AutoModel encoder, its tokenizer and a pooling.

Decoders (causal models) work too, with last-token pooling.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tokenizers.normalizers import Lowercase, Sequence
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast import _core
from hybrid_fast.common.choices import check_choice
from hybrid_fast.models.compat import uses_flash_attention
from hybrid_fast.models.pooling import FLAT_POOLINGS, POOLINGS
from hybrid_fast.models.texts import Features, Integers, Side, TokenIds

UNLIMITED = 1_000_000


class TransformerBackbone(nn.Module):
    """A transformer whose last hidden states are pooled.

    Args:
        model: a model of transformers that returns `last_hidden_state`.
        tokenizer: its tokenizer, which must have a padding token.
        pooling: "mean", "cls" or "last".
        max_lengths: maximum tokens of each side, special tokens and prompt included.

    Raises:
        ValueError: an unknown pooling, a length that the model cannot take, or no padding token.
    """

    default_batch_size = 64
    pads = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        pooling: str,
        max_lengths: dict[Side, int],
    ) -> None:
        super().__init__()
        if tokenizer.pad_token_id is None:
            raise ValueError(
                "the tokenizer has no padding token, so texts cannot be batched; set one, for "
                "instance tokenizer.pad_token = tokenizer.eos_token, and save the tokenizer with "
                "the model"
            )
        self.pooling = check_choice("pooling", pooling, POOLINGS)
        self.max_lengths = max_lengths
        shortest, longest = tokenizer.num_special_tokens_to_add() + 1, position_limit(model)
        for side, length in max_lengths.items():
            if not isinstance(length, int) or not shortest <= length <= longest:
                raise ValueError(
                    f"max_{side}_length is {length!r}; it must be a whole number from {shortest} "
                    f"to {longest} with this model"
                )
        # Learned positions are counted from the left, padding included.
        tokenizer.padding_side = "right"
        # What is saved must allow, when it is loaded again, the lengths asked for now.
        tokenizer.model_max_length = max(tokenizer.model_max_length, *max_lengths.values())
        self.tokenizer = tokenizer
        self.model = model
        if getattr(model, "pooler", None) is not None:
            # Our embeddings do not depend on it; without gradients DDP does not wait for it.
            model.pooler.requires_grad_(False)
        if getattr(model.config, "use_cache", False):
            model.config.use_cache = False

    @property
    def embedding_dim(self) -> int:
        """Dimension of the embeddings."""
        return int(self.model.config.hidden_size)

    @property
    def is_unpadded(self) -> bool:
        """Whether texts are concatenated instead of padded: flash attention tells them apart."""
        return uses_flash_attention(self.model)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included; token ids are below it."""
        return len(self.tokenizer)

    @property
    def unknown_id(self) -> int | None:
        """Id of the token that stands for what is not in the vocabulary; None if there is none."""
        unknown: int | None = self.tokenizer.unk_token_id
        return unknown

    @property
    def num_special_tokens(self) -> int:
        """Number of tokens that are added to each text."""
        return int(self.tokenizer.num_special_tokens_to_add())

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
        """Tokenise texts, special tokens included; see `BiEncoder.token_ids`."""
        batch = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.max_lengths[side],
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids = batch["input_ids"]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        num_truncated = sum(bool(encoding.overflowing) for encoding in batch.encodings or ())
        flat = np.fromiter(chain.from_iterable(ids), np.int32, lengths.sum())
        return flat, lengths, num_truncated

    def features(
        self, ids: TokenIds, offsets: Integers, rows: Integers, length: int | None = None
    ) -> Features:
        """Return the features of some tokenised texts, as `forward` takes them.

        Args:
            ids: uint16 or int32, of all texts; text i is `ids[offsets[i]:offsets[i + 1]]`.
            offsets: int64 (number of texts + 1,).
            rows: int64 (n,), the texts to take.
            length: to pad to; default the length of the longest.

        Returns:
            `input_ids`, int64 (n, length), padded on the right, and, where there is padding,
            `attention_mask` of the same shape, 0 at padding. With flash attention the T tokens of
            all texts are concatenated instead: `input_ids` and `position_ids` (1, T), and
            `cu_seq_lens`, int32 (n + 1,), where each text starts and the last one ends.
        """
        if self.is_unpadded:
            return self._flat_features(ids, offsets, rows)
        lengths = offsets[rows + 1] - offsets[rows]
        length = int(lengths.max()) if length is None else length
        padded = _core.pad_tokens(ids, offsets, rows, length, self.tokenizer.pad_token_id)
        features = {"input_ids": torch.from_numpy(padded)}
        if (lengths < length).any():
            mask = np.arange(length) < lengths[:, None]
            features["attention_mask"] = torch.from_numpy(mask).long()
        return features

    def _flat_features(self, ids: TokenIds, offsets: Integers, rows: Integers) -> Features:
        taken, cu_seq_lens = _core.take_tokens(ids, offsets, rows)
        positions = np.arange(len(taken)) - np.repeat(cu_seq_lens[:-1], np.diff(cu_seq_lens))
        return {
            "input_ids": torch.from_numpy(taken.astype(np.int64))[None],
            # The model itself would count them through all texts.
            "position_ids": torch.from_numpy(positions + _first_position(self.model))[None],
            "cu_seq_lens": torch.from_numpy(cu_seq_lens.astype(np.int32)),
        }

    def untrained(self, seed: int) -> TransformerBackbone:
        """Return a backbone of the same configuration with freshly initialised weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = type(self.model)(deepcopy(self.model.config))
        model.to(device=self.model.device, dtype=self.model.dtype)
        tokenizer = deepcopy(self.tokenizer)
        return TransformerBackbone(model, tokenizer, self.pooling, dict(self.max_lengths))

    def forward(self, features: Features) -> Tensor:
        """Return the pooled embedding of each text, (n, D)."""
        if "cu_seq_lens" in features:
            return self._forward_flat(**features)
        states = self.model(**features).last_hidden_state
        return POOLINGS[self.pooling](states, features.get("attention_mask"))

    def _forward_flat(self, input_ids: Tensor, position_ids: Tensor, cu_seq_lens: Tensor) -> Tensor:
        # An upper bound is allowed; reading the true maximum would synchronise with the GPU.
        longest = max(self.max_lengths.values())
        states = self.model(
            input_ids=input_ids,
            position_ids=position_ids,
            cu_seq_lens_q=cu_seq_lens,
            cu_seq_lens_k=cu_seq_lens,
            max_length_q=longest,
            max_length_k=longest,
        ).last_hidden_state[0]
        return FLAT_POOLINGS[self.pooling](states, cu_seq_lens)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer into an existing folder, as transformers does."""
        if self.tokenizer.is_fast:
            # Truncation and padding of the last call would be saved as the tokenizer's own.
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def position_limit(model: PreTrainedModel) -> int:
    """Return the number of tokens that the model has positions for, `UNLIMITED` if any number."""
    num_positions = getattr(model.config, "max_position_embeddings", None)
    if not num_positions or num_positions < 0:
        return UNLIMITED
    return int(num_positions) - _first_position(model)


def _first_position(model: PreTrainedModel) -> int:
    # RoBERTa and its relatives count positions from the id of the padding token + 1.
    for module in model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(positions, nn.Embedding) and positions.padding_idx is not None:
            return positions.padding_idx + 1
    return 0


def load_transformer(
    folder: Path,
    pooling: str,
    max_lengths: dict[Side, int],
    saved_lengths: dict[Side, int],
    *,
    lowercase: bool = False,
    trust_remote_code: bool = False,
    **model_options: Any,
) -> TransformerBackbone:
    """Load a folder that AutoModel and AutoTokenizer can load.

    Args:
        folder: with config.json, weights as safetensors, and tokenizer files.
        pooling: see TransformerBackbone.
        max_lengths: given by the user; see TransformerBackbone.
        saved_lengths: of both sides, for those not given; at most what the model takes is used.
        lowercase: whether texts are lower-cased before the tokenizer's own normalisation.
        trust_remote_code: whether Python files of the folder may be run.
        **model_options: for `AutoModel.from_pretrained`, such as dtype and attn_implementation.

    Raises:
        FileNotFoundError: there are no safetensors, or there is no tokenizer.
        ValueError: an encoder-decoder, or files that cannot be read or do not belong together.
    """
    model, tokenizer = load_pretrained(folder, trust_remote_code=trust_remote_code, **model_options)
    if lowercase:
        lowercase_first(tokenizer)
    limit = int(min(position_limit(model), tokenizer.model_max_length))
    lengths = {side: min(length, limit) for side, length in saved_lengths.items()} | max_lengths
    return TransformerBackbone(model, tokenizer, pooling, lengths)


def load_pretrained(
    folder: Path,
    auto_class: Any = AutoModel,
    *,
    new_head: bool = False,
    trust_remote_code: bool = False,
    **model_options: Any,
) -> tuple[PreTrainedModel, Tokenizer]:
    """Load model and tokenizer of a folder, and check that nothing is missing.

    Args:
        folder: with config.json, weights as safetensors, and tokenizer files.
        auto_class: of transformers, such as AutoModel.
        new_head: whether the weights may lack the head that `auto_class` adds to the encoder, which
            is then initialised at random; they may always lack the pooler.
        trust_remote_code: whether Python files of the folder may be run.
        **model_options: for its `from_pretrained`, such as dtype and attn_implementation.

    Raises:
        FileNotFoundError: there are no safetensors, or there is no tokenizer.
        ValueError: an encoder-decoder, or files that cannot be read or do not belong together.
    """
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder} has no *.safetensors; other formats are not read, since unpickling may run "
            "code: load the model where you trust it, and save it again as safetensors"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        if config.is_encoder_decoder:
            raise ValueError(
                f"a {config.model_type} is an encoder-decoder; give an encoder or a decoder"
            )
        model, report = auto_class.from_pretrained(
            folder,
            config=config,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            **model_options,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder} cannot be loaded: {error}") from error
    missing = [name for name in report["missing_keys"] if not name.startswith("pooler.")]
    if new_head:
        missing = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
    _check_parts(folder, model, tokenizer, missing)
    return model, tokenizer


def _check_parts(
    folder: Path, model: PreTrainedModel, tokenizer: Tokenizer, missing: list[str]
) -> None:
    # transformers fills missing weights with random numbers and a missing tokenizer with nothing.
    if missing:
        raise ValueError(
            f"the weights in {folder} lack {len(missing)} parameters of a "
            f"{model.config.model_type}, such as {min(missing)}; config.json is of another model"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise FileNotFoundError(f"{folder} holds no tokenizer; save the tokenizer there too")
    num_embeddings = model.get_input_embeddings().num_embeddings
    if tokenizer.vocab_size > num_embeddings:
        raise ValueError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens and the model "
            f"{num_embeddings} embeddings; they do not belong together"
        )


def lowercase_first(tokenizer: Tokenizer) -> None:
    """Make a tokenizer lower-case texts before its own normalisation."""
    backend = tokenizer.backend_tokenizer
    steps = [Lowercase()] if backend.normalizer is None else [Lowercase(), backend.normalizer]
    backend.normalizer = Sequence(steps)
