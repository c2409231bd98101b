"""Texts one after another in one row, as flash attention takes them, against padded texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flash_stand_in import NAME, load, seen


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "weightedmean+max"])
@pytest.mark.parametrize("name", ["bert_folder", "xlm_roberta_folder", "qwen_folder"])
def test_vectors_and_gradients_are_those_of_padded_texts(request, texts, name, pooling):
    folder = request.getfixturevalue(name)
    found = []
    seen.clear()
    for attention in ("sdpa", NAME):
        model = load(folder, attention, pooling=pooling)
        vectors = model.eval()(model.tokenize(texts, "passage"))
        vectors[:, 0].sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((vectors.detach(), gradients))
    assert len(seen) == 2  # layers
    (padded, padded_gradients), (flat, flat_gradients) = found
    torch.testing.assert_close(flat, padded, rtol=1e-5, atol=1e-6)
    for first, second in zip(flat_gradients, padded_gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_positions_of_xlm_roberta_begin_behind_its_padding_token(xlm_roberta_folder, texts):
    """Those of sentence-transformers 5.5 began at 0, which made vectors wrong but not absurd."""
    model = load(xlm_roberta_folder)
    features = model.tokenize(texts[:3], "query")
    lengths = features["cu_seq_lens"].diff().tolist()
    expected = [position for length in lengths for position in range(2, 2 + length)]
    assert features["position_ids"][0].tolist() == expected
    embeddings = model.backbone.model.embeddings
    alone = [model.tokenize([text], "query")["input_ids"] for text in texts[:3]]
    own = [embeddings.create_position_ids_from_input_ids(ids, 1)[0].tolist() for ids in alone]
    assert [position for positions in own for position in positions] == expected


def test_encoding_does_not_depend_on_the_neighbours(xlm_roberta_folder, texts):
    model = load(xlm_roberta_folder)
    together = model.encode_passages(texts)
    alone = np.concatenate([model.encode_passages([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
