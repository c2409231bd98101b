"""Texts that a tokenizer does not know are said, once a side."""

import pytest

from hybrid_fast.models import BiEncoder

THAI = [f"สะพาน{letter}" for letter in "กขคงจฉชซฌญฎฏ"]


@pytest.fixture(params=["static", "transformer"])
def model(request, bert_folder):
    if request.param == "static":
        return BiEncoder.static(["one river", "two rivers and a sea"], 8, 60)
    return BiEncoder.from_pretrained(bert_folder)


def unknown_said(caplog):
    return [r.getMessage() for r in caplog.records if "are unknown to the tokenizer" in r.message]


def test_texts_of_an_unknown_script_are_said_once_a_side(model, caplog):
    ids, *_ = model.token_ids(THAI, "query")
    counts = model.token_counts
    assert counts.num_unknown["query"] == (ids == model.backbone.unknown_id).sum() >= len(THAI)
    assert counts.num_tokens["query"] == counts.num_unknown["query"]
    model.encode_queries(THAI)
    model.encode_passages(THAI)
    first, second = unknown_said(caplog)
    num_added = len(model.backbone.token_ids([""], "query")[0])
    assert first.startswith(f"{len(ids) - len(THAI) * num_added} of the ")
    assert ("queries" in first, "passages" in second) == (True, True)


def test_what_the_caller_says_is_counted_alone(model, caplog):
    model.token_ids(THAI, "query", warn=False)
    model.encode_queries(THAI)
    assert unknown_said(caplog) == []
    assert model.token_counts.num_unknown["query"] >= 2 * len(THAI)


def test_known_texts_and_single_words_are_not_said(model, caplog):
    model.encode_queries(["a b c"])
    model.encode_passages(["The river begins in the mountains and ends in the sea"] * 2)
    model = BiEncoder.static(["The river begins in the mountains and ends in the sea"], 8, 60)
    model.encode_passages(["The river begins in the mountains and ends in the sea"] * 2)
    assert unknown_said(caplog) == []


def test_a_token_that_ends_each_text_is_not_counted_as_unknown(bert_folder, caplog):
    model = BiEncoder.from_pretrained(bert_folder)
    tokenizer = model.backbone.tokenizer
    tokenizer.unk_token = tokenizer.sep_token
    model.token_ids(["river"] * 20, "query")
    assert model.token_counts.num_unknown["query"] == 0
    assert model.token_counts.num_tokens["query"] > 0
    assert unknown_said(caplog) == []
