"""Encoding passages of mixed lengths in float32, beside SentenceTransformer on the same weights.

Each as it comes; theirs also with 8 texts at a time, its best on processors of this kind.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from sentence_transformers import SentenceTransformer
from side_by_side import side_by_side
from training_corpus import draw_texts

from hybrid_fast.models import BiEncoder

NUM_TEXTS = 256  # --full: four times as many
ROUNDS_S = 35


def test_mixed_lengths(benchmark, headline, full, encoder_folders):
    texts = draw_texts(NUM_TEXTS * (4 if full else 1), 60, 250, 1)
    encoder = BiEncoder.from_pretrained(encoder_folders[0.0])
    model = SentenceTransformer(encoder_folders[0.0], device="cpu")
    encode = partial(model.encode_document, texts, show_progress_bar=False)
    np.testing.assert_allclose(
        encoder.encode_passages(texts[:64]), encode()[:64], rtol=1e-4, atol=1e-5
    )
    ways = {
        "ours": partial(encoder.encode_passages, texts),
        "SentenceTransformer, 32 (default)": encode,
        "SentenceTransformer, 8": partial(encode, batch_size=8),
    }
    seconds = side_by_side(benchmark, ways, ROUNDS_S)
    rates = {name: len(texts) / found for name, found in seconds.items()}
    goals = dict(zip(list(ways)[1:], (1.5, 1.2), strict=True))
    headline(
        "encoding", "mixed lengths, float32", "texts/s", rates.pop("ours"),
        rates, goals, reduced="" if full else f"{len(texts)} texts instead of {4 * len(texts)}",
    )  # fmt: skip
