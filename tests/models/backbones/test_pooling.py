"""Poolings against loops over real tokens and sentence-transformers: padding, prompts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules import Pooling

from hybrid_fast.models.backbones.pooling import POOLINGS, check_pooling, pool, pool_flat

THEIRS = {"last": "lasttoken"}


def slow_pooling(name, tokens, skip):
    """The definition, of one text in float64."""
    kept = tokens[skip:].double()
    if name in ("cls", "last"):
        return kept[0] if name == "cls" else kept[-1]
    if name == "max":
        return kept.max(0).values
    weights = torch.ones(len(kept), dtype=torch.float64)
    if name == "weightedmean":
        weights = torch.arange(skip + 1, len(tokens) + 1).double()
    total = (kept * weights[:, None]).sum(0)
    return total / (len(kept) ** 0.5 if name == "mean_sqrt_len_tokens" else weights.sum())


TEXTS = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6)), min_size=1, max_size=5)


@pytest.mark.parametrize("name", POOLINGS)
@given(texts=TEXTS, padding=st.integers(0, 3), left=st.booleans(), skips=st.booleans())
@settings(deadline=None, max_examples=40)
def test_pooling_is_that_of_the_real_tokens(name, texts, padding, left, skips):
    texts = [(length, min(skip, length - 1) if skips else 0) for length, skip in texts]
    width = max(length for length, _ in texts) + padding
    rows = [torch.randn(length, 6) for length, _ in texts]
    states = torch.full((len(rows), width, 6), float("nan"))
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for row, tokens in enumerate(rows):
        real = slice(width - len(tokens), None) if left else slice(0, len(tokens))
        states[row, real] = tokens
        mask[row, real] = 1
    skip = torch.tensor([skip for _, skip in texts]) if skips else None
    expected = torch.stack(
        [slow_pooling(name, tokens, skip) for tokens, (_, skip) in zip(rows, texts, strict=True)]
    ).float()
    torch.testing.assert_close(pool(name, states, mask, skip), expected)
    offsets = torch.tensor([0, *(length for length, _ in texts)], dtype=torch.int32).cumsum(0)
    flat = pool_flat(name, torch.cat(rows), offsets.int(), skip)
    torch.testing.assert_close(flat, expected)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("skip", [None, 2])
def test_texts_without_padding(name, skip):
    states = torch.randn(3, 5, 4)
    skips = None if skip is None else torch.full((3,), skip)
    expected = torch.stack([slow_pooling(name, tokens, skip or 0) for tokens in states]).float()
    torch.testing.assert_close(pool(name, states, None, skips), expected)


@pytest.mark.parametrize(
    "pooling", [*POOLINGS, "cls+mean", "mean+max+last", "weightedmean+mean_sqrt_len_tokens"]
)
@pytest.mark.parametrize("skip", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sentence_transformers_pools_alike(pooling, skip, dtype):
    names = pooling.split("+")
    theirs = Pooling(4, [THEIRS.get(name, name) for name in names], include_prompt=skip is None)
    states, lengths = torch.randn(3, 6, 4).to(dtype), torch.tensor([6, 4, 3])
    mask = (torch.arange(6) < lengths[:, None]).long()
    features = {"token_embeddings": states, "attention_mask": mask, "prompt_length": skip}
    if skip is None:
        del features["prompt_length"]
    skips = None if skip is None else torch.full((3,), skip)
    expected = theirs(dict(features))["sentence_embedding"]
    pooled = pool(pooling, states, mask, skips)
    assert (pooled.shape, pooled.dtype) == ((3, 4 * len(names)), dtype)
    torch.testing.assert_close(pooled, expected)
    offsets = torch.tensor([0, 6, 10, 13], dtype=torch.int32)
    flat = states[mask.bool()]
    features |= {"token_embeddings": flat[None], "cu_seq_lens_q": offsets}
    torch.testing.assert_close(
        pool_flat(pooling, flat, offsets, skips), theirs(features)["sentence_embedding"]
    )


@pytest.mark.parametrize("name", ["mean", "mean_sqrt_len_tokens", "weightedmean"])
def test_sums_of_half_precision_are_in_float32(name):
    states = torch.full((1, 4096, 2), 1.0, dtype=torch.bfloat16)
    states[:, ::2] = 1.0078125  # the next bfloat16; a bfloat16 sum of 4096 ones would stop at 256
    scale = 64 if name == "mean_sqrt_len_tokens" else 1
    mask = torch.ones(1, 4096, dtype=torch.int64)
    offsets = torch.tensor([0, 4096])
    for pooled in (pool(name, states, mask), pool_flat(name, states[0], offsets)):
        assert pooled.dtype == torch.bfloat16
        assert abs(pooled.float().mean().item() / scale - 1.00390625) <= 2**-8


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("skip", [0, 1])
def test_gradient_reaches_real_tokens_only(name, skip):
    states = torch.randn(2, 4, 3, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    skips = torch.tensor([skip, skip])
    pool(name, states, mask, skips).square().sum().backward()
    left_out = mask * (mask.cumsum(1) > skip) == 0
    assert states.grad.abs().sum(-1)[left_out].eq(0).all()
    assert states.grad.abs().sum((1, 2)).gt(0).all()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("mean", "mean"), (["cls", "max"], "cls+max"), (("last",), "last"), ("cls+mean", "cls+mean")],
)
def test_names_of_poolings(value, expected):
    assert check_pooling(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("average", r"pooling is 'average'; it must be one of 'mean', 'cls', .*"),
        ("cls+men", r"pooling is 'men'; .*did you mean 'mean'"),
        ("lasttoken", r"pooling is 'lasttoken'; .*did you mean 'last'"),
        ([], r"pooling is \[\]; one or more of mean, cls, last, max, .* are needed"),
        ("", r"pooling is ''; it must be one of"),
    ],
)
def test_poolings_that_are_not_known(value, message):
    with pytest.raises(ValueError, match=message):
        check_pooling(value)
