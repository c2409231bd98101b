"""Encoding by several processes: the vectors of one, errors with their reasons, nothing left."""

import multiprocessing
import os

import numpy as np
import pytest
import torch

from hybrid_fast.models import BiEncoder


@pytest.fixture(scope="module")
def model(texts):
    model = BiEncoder.static(texts, dim=16, vocab_size=200, query_prompt="the ")
    return model.to(torch.bfloat16)


@pytest.fixture(scope="module")
def pool(model):
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    yield pool
    model.stop_multi_process_pool(pool)
    assert not multiprocessing.active_children()


@pytest.fixture
def children():
    """Return whether the processes are those that there were."""
    before = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) == before


@pytest.mark.slow
def test_the_same_vectors_as_here(model, pool, texts):
    expected = model.encode_query([*texts, ""])
    for chunk_size in (None, 1, 4, 99):
        embeddings = model.encode_query([*texts, ""], pool=pool, chunk_size=chunk_size)
        np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    np.testing.assert_allclose(model.encode_query(texts[0], pool=pool), expected[0], atol=1e-6)
    options = {"truncate_dim": 5, "normalize_embeddings": True, "convert_to_tensor": True}
    torch.testing.assert_close(
        model.encode(texts, pool=pool, **options), model.encode(texts, **options).float()
    )
    whole = model.encode(texts, precision="int8")
    np.testing.assert_array_equal(model.encode(texts, precision="int8", pool=pool), whole)
    assert model.encode([], pool=pool).shape == (0,)
    assert not next(model.parameters()).is_shared()


@pytest.mark.slow
def test_errors_of_a_process_are_raised_here(model, pool, texts):
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        model.encode(texts, pool=pool, batch_size=0)
    with pytest.raises(ValueError, match="chunk_size is 0; it must be at least 1"):
        model.encode(texts, pool=pool, chunk_size=0)
    with pytest.raises(ValueError, match="pool is no pool of this model but EncoderPool"):
        model.untrained().encode(texts, pool=pool)
    assert len(model.encode(texts, pool=pool)) == len(texts)  # it works on


@pytest.mark.slow
def test_processes_for_one_call(bert_folder, texts, children):
    model = BiEncoder.from_pretrained(bert_folder, passage_prompt="in ")
    states = model.encode_document(
        texts, device=["cpu", "cpu"], chunk_size=3, output_value="token_embeddings"
    )
    assert children()
    for one, other in zip(
        states, model.encode_document(texts, output_value="token_embeddings"), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_process_that_ends_is_said(model, texts, children):
    pool = model.start_multi_process_pool(["cpu"])
    model.encode(texts, pool=pool)
    with pytest.raises(Exception, match="terminated abruptly"):
        pool.executor.submit(os._exit, 3).result()
    with pytest.raises(RuntimeError, match=r"a process that encodes ended; .*__main__"):
        model.encode(texts, pool=pool)
    model.stop_multi_process_pool(pool)
    assert children()
    with pytest.raises(ValueError, match="pool was stopped; start another"):
        model.encode(texts, pool=pool)


def test_no_process_is_started_for_no_text_or_a_bad_option(model, children):
    assert model.encode([], device=["cpu", "cpu"]).shape == (0,)
    with pytest.raises(ValueError, match="prompt_name is 'sts'"):
        model.encode(["river"], device=["cpu", "cpu"], prompt_name="sts")
    with pytest.raises(ValueError, match="device is 'nowhere', which is not here; there is 1 cpu"):
        model.start_multi_process_pool(["cpu", "nowhere"])
    with pytest.raises(ValueError, match="device is empty"):
        model.start_multi_process_pool([])
    assert children()
