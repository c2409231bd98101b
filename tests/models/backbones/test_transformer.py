"""The transformer backbone: padding, lengths, what takes part in training, and what is refused."""

import logging
import shutil

import numpy as np
import pytest
import torch
from model_folders import SIZES, edit_json
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    ByT5Tokenizer,
)

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.transformer import TransformerBackbone

FOLDERS = ["bert_folder", "xlm_roberta_folder", "qwen_folder"]


@pytest.fixture(params=FOLDERS)
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_padding_changes_nothing(folder, texts, pooling):
    model = BiEncoder.from_pretrained(folder, pooling=pooling)
    assert (model.tokenize(texts, "passage")["attention_mask"] == 0).any()
    together = model.encode_passages(texts)
    alone = np.concatenate([model.encode_passages([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_padding_is_put_on_the_right_where_positions_are_counted_from_the_left(
    bert_folder, tmp_path, texts
):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(padding_side="left"))
    np.testing.assert_array_equal(
        BiEncoder.from_pretrained(folder).encode_queries(texts),
        BiEncoder.from_pretrained(bert_folder).encode_queries(texts),
    )


def test_vectors_against_the_model_itself(folder, texts):
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = []
    for text in texts:
        batch = tokenizer([text], return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            states = model.eval()(**batch).last_hidden_state[0]
        expected.append(torch.nn.functional.normalize(states.mean(0), dim=0).numpy())
    vectors = BiEncoder.from_pretrained(folder).encode_passages(texts)
    np.testing.assert_allclose(vectors, np.stack(expected), atol=1e-6)


def test_plain_folder_defaults(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder)
    assert model.prompts == {"query": "", "passage": ""}  # as sentence-transformers
    assert model.max_length == {"query": 96, "passage": 256}
    assert model.backbone.pooling == "mean"
    assert model.normalize
    assert model.embedding_dim == 32


def test_lengths_are_limited_by_the_positions_of_the_model(xlm_roberta_folder):
    # 130 positions, two of them taken by RoBERTa's offset
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    assert model.max_length == {"query": 96, "passage": 128}
    assert np.isfinite(model.encode_passages(["river " * 200])).all()
    with pytest.raises(ValueError, match=r"max_passage_length is 129; .* from 3 to 128"):
        BiEncoder.from_pretrained(xlm_roberta_folder, max_passage_length=129)


@pytest.mark.parametrize("length", [0, -1, 2, 1.5, "9"])
def test_bad_length(bert_folder, length):
    with pytest.raises(ValueError, match=r"max_query_length is .* whole number from 3 to 300"):
        BiEncoder.from_pretrained(bert_folder, max_query_length=length)


def test_each_side_is_cut_to_its_length_and_counted_and_logged_once(bert_folder, texts, caplog):
    options = {"max_query_length": 6, "max_passage_length": 9, "query_prompt": "Query: "}
    model = BiEncoder.from_pretrained(bert_folder, **options)
    with caplog.at_level(logging.WARNING, logger="hybrid_fast"):
        assert model.tokenize(texts, "query")["input_ids"].shape == (len(texts), 6)
        model.tokenize(texts, "query")
        assert model.tokenize(texts, "passage")["input_ids"].shape == (len(texts), 9)
    tokenizer = model.backbone.tokenizer
    too_long = sum(len(tokenizer("Query: " + text)["input_ids"]) > 6 for text in texts)
    assert 0 < too_long < len(texts)
    assert model.num_truncated["query"] == 2 * too_long
    truncated = [record for record in caplog.records if "truncated" in record.getMessage()]
    assert [record.getMessage()[:35] for record in truncated] == [
        "A query has more than 6 tokens and ",
        "A passage has more than 9 tokens an",
    ]


def test_prompt_that_leaves_no_room(bert_folder):
    with pytest.raises(ValueError, match="query_prompt alone fills the 5 tokens"):
        BiEncoder.from_pretrained(bert_folder, query_prompt="a b c d e", max_query_length=5)


def test_features_are_those_of_the_tokenizer_padded_on_the_right(folder, texts):
    model = BiEncoder.from_pretrained(folder, query_prompt="Query: ")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    features = model.tokenize(texts, "query")
    expected = tokenizer(
        ["Query: " + text for text in texts],
        padding=True,
        padding_side="right",
        truncation=True,
        max_length=96,
        return_tensors="pt",
    )
    assert torch.equal(features["input_ids"], expected["input_ids"])
    assert torch.equal(features["attention_mask"], expected["attention_mask"])
    # Without padding there is nothing to mask.
    assert list(model.tokenize(texts[:1], "query")) == ["input_ids"]


def test_a_slow_tokenizer_gives_the_same_ids_as_the_fast_one(bert_folder, texts):
    # One text has exactly as many tokens as fit, two have more.
    model = BiEncoder.from_pretrained(bert_folder, max_query_length=8)
    fast = model.token_ids(texts, "query")
    key = model.tokenizer_key("query")

    class Slow:
        """As a tokenizer in Python behaves: lists of ids, and no encodings."""

        is_fast = False
        unk_token_id = 1

        def __init__(self):
            self.init_kwargs = {"do_lower_case": True}

        def __call__(self, texts, **options):
            batch = tokenizer(texts, **options)
            return type("Batch", (dict,), {"encodings": None})(input_ids=batch["input_ids"])

        def get_vocab(self):
            return tokenizer.get_vocab()

        def num_special_tokens_to_add(self):
            return 2

    tokenizer, model.backbone.tokenizer = model.backbone.tokenizer, Slow()
    ids, lengths, num_truncated = model.token_ids(texts, "query")
    assert ids.tolist() == fast[0].tolist()
    assert lengths.tolist() == fast[1].tolist()
    assert num_truncated == fast[2] == 2
    assert 8 in [len(tokenizer(text)["input_ids"]) for text in texts]
    assert model.num_truncated["query"] == 4
    slow_key = model.tokenizer_key("query")
    assert slow_key != key
    model.backbone.tokenizer.init_kwargs = {"do_lower_case": False}
    assert model.tokenizer_key("query") != slow_key


def test_a_tokenizer_in_python_counts_what_it_truncates(tmp_path):
    # A byte a token, and one at the end.
    tokenizer = ByT5Tokenizer()
    BertModel(BertConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = BiEncoder.from_pretrained(tmp_path, max_query_length=5)
    assert not model.backbone.tokenizer.is_fast
    ids, lengths, num_truncated = model.token_ids(["abcd", "abcde", "abc", "abcdefg"], "query")
    assert lengths.tolist() == [5, 5, 4, 5]
    assert num_truncated == model.num_truncated["query"] == 2
    assert ids.max() < model.backbone.vocab_size


def test_the_key_of_a_tokenizer_follows_from_all_that_ids_follow_from(bert_folder, texts):
    def key(side="query", **options):
        return BiEncoder.from_pretrained(bert_folder, **options).tokenizer_key(side)

    assert key() == key()
    model = BiEncoder.from_pretrained(bert_folder)
    model.tokenize(texts, "query")  # leaves a state in the tokenizer, which ids do not follow from
    assert model.tokenizer_key("query") == key()
    others = [key(query_prompt="Ask: "), key(max_query_length=17), key("passage")]
    model.backbone.tokenizer.add_tokens(["newword"])
    others.append(model.tokenizer_key("query"))
    assert len({key(), *others}) == 5


def test_every_trainable_parameter_gets_a_gradient(folder, texts):
    model = BiEncoder.from_pretrained(folder).train()
    model(model.tokenize(texts, "query"))[:, 0].sum().backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trainable.values())
    assert all("pooler" in name for name in dict(model.named_parameters()).keys() - trainable)


def test_dtype(bert_folder, texts):
    full = BiEncoder.from_pretrained(bert_folder)
    half = BiEncoder.from_pretrained(bert_folder, dtype="bfloat16")
    assert next(half.parameters()).dtype == torch.bfloat16
    vectors = half.encode_queries(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, full.encode_queries(texts), atol=0.05)
    double = full.to(torch.float64)
    assert double(double.tokenize(texts, "query")).dtype == torch.float64


def test_unknown_pooling_names_the_nearest(bert_folder):
    with pytest.raises(
        ValueError, match=r"pooling is 'men'; .* 'mean', 'cls', 'last', .*; did you mean 'mea"
    ):
        BiEncoder.from_pretrained(bert_folder, pooling="men")


def test_tokenizer_without_padding_token(bert_folder):
    backbone = BiEncoder.from_pretrained(bert_folder).backbone
    backbone.tokenizer.pad_token = None
    with pytest.raises(
        ValueError, match=r"has neither a padding token nor .*set tokenizer.pad_token"
    ):
        TransformerBackbone(backbone.model, backbone.tokenizer, "mean", backbone.max_lengths)


def test_ids_are_below_the_size_of_a_vocabulary_with_holes(bert_folder):
    backbone = BiEncoder.from_pretrained(bert_folder).backbone
    size = backbone.vocab_size
    assert size == len(backbone.tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backbone.tokenizer), "get_vocab", lambda _: {"a": 0, "b": 70_000})
        assert backbone.vocab_size == 70_001
