"""Encoding in batches: order, sizes, and the modes of modules afterwards."""

import numpy as np
import pytest
import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.encoding import (
    CPU_TOKENS,
    embed_in_parts,
    encode_in_batches,
    evaluation_mode,
)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_embeddings_come_back_in_the_order_of_the_texts(batch_size):
    texts = ["aaa", "b", "cccccc", "dd", "", "ffff", "g"]
    sizes = []

    def encode(batch):
        sizes.append([len(text) for text in batch])
        return torch.tensor([[len(text), ord((text or "?")[0])] for text in batch]).bfloat16()

    embeddings = encode_in_batches(encode, texts, 2, batch_size)
    assert embeddings.dtype == torch.float32
    assert embeddings[:, 0].tolist() == [3, 1, 6, 2, 0, 4, 1]
    assert max(map(len, sizes)) <= batch_size
    flat = [size for batch in sizes for size in batch]
    assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize("max_tokens", [None, 1, 6, 10, 100])
def test_parts_have_few_tokens_and_come_back_in_order(max_tokens):
    lengths = np.array([3, 9, 1, 2, 9, 4, 1])
    sizes = []

    def embed(rows):
        sizes.append(len(rows) * lengths[rows].max())
        return torch.from_numpy(np.stack([rows, lengths[rows]], axis=1))

    embeddings = embed_in_parts(embed, lengths, max_tokens)
    assert embeddings[:, 0].tolist() == list(range(7))
    assert embeddings[:, 1].tolist() == lengths.tolist()
    if max_tokens is None:
        assert len(sizes) == 1
    else:
        assert max(sizes) <= max(max_tokens, 9)


def test_a_transformer_on_the_cpu_embeds_few_tokens_at_a_time(bert_folder, monkeypatch):
    encoder = BiEncoder.from_pretrained(bert_folder)
    texts = [" ".join(["river"] * (1 + row % 60)) for row in range(200)]
    sizes, whole = [], type(encoder).forward

    def forward(self, features):
        sizes.append(features["input_ids"].numel())
        return whole(self, features)

    monkeypatch.setattr(type(encoder), "forward", forward)
    vectors = encoder.encode_passages(texts, batch_size=200)
    assert len(sizes) > 1
    assert max(sizes) <= CPU_TOKENS
    expected = whole(encoder.eval(), encoder.tokenize(texts, "passage")).detach().numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_no_text_and_a_bad_size():
    assert encode_in_batches(torch.zeros, [], 5, 2).shape == (0, 5)
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        encode_in_batches(torch.zeros, ["a"], 5, 0)


def test_every_module_gets_its_own_mode_back():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False]
