"""Encoding in batches: order, sizes, and the modes of modules afterwards."""

import numpy as np
import pytest
import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.encoding import (
    ACCELERATOR_TEXTS,
    ACCELERATOR_TOKENS,
    CPU_TOKENS,
    cut_batch,
    encode_in_batches,
    evaluation_mode,
    most_texts,
    most_tokens,
)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_embeddings_come_back_in_the_order_of_the_texts(batch_size):
    texts = ["aaa", "b", "cccccc", "dd", "", "ffff", "g"]
    sizes = []

    def embed(batch):
        sizes.append([len(text) for text in batch])
        vectors = torch.tensor([[len(text), ord((text or "?")[0])] for text in batch]).bfloat16()
        for places in (np.arange(len(batch) - 1, 0, -1), np.array([0])):  # in any order
            yield places, vectors[places]

    embeddings = encode_in_batches(list, embed, texts, 2, batch_size)
    assert embeddings.dtype == torch.float32
    assert embeddings[:, 0].tolist() == [3, 1, 6, 2, 0, 4, 1]
    assert max(map(len, sizes)) <= batch_size
    flat = [size for batch in sizes for size in batch]
    assert flat == sorted(flat, reverse=True)


@pytest.mark.parametrize("unpadded", [False, True])
@pytest.mark.parametrize("max_tokens", [None, 1, 6, 10, 100])
def test_parts_have_few_tokens_and_all_texts(max_tokens, unpadded):
    lengths = np.array([3, 9, 1, 2, 9, 4, 1])
    parts = cut_batch(lengths, max_tokens, unpadded=unpadded)
    sizes = [lengths[rows].sum() if unpadded else len(rows) * lengths[rows].max() for rows in parts]
    assert sorted(np.concatenate(parts)) == list(range(7))
    if max_tokens is None:
        assert len(sizes) == 1
    else:
        assert max(sizes) <= max(max_tokens, 9)
        longest_first = lengths[np.concatenate(parts)]
        assert (np.diff(longest_first) <= 0).all()


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


def test_states_of_tokens_are_embedded_few_tokens_at_a_time_too(bert_folder, monkeypatch):
    encoder = BiEncoder.from_pretrained(bert_folder)
    texts = [" ".join(["river"] * (1 + row % 60)) for row in range(90)]
    expected = encoder.encode(texts, batch_size=1, output_value="token_embeddings")
    sizes, whole = [], type(encoder.backbone).token_states

    def token_states(self, features):
        sizes.append(features["input_ids"].numel())
        return whole(self, features)

    monkeypatch.setattr(type(encoder.backbone), "token_states", token_states)
    found = encoder.encode(texts, batch_size=90, output_value="token_embeddings")
    assert len(sizes) > 1
    assert max(sizes) <= CPU_TOKENS
    for states, alone in zip(found, expected, strict=True):
        torch.testing.assert_close(states, alone, atol=1e-5, rtol=1e-5)


def test_short_texts_do_not_starve_an_accelerator():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert (most_texts(cuda), most_tokens(cuda)) == (ACCELERATOR_TEXTS, ACCELERATOR_TOKENS)
    questions = np.full(most_texts(cuda), 12)
    assert len(cut_batch(questions, most_tokens(cuda))) == 1  # all of a batch at once
    passages = np.full(most_texts(cuda), 300)
    assert len(cut_batch(passages, most_tokens(cuda))) == 10
    assert most_texts(cpu) * 12 <= most_tokens(cpu)


def test_embeddings_stay_where_and_as_they_are():
    def embed(batch):
        yield np.arange(len(batch)), torch.ones(len(batch), 2, dtype=torch.bfloat16)

    found = encode_in_batches(list, embed, ["a", "b", "c"], 2, 2, on_cpu=False)
    assert (found.dtype, found.shape) == (torch.bfloat16, (3, 2))
    assert encode_in_batches(list, embed, ["a"], 2, 2).dtype == torch.float32


def test_a_batch_is_prepared_while_the_one_before_is_computed():
    events = []

    def embed(batch):
        events.append(f"embed {batch[0]}")
        yield np.arange(1), torch.zeros(1, 1)

    def prepare(batch):
        events.append(f"prepare {batch[0]}")
        return batch

    class Watched(torch.Tensor):
        def __setitem__(self, *args):
            events.append("put")
            super().__setitem__(*args)

    empty = torch.empty
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", lambda *sizes: empty(*sizes).as_subclass(Watched))
        encode_in_batches(prepare, embed, ["aa", "b"], 1, 1)
    assert events == ["prepare aa", "embed aa", "prepare b", "put", "embed b", "put"]


def test_no_text_and_a_bad_size():
    assert encode_in_batches(list, list, [], 5, 2).shape == (0, 5)
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        encode_in_batches(list, list, ["a"], 5, 0)


def test_every_module_gets_its_own_mode_back():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False]
