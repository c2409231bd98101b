"""A small corpus, a model that counts what it encodes and fails when told to, and folders of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_fast import encode_corpus
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.retrieval import EncodedCorpus


def corpus_of(size: int) -> list[CorpusText]:
    """Return texts in two languages, of many lengths; every seventh repeats an earlier one."""
    return [
        CorpusText(
            f"p{n}", ("de", "en", "zh")[n % 5 % 3], f"text {n % 7 and n}" + " word" * (n % 7)
        )
        for n in range(size)
    ]


class Hashing:
    """A model whose vectors are digests of texts.

    Args:
        dimension: of its vectors.
        ends_after: texts of a corpus after which it fails.
        scale: of its vectors.
    """

    similarity_fn_name = "dot"

    def __init__(self, dimension: int = 5, ends_after: float = np.inf, scale: float = 1.0) -> None:
        self.dimension, self.ends_after, self.scale = dimension, ends_after, scale
        self.encoded: list[str] = []

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (n, D)."""
        if not texts[0].startswith("The ferry"):  # of the fingerprint
            self.encoded += texts
            if len(self.encoded) > self.ends_after:
                raise KeyboardInterrupt
        return np.stack([self._vector(text) for text in texts])

    encode_queries = encode_passages

    def _vector(self, text: str) -> np.ndarray:
        digest = hashlib.shake_128(text.encode()).digest(4 * self.dimension)
        return np.frombuffer(digest, np.int32).astype(np.float32) * np.float32(self.scale / 2**31)


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


CORPUS = corpus_of(25)


def encode(
    folder: Path, model: object | None = None, corpus: Any = CORPUS, **options: Any
) -> EncodedCorpus:
    """Encode the corpus, ten texts a shard."""
    given = {"shard_rows": 10, **options}
    return encode_corpus(model or Hashing(), corpus, folder, **given)


def changed(row: int, **values: str) -> list[CorpusText]:
    """Return the corpus with one text changed."""
    return [*CORPUS[:row], CORPUS[row]._replace(**values), *CORPUS[row + 1 :]]
