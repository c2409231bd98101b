"""Prompts by name: aliases of "document", what stays as it is, what is refused."""

import json
import logging
import pickle
from copy import deepcopy

import numpy as np
import pytest

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.prompts import Prompts


@pytest.fixture(scope="module")
def model(texts):
    return BiEncoder.static(texts, dim=8, vocab_size=200)


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_the_prompt_of_passages_has_three_names(name):
    prompts = Prompts({"query": "q: ", name: "p: "})
    assert prompts.of_side("passage") == prompts["passage"] == prompts["document"] == "p: "
    assert prompts.of_side("query") == "q: "
    assert "passage" in prompts
    assert prompts.get("corpus") == "p: "
    assert list(prompts) == ["query", "document"]
    prompts[name] = "other: "
    assert dict(prompts) == {"query": "q: ", "document": "other: "}


@pytest.mark.parametrize(
    "given",
    [
        {"passage": "p: ", "document": "d: "},
        {"document": "d: ", "passage": "p: "},
        {"query": None, "document": "d: ", "passage": "p: ", "corpus": None},
    ],
)
def test_both_names_side_by_side_are_kept_and_document_is_that_of_passages(given):
    prompts = Prompts(given)
    assert prompts.of_side("passage") == "d: "
    assert (prompts["document"], prompts["passage"]) == ("d: ", "p: ")
    for same in (deepcopy(prompts), pickle.loads(pickle.dumps(prompts)), Prompts(prompts)):
        assert dict(same) == dict(prompts)
        assert isinstance(same, Prompts)


def test_equality_looks_through_the_names():
    prompts = Prompts({"passage": "p: "})
    assert prompts == {"query": "", "passage": "p: "} == prompts
    assert prompts == {"document": "p: "}
    assert prompts != {"query": "q: ", "document": "p: "}
    assert prompts != {"query": 3}
    assert prompts != [1]
    assert not prompts == {"query": 3}


def test_updates_look_through_the_names():
    prompts = Prompts({"document": "d: "})
    prompts |= {"passage": "p: ", "sts": "s: "}
    assert dict(prompts) == {"query": "", "document": "p: ", "sts": "s: "}
    prompts.update({"document": "d: ", "passage": "p: ", "sts": None})
    assert dict(prompts) == {"query": "", "document": "d: ", "sts": "s: ", "passage": "p: "}


def test_prompts_are_used_by_both_languages(model, texts):
    model.prompts = {"query": "river ", "passage": "sea "}
    plain = BiEncoder(model.backbone)
    for encode, side, prompt in (
        (model.encode_query, model.encode_queries, "river "),
        (model.encode_document, model.encode_passages, "sea "),
    ):
        expected = plain.encode([prompt + text for text in texts])
        np.testing.assert_array_equal(encode(texts), expected)
        np.testing.assert_array_equal(side(texts), expected)
    np.testing.assert_array_equal(model.encode(texts), plain.encode(texts))


def test_default_prompt_and_named_prompts(model, texts, caplog):
    model.prompts = {"query": "river ", "sts": "the "}
    plain = BiEncoder(model.backbone)
    expected = plain.encode([f"the {text}" for text in texts])
    np.testing.assert_array_equal(model.encode(texts, prompt_name="sts"), expected)
    model.default_prompt_name = "sts"
    np.testing.assert_array_equal(model.encode(texts), expected)
    np.testing.assert_array_equal(model.encode(texts, prompt=""), plain.encode(texts))
    np.testing.assert_array_equal(model.encode_document(texts), plain.encode(texts))
    np.testing.assert_array_equal(
        model.encode_query(texts, prompt_name="sts"), model.encode_document(texts, prompt="the ")
    )
    assert "prompt_name" not in caplog.text
    model.encode(texts, prompt="the ", prompt_name="query")
    assert "prompt_name 'query' is not used" in caplog.text
    model.default_prompt_name = None


def test_all_prompts_and_the_default_are_saved(model, tmp_path):
    prompts = {"query": "q: ", "document": "", "passage": "p: ", "sts": "s: "}
    saved = BiEncoder(model.backbone, prompts=prompts, default_prompt_name="sts")
    saved.save_pretrained(tmp_path / "m")
    settings = json.loads((tmp_path / "m" / "config_sentence_transformers.json").read_text())
    assert (settings["prompts"], settings["default_prompt_name"]) == (prompts, "sts")
    loaded = BiEncoder.from_pretrained(tmp_path / "m", query_prompt="other: ")
    assert dict(loaded.prompts) == {**prompts, "query": "other: "}
    assert loaded.default_prompt_name == loaded.untrained().default_prompt_name == "sts"
    assert loaded.untrained().prompts == loaded.prompts


def test_a_prompt_that_sentence_transformers_would_not_use_is_said(model, caplog):
    BiEncoder(model.backbone, prompts={"document": "", "passage": "p: "})
    assert "'passage' is not put before passages: theirs is 'document'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        BiEncoder(model.backbone, prompts={"passage": "p: "})
    assert not caplog.text


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ({"query": 3}, TypeError, "query_prompt is 3; it must be a string"),
        ({"corpus": 3}, TypeError, "passage_prompt is 3"),
        ({"sts": ["a"]}, TypeError, "the prompt 'sts' is .* it must be a string"),
        ({"sts": "\ud83d"}, ValueError, "the prompt 'sts' is no valid Unicode"),
        (["q: "], TypeError, "prompts is .* a dict of texts by name is needed"),
        ("q: ", TypeError, "prompts is 'q: '; a dict"),
    ],
)
def test_bad_prompts(model, prompts, error, message):
    before = dict(model.prompts)
    with pytest.raises(error, match=message):
        model.prompts = prompts
    assert model.prompts == before


def test_names_that_are_not_there(model):
    model.prompts = {"retrieval": "r: "}
    message = "prompt_name is 'retreival'; it must be one of 'query', 'document', 'retrieval'; did"
    with pytest.raises(ValueError, match=message):
        model.encode(["river"], prompt_name="retreival")
    with pytest.raises(ValueError, match="default_prompt_name is 'sts'"):
        model.default_prompt_name = "sts"
    with pytest.raises(ValueError, match="prompt_name is 3"):
        model.encode(["river"], prompt_name=3)
    model.default_prompt_name = "retrieval"
    model.prompts = {}
    with pytest.raises(ValueError, match="default_prompt_name is 'retrieval'; it must be one of"):
        model.encode(["river"])
    model.default_prompt_name = None


def test_a_prompt_that_fills_all_tokens(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder, max_query_length=8, max_passage_length=6)
    with pytest.raises(ValueError, match="query_prompt alone fills the 8 tokens"):
        model.prompts = {"query": "the river of " * 3}
    with pytest.raises(ValueError, match="alone fills the 6 tokens that texts may have"):
        model.encode_document(["river"], prompt="the river of the sea ")
    model.encode_query(["river"], prompt="the river of the sea ")


def test_a_prompt_that_is_changed_to_one_without_room(bert_folder, texts):
    """All texts would have the same embedding."""
    model = BiEncoder.from_pretrained(bert_folder)
    model.prompts["query"] = "the " * 99
    for encode in (model.encode_queries, model.encode_query, lambda t: model.token_ids(t, "query")):
        with pytest.raises(ValueError, match=r"'the the .* alone fills the 96 tokens"):
            encode(texts)
    assert len(model.encode_passages(texts)) == len(texts)


def test_a_default_prompt_that_is_taken_away_is_not_saved(bert_folder, texts, tmp_path):
    """The folder could not be loaded."""
    model = BiEncoder.from_pretrained(bert_folder)
    model.prompts = {"sts": "sea "}
    model.default_prompt_name = "sts"
    model.prompts = {"query": "the "}
    for use in (lambda: model.encode(texts), lambda: model.save_pretrained(tmp_path / "m")):
        with pytest.raises(ValueError, match="default_prompt_name is 'sts'; it must be one of"):
            use()
    assert not (tmp_path / "m").exists()
    model.default_prompt_name = None
    model.save_pretrained(tmp_path / "m")
