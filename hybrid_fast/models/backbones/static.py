"""The static backbone: the embedding of a text is the mean of its token embeddings.

The embedding table is the only parameter. Encoding takes about as long as tokenising; there is no
padding and no maximum length. On disk it is the StaticEmbedding of sentence-transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from torch import Tensor, nn

from hybrid_fast import _core
from hybrid_fast.common.choices import check_choice
from hybrid_fast.models.backbones.embedded_tokens import check_token_ids
from hybrid_fast.models.backbones.token_means import TokenMeans
from hybrid_fast.models.backbones.vocabulary import sample_texts, token_weights, train_tokenizer
from hybrid_fast.models.texts import Features, Integers, Side, TokenIds, check_strings

INITS = ("idf", "normal")
SMALLEST_VOCABULARY = 16
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_KEY = "embedding.weight"


class StaticBackbone(nn.Module):
    """Token embeddings, averaged.

    Args:
        tokenizer: of the tokenizers library; special tokens are not added.
        weights: float (num_tokens, D), one row per token.

    Raises:
        ValueError: the table is not a matrix, or has fewer rows than the tokenizer has tokens.
    """

    default_batch_size = 1024
    pads = False

    def __init__(self, tokenizer: Tokenizer, weights: Tensor) -> None:
        super().__init__()
        vocab_size = 1 + max(tokenizer.get_vocab().values(), default=-1)
        if weights.ndim != 2 or len(weights) < vocab_size:
            raise ValueError(
                f"the embedding table has shape {tuple(weights.shape)}; the tokenizer needs "
                f"({vocab_size}, D), a row for each of its tokens, added ones included"
            )
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.embedding = TokenMeans(weights)

    @property
    def embedding_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.embedding.embedding_dim

    @property
    def token_dim(self) -> int:
        """Dimension of the embeddings of tokens."""
        return self.embedding_dim

    @property
    def max_lengths(self) -> dict[Side, int]:
        """Empty: no side has a maximum length."""
        return {}

    @property
    def vocab_size(self) -> int:
        """Number of rows of the table; token ids are below it."""
        return self.embedding.num_embeddings

    @cached_property
    def unknown_id(self) -> int | None:
        """Id of the token that stands for what is not in the vocabulary; None if there is none."""
        if isinstance(self.tokenizer.model, Unigram):  # which names no token
            unknown_id: int | None = json.loads(self.tokenizer.to_str())["model"]["unk_id"]
            return unknown_id
        unknown: str | None = getattr(self.tokenizer.model, "unk_token", None)
        return None if unknown is None else self.tokenizer.token_to_id(unknown)

    def tokenizer_state(self) -> str:
        """Return everything that token ids depend on, text and prompt aside."""
        return str(self.tokenizer.to_str())

    def token_ids(self, texts: list[str], side: Side) -> tuple[TokenIds, Integers, int]:
        """Tokenise texts; see `BiEncoder.token_ids`. Queries and passages are tokenised alike."""
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = np.fromiter(
            chain.from_iterable(encoding.ids for encoding in encodings), np.int32, lengths.sum()
        )
        check_token_ids(texts, ids, lengths, self.vocab_size, self.tokenizer.id_to_token)
        # Ours never truncate, but a tokenizer.json from elsewhere may ask for it.
        truncates = self.tokenizer.truncation is not None
        num_truncated = sum(bool(e.overflowing) for e in encodings) if truncates else 0
        return ids, lengths, num_truncated

    def prompt_length(self, prompt: str, side: Side) -> int:
        """Return 0: the tokens of a prompt are averaged with the others."""
        return 0

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
            length: not used, since nothing is padded.
            prompt_lengths: not used, since all tokens are averaged.

        Returns:
            `input_ids`, int64, the tokens of the n texts, concatenated, and `offsets`, int64 (n,),
            where each text starts.
        """
        taken, starts = _core.take_tokens(ids, offsets, rows)
        return {
            "input_ids": torch.from_numpy(taken.astype(np.int64)),
            "offsets": torch.from_numpy(starts[:-1]),
        }

    def untrained(self, seed: int) -> StaticBackbone:
        """Return a backbone with the same tokens and entries from a normal of variance 1 / D."""
        weights = self.embedding.weight
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        return StaticBackbone(tokenizer, _draw(weights.shape, seed).to(weights))

    def forward(self, features: Features) -> Tensor:
        """Return the mean embedding of each text, (n, D)."""
        means: Tensor = self.embedding(features["input_ids"], features["offsets"])
        return means

    def save(self, folder: Path) -> None:
        """Write the tokenizer and the table into an existing folder."""
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        # By the state dict, not the parameter: lazy updates of its rows are due before it is read.
        weights = self.state_dict()[WEIGHTS_KEY].contiguous()
        save_file({WEIGHTS_KEY: weights}, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_static(folder: Path, dtype: torch.dtype | None = None) -> StaticBackbone:
    """Read what `StaticBackbone.save`, sentence-transformers or model2vec wrote.

    Args:
        folder: with tokenizer.json and model.safetensors.
        dtype: of the table; default as saved.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the weights are not those of a static encoder.
    """
    for name in (TOKENIZER_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}, which a static encoder needs")
    text = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
    try:
        json.loads(text)
        tensors = load_file(folder / WEIGHTS_FILE)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{folder} cannot be loaded: {error}") from error
    weights = _read_table(folder / WEIGHTS_FILE, tensors)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # what the tokenizers library raises for a damaged file
        raise ValueError(f"{folder / TOKENIZER_FILE} holds no tokenizer: {error}") from error
    return StaticBackbone(tokenizer, weights.to(dtype or weights.dtype))


def _read_table(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    """Return the embedding of each token; model2vec may share rows and keep weights apart."""
    if WEIGHTS_KEY in tensors:
        return _floating(tensors[WEIGHTS_KEY])
    if "embeddings" not in tensors:
        raise ValueError(
            f"{path} holds {', '.join(sorted(tensors))}; a static encoder needs {WEIGHTS_KEY}"
        )
    table = _floating(tensors["embeddings"])
    mapping, weights = tensors.get("mapping"), tensors.get("weights")
    if mapping is not None:
        if mapping.ndim != 1 or not 0 <= mapping.min() <= mapping.max() < len(table):
            raise ValueError(
                f"{path}: mapping is no vector of numbers of the {len(table)} rows of embeddings; "
                "they do not belong together"
            )
        table = table[mapping.long()]
    if weights is not None:
        if weights.shape != table.shape[:1]:
            raise ValueError(
                f"{path}: weights has shape {tuple(weights.shape)}, but there are {len(table)} "
                "tokens; one number for each is needed"
            )
        wide = torch.promote_types(table.dtype, torch.float32)
        table = (table.to(wide) * weights[:, None]).to(wide)
    return table


def _floating(table: Tensor) -> Tensor:
    return table if table.is_floating_point() else table.float()  # quantised


def train_static(
    texts: Iterable[str], dim: int, vocab_size: int, seed: int, init: str
) -> StaticBackbone:
    """Train a tokenizer on texts and draw an embedding for each of its tokens.

    Entries are drawn from a normal of variance 1 / dim. With `init="idf"` each row is scaled by the
    `token_weights` of its token, so that an untrained encoder already weights words as BM25 does.

    Args:
        texts: at least one that is not blank; of many, a sample is used.
        dim: dimension of the embeddings.
        vocab_size: maximum number of tokens; texts may yield fewer.
        seed: for the sample and for the embeddings.
        init: "idf" or "normal".

    Raises:
        TypeError: texts is a single string, or an element is not a string.
        ValueError: all texts are blank, or a size or name is out of range.
    """
    check_choice("init", init, INITS)
    if dim < 1:
        raise ValueError(f"dim is {dim}; it must be at least 1")
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(f"vocab_size is {vocab_size}; it must be at least {SMALLEST_VOCABULARY}")
    sample = sample_texts(check_strings(texts), seed)
    if not any(text.strip() for text in sample):
        raise ValueError("texts holds no text; give the texts of the training table")
    tokenizer = train_tokenizer(sample, vocab_size)
    weights = _draw((tokenizer.get_vocab_size(), dim), seed)
    if init == "idf":
        weights *= token_weights(tokenizer, sample)[:, None]
    return StaticBackbone(tokenizer, weights)


def _draw(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) / shape[1] ** 0.5
