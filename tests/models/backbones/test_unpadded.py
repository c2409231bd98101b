"""Texts one after another in one row, as flash attention takes them, against padded texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from flash_stand_in import NAME, load, seen
from shape_folders import SHAPES, make_folder

# With flash attention, transformers gives T5Gemma windows that are a token shorter on both sides.
FLASH = [
    name
    for name, shape in SHAPES.items()
    if getattr(transformers, shape.model)._supports_flash_attn and name != "t5gemma"
]


@pytest.mark.parametrize("name", FLASH)
def test_vectors_and_gradients_are_those_of_padded_texts(name, texts, tmp_path):
    folder = make_folder(name, tmp_path / name)
    for pooling in ("mean", "cls", "last", "weightedmean+max"):
        assert_flat_equals_padded(folder, [*texts, "river sea " * 9], pooling=pooling)


@pytest.mark.parametrize("name", ["qwen3", "llama", "gemma", "gemma3", "gpt2"])
def test_decoders_in_both_directions(name, texts, tmp_path):
    folder = make_folder(name, tmp_path / name)
    assert_flat_equals_padded(folder, [*texts, "river sea " * 9], bidirectional=True)


def assert_flat_equals_padded(folder, texts, **options):
    found = []
    seen.clear()
    for attention in ("eager", NAME):
        model = load(folder, attention, **options)
        vectors = model.eval()(model.tokenize(texts, "passage"))
        vectors[:, 0].sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append((vectors.detach(), gradients))
    assert len(seen) >= 2  # layers
    (padded, padded_gradients), (flat, flat_gradients) = found
    torch.testing.assert_close(flat, padded, rtol=1e-5, atol=2e-6)
    assert flat_gradients.keys() == padded_gradients.keys()
    scale = max(float(gradient.abs().max()) for gradient in padded_gradients.values())
    for each, gradient in padded_gradients.items():
        torch.testing.assert_close(flat_gradients[each], gradient, rtol=1e-4, atol=2e-6 * scale)


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


def test_the_bound_of_lengths_is_a_power_of_two_on_the_cpu(tmp_path):
    """Few different bounds are few different graphs of a compiler."""
    model = load(make_folder("qwen3", tmp_path))
    for length, bound in ((1, 64), (64, 64), (65, 128), (128, 128), (200, 256)):
        offsets = np.array([0, length, length + 1])
        features = model.backbone.features(np.ones(length + 1, np.int32), offsets, np.arange(2))
        assert int(features["max_length"]) == bound
        assert features["max_length"].shape == ()
