"""Every architecture embeds as sentence-transformers does, which loads what is saved, and back."""

import numpy as np
import pytest
import torch
import transformers
from model_folders import SIZES, TEXTS, edit_json
from safetensors.torch import load_file
from shape_folders import (
    ENCODERS_OF_PAIRS,
    SHAPES,
    T5_SIZES,
    Shape,
    make_folder,
    make_tokenizer,
)

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.architectures import UNLIMITED, position_limit, state_size

LENGTH = 30
LONG = [*TEXTS, "river mountains sea " * LENGTH]


@pytest.fixture(params=SHAPES, scope="module")
def folder(request, tmp_path_factory):
    return make_folder(request.param, tmp_path_factory.mktemp("shapes") / request.param)


def load_peer(folder, **options):
    """Load the SentenceTransformer of a folder."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", **options)


def assert_equal_to_peer(folder, **options):
    """Compare vectors of texts of many lengths, some of them cut; return our model."""
    model = BiEncoder.from_pretrained(
        folder, max_query_length=LENGTH, max_passage_length=LENGTH, **options
    )
    peer = load_peer(folder)
    peer.max_seq_length = LENGTH
    expected = peer.encode(LONG, normalize_embeddings=True)
    np.testing.assert_allclose(model.encode_passages(LONG), expected, atol=1e-5)
    assert model.num_truncated["passage"] >= 1
    assert model.embedding_dim == expected.shape[1]
    return model


def test_vectors_are_those_of_sentence_transformers_also_when_saved_by_either(folder, tmp_path):
    model = assert_equal_to_peer(folder)
    expected = model.encode_passages(LONG)
    alone = np.concatenate([model.encode_passages([text]) for text in LONG])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    model.save_pretrained(tmp_path / "ours")
    peer = load_peer(tmp_path / "ours")
    np.testing.assert_allclose(peer.encode_document(LONG), expected, atol=1e-5)
    again = BiEncoder.from_pretrained(tmp_path / "ours")
    np.testing.assert_allclose(again.encode_passages(LONG), expected, atol=1e-6)
    peer.save_pretrained(str(tmp_path / "theirs"))
    theirs = BiEncoder.from_pretrained(tmp_path / "theirs")
    reloaded = load_peer(tmp_path / "theirs")
    np.testing.assert_allclose(theirs.encode_passages(LONG), reloaded.encode(LONG), atol=1e-5)


def test_untrained_is_the_same_architecture_with_other_weights(folder):
    model = BiEncoder.from_pretrained(folder)
    fresh = model.untrained(seed=3)
    shapes = [
        {name: weight.shape for name, weight in each.state_dict().items()}
        for each in (model, fresh)
    ]
    assert shapes[0] == shapes[1]
    vectors = fresh.encode_queries(TEXTS)
    assert vectors.shape == (len(TEXTS), model.embedding_dim)
    assert abs(vectors - model.encode_queries(TEXTS)).max() > 0.1
    np.testing.assert_array_equal(vectors, model.untrained(seed=3).encode_queries(TEXTS))


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("bert", 40),
        ("xlm-roberta", 40),  # two of 42 are taken by the offset
        ("mpnet", 40),
        ("deberta-v2", 40),
        ("modernbert", 8192),
        ("gemma3", 131_072),
        ("t5", UNLIMITED),
        ("umt5", UNLIMITED),
        ("xlnet", UNLIMITED),
        ("t5gemma", 8192),
        ("opt", 40),
    ],
)
def test_number_of_positions(name, limit):
    model = SHAPES[name].build()
    assert position_limit(model) == limit
    if limit < 100:
        states = model(input_ids=torch.full((1, limit), 5)).last_hidden_state
        assert states.shape == (1, limit, state_size(model))


PAIRS = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5Model",
    "umt5": "UMT5ForConditionalGeneration",
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_encoder_of_a_whole_pair_is_loaded_alone_without_a_word(name, tmp_path, caplog, capfd):
    tokenizer = make_tokenizer("t5")
    config = getattr(transformers, SHAPES[name].config)(vocab_size=len(tokenizer), **T5_SIZES)
    torch.manual_seed(0)
    pair = getattr(transformers, PAIRS[name])(config).eval()
    pair.save_pretrained(tmp_path / "pair")
    tokenizer.save_pretrained(tmp_path / "pair")
    assert any(key.startswith("decoder") for key in load_file(tmp_path / "pair/model.safetensors"))
    capfd.readouterr()

    model = assert_equal_to_peer(tmp_path / "pair")
    assert "decoder" not in caplog.text + capfd.readouterr().err
    batch = tokenizer(TEXTS[:1], return_tensors="pt")
    with torch.no_grad():
        states = pair.get_encoder()(input_ids=batch["input_ids"]).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0).numpy()
    np.testing.assert_allclose(model.encode_passages(TEXTS[:1])[0], expected, atol=1e-6)

    model.save_pretrained(tmp_path / "saved")
    encoder_class = getattr(transformers, SHAPES[name].model)
    encoder, report = encoder_class.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        again = encoder(input_ids=batch["input_ids"]).last_hidden_state[0]
    torch.testing.assert_close(again, states)
    np.testing.assert_allclose(
        BiEncoder.from_pretrained(tmp_path / "saved").encode_passages(TEXTS[:1])[0],
        expected,
        atol=1e-6,
    )


def test_a_sentence_t5_with_the_tokenizer_of_t5(tmp_path):
    """Mean, a linear layer without bias, norm 1; a Unigram tokenizer that has sentinels."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = sorted({letter for text in TEXTS[:4] for letter in text if letter != " "})
    pieces += [(letter, -3.0) for letter in letters] + [("▁river", -4.0), ("▁the", -4.0)]
    tokenizer = transformers.T5TokenizerFast(vocab=pieces, extra_ids=3)
    SHAPES["mt5"].build(len(tokenizer)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    transformer = modules.Transformer(str(tmp_path / "encoder"), max_seq_length=LENGTH)
    dense = modules.Dense(32, 24, bias=False, activation_function=torch.nn.Identity())
    chain = [transformer, modules.Pooling(32), dense, modules.Normalize()]
    peer = SentenceTransformer(modules=chain, device="cpu")
    peer.save_pretrained(str(tmp_path / "model"))
    model = BiEncoder.from_pretrained(tmp_path / "model")
    assert model.embedding_dim == 24
    ids, lengths, num_truncated = model.token_ids(TEXTS, "query")
    assert 0 < num_truncated < len(TEXTS)
    assert set(ids[lengths.cumsum() - 1]) == {1}  # </s>
    expected = peer.encode(TEXTS)
    np.testing.assert_allclose(model.encode_queries(TEXTS), expected, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(load_peer(tmp_path / "saved").encode(TEXTS), expected, atol=1e-5)


def test_the_encoder_of_a_t5_lacks_weights(tmp_path):
    folder = make_folder("t5", tmp_path / "t5")
    edit_json(folder / "config.json", lambda config: config.update(num_layers=3))
    with pytest.raises(ValueError, match=r"lack .* parameters of a t5, such as encoder.block.2"):
        BiEncoder.from_pretrained(folder)


@pytest.mark.parametrize("name", ENCODERS_OF_PAIRS)
def test_relative_positions_of_pairs_take_any_length(name, tmp_path):
    model = BiEncoder.from_pretrained(make_folder(name, tmp_path / name), max_passage_length=700)
    assert model.tokenize(["river " * 900], "passage")["input_ids"].shape == (1, 700)
    assert np.isfinite(model.encode_passages(["river " * 900])).all()


@pytest.mark.parametrize("head", ["Qwen2ForCausalLM", "LlamaForCausalLM", "BertForMaskedLM"])
@pytest.mark.parametrize("tied", [True, False])
def test_folders_of_language_models(head, tied, tmp_path, caplog):
    name = head.split("For")[0].lower()
    tokenizer = make_tokenizer(SHAPES[name].tokenizer)
    config = SHAPES[name].configuration(len(tokenizer))
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = getattr(transformers, head)(config)
    model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "model")
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 1  # shards
    loaded = assert_equal_to_peer(tmp_path / "model")
    assert loaded.backbone.pooling == ("last" if "CausalLM" in head else "mean")
    assert "not used" not in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["xlm-roberta", "t5", "qwen3"])
def test_half_precision_is_loaded_as_saved_and_can_be_widened(name, dtype, tmp_path):
    folder = make_folder(name, tmp_path / "model")
    full = BiEncoder.from_pretrained(folder).encode_queries(TEXTS)
    model = BiEncoder.from_pretrained(folder, dtype=dtype)
    model.save_pretrained(tmp_path / "half")
    half = BiEncoder.from_pretrained(tmp_path / "half")
    assert next(half.parameters()).dtype == dtype  # transformers keeps some of T5 in float32
    np.testing.assert_allclose(half.encode_queries(TEXTS), full, atol=0.05)
    wide = BiEncoder.from_pretrained(tmp_path / "half", dtype="float32")
    assert {weight.dtype for weight in wide.parameters()} == {torch.float32}
    peer = load_peer(tmp_path / "half", model_kwargs={"dtype": torch.float32})
    np.testing.assert_allclose(wide.encode_queries(TEXTS), peer.encode(TEXTS), atol=1e-5)


FUNNEL = {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1]}
PADDED = {
    "fnet": Shape("FNetModel", "FNetConfig"),
    "convbert": Shape("ConvBertModel", "ConvBertConfig", {**SIZES, "embedding_size": 32}),
    "mobilebert": Shape(
        "MobileBertModel",
        "MobileBertConfig",
        {**SIZES, "embedding_size": 32, "intra_bottleneck_size": 16},
    ),
    "funnel": Shape("FunnelModel", "FunnelConfig", FUNNEL),
    "yoso": Shape("YosoModel", "YosoConfig"),
    "squeezebert": Shape("SqueezeBertModel", "SqueezeBertConfig", {**SIZES, "embedding_size": 32}),
}


@pytest.mark.parametrize("name", PADDED)
def test_embeddings_that_depend_on_padding_are_warned_of(tmp_path, caplog, name):
    tokenizer = make_tokenizer("bert")
    PADDED[name].build(len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = BiEncoder.from_pretrained(tmp_path)
    together = model.encode_passages([TEXTS[0], " ".join(TEXTS)])[0]
    depends = not np.allclose(together, model.encode_passages(TEXTS[:1])[0], atol=1e-5)
    assert depends is (name != "squeezebert")
    assert ("lets padding into the states of tokens" in caplog.text) is depends


def test_a_chat_template_is_not_used_and_that_is_said(tmp_path, caplog):
    texts = BiEncoder.from_pretrained(make_folder("qwen3", tmp_path / "none")).encode_queries(TEXTS)
    folder = make_folder("qwen3", tmp_path / "chat", chat_template="{{ messages[0].content }}.")
    with caplog.at_level("INFO", logger="hybrid_fast"):
        model = BiEncoder.from_pretrained(folder)
    assert f"not put into the chat template of the tokenizer in {folder}" in caplog.text
    np.testing.assert_array_equal(model.encode_queries(TEXTS), texts)
    model.save_pretrained(tmp_path / "saved")  # whose modules.json holds for both
    caplog.clear()
    BiEncoder.from_pretrained(tmp_path / "saved")
    assert "chat template" not in caplog.text
    np.testing.assert_allclose(load_peer(tmp_path / "saved").encode(TEXTS), texts, atol=1e-5)


def test_a_folder_of_bge_m3(tmp_path):
    """XLM-R, the first token, normalised, 8192 positions and two."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    folder = make_folder("xlm-roberta", tmp_path / "encoder")
    transformer = modules.Transformer(str(folder), max_seq_length=LENGTH)
    chain = [transformer, modules.Pooling(32, "cls"), modules.Normalize()]
    peer = SentenceTransformer(modules=chain, device="cpu")
    peer.save_pretrained(str(tmp_path / "model"))
    model = BiEncoder.from_pretrained(tmp_path / "model")
    assert (model.backbone.pooling, model.normalize) == ("cls", True)
    np.testing.assert_allclose(model.encode_passages(LONG), peer.encode(LONG), atol=1e-5)


def test_a_configuration_without_a_size():
    model = SHAPES["bert"].build()
    model.config = transformers.PretrainedConfig()
    with pytest.raises(ValueError, match="has no hidden_size"):
        state_size(model)
