"""Encoding (order, modes, prompts) and the public door's refusals, for both backbones."""

import numpy as np
import pytest
import torch

from hybrid_fast.models import BiEncoder


@pytest.fixture(params=["static", "transformer"])
def model(request, texts, bert_folder):
    if request.param == "static":
        return BiEncoder.static(texts, dim=16, vocab_size=200)
    return BiEncoder.from_pretrained(bert_folder)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_rows_are_in_the_order_of_the_texts(model, texts, batch_size):
    vectors = model.encode_queries(texts, batch_size=batch_size)
    alone = np.concatenate([model.encode_queries([text]) for text in texts])
    assert vectors.shape == (len(texts), model.embedding_dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, alone, atol=1e-6)


def test_encoding_equals_forward_of_tokenize_and_is_repeatable(model, texts):
    with torch.no_grad():
        expected = model.eval()(model.tokenize(texts, "passage")).numpy()
    first = model.encode_passages(iter(texts), show_progress=True)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    np.testing.assert_array_equal(first, model.encode_passages(texts))


def test_no_texts_no_rows(model):
    assert model.encode_queries([]).shape == (0, model.embedding_dim)


def test_vectors_have_length_one_unless_told(model, texts):
    np.testing.assert_allclose(np.linalg.norm(model.encode_queries(texts), axis=1), 1, atol=1e-6)
    unit = model.encode_queries(texts)
    model.normalize = False
    raw = model.encode_queries(texts)
    assert abs(np.linalg.norm(raw, axis=1) - 1).min() > 1e-3
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-6)


def test_prompts_are_put_before_the_texts_of_their_side(model, texts):
    model.prompts = {"query": "river ", "passage": ""}
    vectors = model.encode_queries(texts)
    np.testing.assert_allclose(
        vectors, model.encode_passages(["river " + text for text in texts]), atol=1e-6
    )
    assert abs(vectors - model.encode_passages(texts)).max() > 1e-3


def test_untrained_is_the_same_architecture_with_weights_of_a_seed(model, texts):
    state = torch.get_rng_state()
    model.prompts = {"query": "river ", "passage": ""}
    before = model.encode_queries(texts)
    fresh, again, other = (model.untrained(seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: w.shape for name, w in fresh.state_dict().items()} == {
        name: w.shape for name, w in model.state_dict().items()
    }
    assert (fresh.prompts, fresh.max_length) == (model.prompts, model.max_length)
    ids, of_model = (each.token_ids(texts, "query")[0] for each in (fresh, model))
    np.testing.assert_array_equal(ids, of_model)
    vectors = fresh.encode_queries(texts)
    np.testing.assert_array_equal(vectors, again.encode_queries(texts))
    assert abs(vectors - before).max() > 0.01
    assert abs(vectors - other.encode_queries(texts)).max() > 0.01
    np.testing.assert_array_equal(model.encode_queries(texts), before)


def test_modes_are_restored_even_after_an_error(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder).train()
    model.backbone.model.embeddings.eval()
    before = [module.training for module in model.modules()]
    np.testing.assert_array_equal(model.encode_queries(["a b"]), model.encode_queries(["a b"]))
    model.backbone.max_lengths = {"passage": 8}
    with pytest.raises(KeyError):
        model.encode_queries(["a b"])
    assert [module.training for module in model.modules()] == before
    assert True in before
    assert False in before


def test_encoding_keeps_no_graph_and_leaves_gradients_alone(model, texts):
    model(model.tokenize(texts, "query")).sum().backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.encode_queries(texts)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert (gradient is None) == (parameter.grad is None)
        assert gradient is None or torch.equal(parameter.grad, gradient)


def test_dtypes(model, texts):
    expected = model.encode_queries(texts)
    np.testing.assert_allclose(model.to(torch.bfloat16).encode_queries(texts), expected, atol=0.05)
    assert model.encode_queries(texts).dtype == np.float32


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (["river", "", "sea"], ValueError, "query 1 is empty"),
        (["river", "sea", " \n"], ValueError, "query 2 is empty"),
        ("river", TypeError, r"give a list of texts: \[text\]"),
        (["river", 3], TypeError, "text 1 is a int"),
        (["river", "sea\ud83d"], ValueError, "text 1 is no valid Unicode: its character 3 is half"),
    ],
)
def test_bad_texts(model, bad, error, message):
    with pytest.raises(error, match=message):
        model.encode_queries(bad)
    with pytest.raises(error, match=message):
        model.tokenize(bad, "query")


def test_other_bad_input(model):
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        model.encode_passages(["river"], batch_size=0)
    with pytest.raises(ValueError, match=r"side is 'pasage'; .* did you mean 'passage'"):
        model.tokenize(["river"], "pasage")
    with pytest.raises(ValueError, match="there is no passage to tokenise"):
        model.tokenize([], "passage")


def test_prompt_must_be_a_string(texts):
    with pytest.raises(TypeError, match="query_prompt is 3; it must be a string"):
        BiEncoder.static(texts, vocab_size=99, query_prompt=3)
    with pytest.raises(ValueError, match="query_prompt is no valid Unicode"):
        BiEncoder.static(texts, vocab_size=99, query_prompt="\udcff: ")
