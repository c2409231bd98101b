"""A SentenceTransformer in memory as a BiEncoder: the same vectors from the same weights."""

import numpy as np
import pytest
import torch

from hybrid_fast.models import BiEncoder

sentence_transformers = pytest.importorskip("sentence_transformers")
modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
SentenceTransformer = sentence_transformers.SentenceTransformer
PROMPTS = {"query": "the ", "document": "in ", "sts": "sea "}


def chain(folder, pooling="mean", *others, **options):
    first = modules.Transformer(str(folder), max_seq_length=20, **options)
    return [first, modules.Pooling(first.get_embedding_dimension(), pooling), *others]


@pytest.fixture(params=["bert", "xlm_roberta", "qwen"])
def theirs(request):
    folder = request.getfixturevalue(f"{request.param}_folder")
    pooling = {"bert": "cls", "xlm_roberta": "mean", "qwen": "lasttoken"}[request.param]
    others = [] if request.param == "bert" else [modules.Normalize()]
    return SentenceTransformer(
        modules=chain(folder, pooling, *others, query_length=9),
        prompts=PROMPTS,
        default_prompt_name="sts",
        similarity_fn_name="dot",
        truncate_dim=30,
        device="cpu",
    )


def assert_same_vectors(ours, theirs, texts):
    for name in ("encode", "encode_query", "encode_document"):
        np.testing.assert_allclose(
            getattr(ours, name)(texts), getattr(theirs, name)(texts), atol=1e-5
        )


def test_weights_are_shared_and_settings_taken_over(theirs, texts):
    texts = [*texts, "the river of " * 40]
    side = theirs.tokenizer.padding_side
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert ours.backbone.model is theirs[0].model
    assert theirs.tokenizer.padding_side == side
    assert ours.max_length == {"query": 9, "passage": 20}
    for name in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", "device"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert_same_vectors(ours, theirs, texts)
    before = theirs.encode(texts)
    with torch.no_grad():
        next(ours.parameters()).mul_(-2)
    assert np.abs(theirs.encode(texts) - before).max() > 0.01
    assert_same_vectors(ours, theirs, texts)


def test_what_is_saved_is_the_same_model(theirs, texts, tmp_path):
    BiEncoder.from_sentence_transformer(theirs).save_pretrained(tmp_path / "m")
    assert_same_vectors(BiEncoder.from_pretrained(tmp_path / "m"), theirs, texts)
    assert_same_vectors(SentenceTransformer(str(tmp_path / "m"), device="cpu"), theirs, texts)


@pytest.mark.parametrize("others", [[], [modules.Normalize()]])
def test_static(texts, others):
    tokenizer = BiEncoder.static(texts, dim=16, vocab_size=200).tokenizer
    theirs = SentenceTransformer(
        modules=[modules.StaticEmbedding(tokenizer, embedding_dim=12), *others], device="cpu"
    )
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert ours.backbone.embedding.weight is theirs[0].embedding.weight
    assert ours.similarity_fn_name == "cosine"
    assert_same_vectors(ours, theirs, texts)


def test_training_one_trains_the_other(bert_folder, texts):
    theirs = SentenceTransformer(modules=chain(bert_folder), device="cpu")
    ours = BiEncoder.from_sentence_transformer(theirs)
    before = theirs.encode(texts)
    optimizer = torch.optim.SGD(ours.parameters(), lr=1.0)
    ours(ours.tokenize(texts, "query")).square().sum().backward()
    optimizer.step()
    assert np.abs(theirs.encode(texts) - before).max() > 0.01
    assert_same_vectors(ours, theirs, texts)


def test_lower_case_and_lengths_of_the_model(bert_folder):
    first = modules.Transformer(str(bert_folder), do_lower_case=True)
    theirs = SentenceTransformer(modules=[first, modules.Pooling(32)], device="cpu")
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert ours.max_length == {"query": 300, "passage": 300}
    assert_same_vectors(ours, theirs, ["THE River", "the river", "the river of " * 200])


class Doubled(torch.nn.Module):
    def forward(self, features):
        return {**features, "sentence_embedding": 2 * features["sentence_embedding"]}


def test_what_cannot_be_trained(bert_folder, texts):
    with pytest.raises(ValueError, match=r"Doubled.*can be trained.*task.evaluate\(model\)"):
        BiEncoder.from_sentence_transformer(
            SentenceTransformer(modules=chain(bert_folder, "mean", Doubled()), device="cpu")
        )


@pytest.mark.parametrize("model", ["folder", torch.nn.Linear(2, 2), SentenceTransformer, None])
def test_what_is_no_sentence_transformer(model):
    with pytest.raises(TypeError, match="a SentenceTransformer is needed"):
        BiEncoder.from_sentence_transformer(model)
