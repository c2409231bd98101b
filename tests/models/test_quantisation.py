"""Fewer bits an entry: equal to sentence-transformers to the bit."""

import numpy as np
import pytest
import torch

from hybrid_fast.models.quantisation import converted, quantize_embeddings

PRECISIONS = ["float32", "int8", "uint8", "binary", "ubinary"]


@pytest.fixture(scope="module")
def embeddings():
    drawn = np.random.default_rng(0).normal(size=(120, 37)).astype(np.float32)
    drawn[:, 3] = 0.25  # a dimension of one value
    drawn[:, 5] = 0
    return drawn


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("with_ranges", [False, True])
def test_equal_to_sentence_transformers(embeddings, precision, with_ranges):
    theirs = pytest.importorskip("sentence_transformers.util.quantization").quantize_embeddings
    ranges = np.stack([np.full(37, -0.5), np.linspace(-0.5, 2, 37)]) if with_ranges else None
    expected = theirs(embeddings, precision, ranges=ranges)
    quantised = quantize_embeddings(embeddings, precision, ranges)
    assert quantised.dtype == expected.dtype
    np.testing.assert_array_equal(quantised, expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_any_kind_of_embeddings(embeddings, precision):
    theirs = pytest.importorskip("sentence_transformers.util.quantization").quantize_embeddings
    tensor = torch.from_numpy(embeddings)
    for given in (
        *(
            tensor,
            tensor.bfloat16(),
            list(tensor),
            list(embeddings),
            tensor.clone().requires_grad_(),
        ),
        *(embeddings.astype(np.float64), embeddings.astype(np.float16), embeddings[:0]),
    ):
        detached = given.detach() if isinstance(given, torch.Tensor) else given
        expected = theirs(detached, precision)
        quantised = quantize_embeddings(given, precision)
        assert quantised.dtype == expected.dtype
        np.testing.assert_array_equal(quantised, expected)
    with pytest.raises(TypeError, match=r"embeddings are of torch\.int8; floats are needed"):
        quantize_embeddings(embeddings.astype(np.int8), precision)


def test_worked_by_hand():
    embeddings = np.array([[0, 0.1], [255, -1], [127.9, 0], [1, 3]], dtype=np.float32)
    uint8 = quantize_embeddings(embeddings, "uint8")
    assert uint8[:, 0].tolist() == [0, 255, 127, 1]
    int8 = quantize_embeddings(embeddings, "int8")
    assert int8[:, 0].tolist() == [-128, 127, -1, -127]
    assert quantize_embeddings(embeddings, "ubinary").tolist() == [[64], [128], [128], [192]]
    assert quantize_embeddings(embeddings, "binary").tolist() == [[-64], [0], [0], [64]]


def test_few_embeddings_are_said_and_one_is_refused(embeddings, caplog):
    quantize_embeddings(embeddings, "int8")
    quantize_embeddings(embeddings[:9], "binary")
    assert not caplog.text
    quantize_embeddings(embeddings[:9], "int8")
    assert "ranges of int8 are taken from 9 embeddings" in caplog.text
    with pytest.raises(ValueError, match="ranges of uint8 cannot be taken from a single embedding"):
        quantize_embeddings(embeddings[:1], "uint8")
    assert quantize_embeddings(embeddings[:1], "uint8", embeddings[:2]).shape == (1, 37)


def test_unknown_precision(embeddings):
    with pytest.raises(ValueError, match=r"precision is 'int4'; .* did you mean 'int8'"):
        quantize_embeddings(embeddings, "int4")


def test_kinds(embeddings):
    tensor = torch.from_numpy(embeddings).bfloat16()
    assert converted(tensor, "float32", to_numpy=False, to_tensor=True) is tensor
    rows = converted(tensor, "int8", to_numpy=False, to_tensor=False)
    array = converted(tensor, "int8", to_numpy=True, to_tensor=False)
    assert isinstance(rows, list)
    assert len(rows) == 120
    np.testing.assert_array_equal(torch.stack(rows).numpy(), array)
