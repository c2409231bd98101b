"""A SentenceTransformer in memory as a BiEncoder: the same vectors from the same weights."""

import numpy as np
import pytest
import torch
from adapted_models import add_by_peer, read_by_peer
from shape_folders import make_folder

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.folders.foreign import UntrainableChainError

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


@pytest.mark.parametrize(
    "shape", ["t5", "gemma3-bidirectional", "qwen3", "modernbert", "xlnet", "gpt2"]
)
def test_other_architectures(shape, texts, tmp_path):
    theirs = SentenceTransformer(str(make_folder(shape, tmp_path / shape)), device="cpu")
    theirs.max_seq_length = 30
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert ours.backbone.model is theirs[0].model
    assert_same_vectors(ours, theirs, [*texts, "river mountains sea " * 30])


HEADS = {
    "dense": lambda: [modules.Dense(32, 12)],
    "dense without activation, normalised": lambda: [
        modules.Dense(32, 12, bias=False, activation_function=None),
        modules.Normalize(),
    ],
    "residuals": lambda: [
        modules.Dense(32, 12, activation_function=torch.nn.GELU(), use_residual=True),
        modules.Dense(12, 12, use_residual=True),
    ],
    "all": lambda: [
        modules.Normalize(),
        modules.Dense(32, 20),
        modules.LayerNorm(20),
        modules.Dropout(0.3),
        modules.Normalize(),
    ],
}


@pytest.mark.parametrize("head", HEADS)
def test_modules_after_pooling(bert_folder, texts, tmp_path, head):
    theirs = SentenceTransformer(modules=chain(bert_folder, "mean", *HEADS[head]()), device="cpu")
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert_same_vectors(ours, theirs, texts)
    shared = {id(parameter) for parameter in theirs.parameters()}
    assert {id(parameter) for parameter in ours.parameters()} == shared
    ours.save_pretrained(tmp_path / "m")
    assert_same_vectors(BiEncoder.from_pretrained(tmp_path / "m"), theirs, texts)


@pytest.mark.parametrize("pooling", ["max", ("cls", "mean"), "weightedmean"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_poolings(bert_folder, texts, pooling, include_prompt):
    parts = chain(bert_folder, pooling)
    parts[1].include_prompt = include_prompt
    theirs = SentenceTransformer(modules=parts, prompts=PROMPTS, device="cpu")
    assert_same_vectors(BiEncoder.from_sentence_transformer(theirs), theirs, texts)


def test_training_one_trains_the_other(bert_folder, texts):
    theirs = SentenceTransformer(modules=chain(bert_folder), device="cpu")
    ours = BiEncoder.from_sentence_transformer(theirs)
    before = theirs.encode(texts)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.01)
    ours(ours.tokenize(texts, "query")).square().sum().backward()
    optimizer.step()
    assert np.abs(theirs.encode(texts) - before).max() > 0.01
    assert_same_vectors(ours, theirs, texts)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("wrapped", [False, True])
def test_adapters_come_along(bert_folder, texts, tmp_path, wrapped):
    """Of `add_adapter`, and of peft's own model around the transformer."""
    peft = pytest.importorskip("peft")
    theirs = SentenceTransformer(modules=chain(bert_folder), device="cpu")
    options = {"r": 4, "target_modules": ["query", "value"], "init_lora_weights": False}
    if wrapped:
        theirs[0].model = peft.get_peft_model(theirs[0].model, peft.LoraConfig(**options))
    else:
        add_by_peer(theirs, peft.LoraConfig(**options))
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert ours.adapter_config["r"] == 4
    assert_same_vectors(ours, theirs, texts)
    for merge in (True, False):
        ours.save_pretrained(tmp_path / str(merge), merge_adapter=merge)
        assert_same_vectors(BiEncoder.from_pretrained(tmp_path / str(merge)), theirs, texts)
        assert_same_vectors(read_by_peer(tmp_path / str(merge)), theirs, texts)


def test_lower_case_and_lengths_of_the_model(bert_folder):
    first = modules.Transformer(str(bert_folder), do_lower_case=True)
    theirs = SentenceTransformer(modules=[first, modules.Pooling(32)], device="cpu")
    ours = BiEncoder.from_sentence_transformer(theirs)
    assert ours.max_length == {"query": 300, "passage": 300}
    assert_same_vectors(ours, theirs, ["THE River", "the river", "the river of " * 200])


class Doubled(torch.nn.Module):
    def forward(self, features):
        return {**features, "sentence_embedding": 2 * features["sentence_embedding"]}


BAD = {
    r"Doubled; needed are": lambda parts: [*parts, Doubled()],
    r"its Dense is not of embeddings of texts": lambda parts: [
        *parts,
        modules.Dense(32, 8, module_input_name="token_embeddings"),
    ],
    r"Dense, Pooling; needed are Transformer": lambda parts: [
        parts[0],
        modules.Dense(32, 32, module_input_name="token_embeddings"),
        parts[1],
    ],
    r"WordWeights is weights of whole words": lambda parts: [
        parts[0],
        modules.WordWeights([], {}),
        parts[1],
    ],
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_trained(bert_folder, message):
    theirs = SentenceTransformer(modules=BAD[message](chain(bert_folder)), device="cpu")
    with pytest.raises(UntrainableChainError, match=message) as caught:
        BiEncoder.from_sentence_transformer(theirs)
    assert "evaluated as it is: task.evaluate(model)" in str(caught.value)


def test_options_of_a_transformer_that_are_not_known(bert_folder):
    theirs = SentenceTransformer(modules=chain(bert_folder), device="cpu")
    theirs[0].processing_kwargs = {"text": {"padding": "max_length"}}
    with pytest.raises(UntrainableChainError, match=r"its Transformer has options .* padding"):
        BiEncoder.from_sentence_transformer(theirs)


@pytest.mark.parametrize("model", ["folder", torch.nn.Linear(2, 2), SentenceTransformer, None])
def test_what_is_no_sentence_transformer(model):
    with pytest.raises(TypeError, match="a SentenceTransformer is needed"):
        BiEncoder.from_sentence_transformer(model)
