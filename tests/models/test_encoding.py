"""Encoding in batches: order, sizes, and the modes of modules afterwards."""

import pytest
import torch
from torch import nn

from hybrid_fast.models.encoding import encode_in_batches, evaluation_mode


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
