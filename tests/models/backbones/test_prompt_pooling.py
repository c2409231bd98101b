"""Prompts that are not pooled (`include_prompt: false`, as INSTRUCTOR's): encoding and features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from chain_folders import DIM, assert_same_vectors, saved_chain
from flash_stand_in import NAME, load
from sentence_transformers.sentence_transformer import modules as st

from hybrid_fast.models import BiEncoder

PROMPTS = {"query": "Where does the ", "document": "river: "}


def without_prompt(encoder: Path, folder: Path, mode="mean", prompts=PROMPTS) -> Path:
    pooling = st.Pooling(DIM, mode, include_prompt=False)
    return saved_chain(folder, [st.Transformer(str(encoder)), pooling], prompts=prompts)


@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken", "max", ["cls", "weightedmean"]])
@pytest.mark.parametrize("name", ["bert_folder", "xlm_roberta_folder", "qwen_folder"])
def test_vectors_are_those_of_sentence_transformers(request, texts, tmp_path, name, mode):
    folder = without_prompt(request.getfixturevalue(name), tmp_path / "st", mode)
    texts = [*texts, "the river of " * 60]  # truncated, prompt included
    model = BiEncoder.from_pretrained(folder, max_query_length=40, max_passage_length=40)
    model.save_pretrained(tmp_path / "ours")
    assert_same_vectors(model, tmp_path / "ours", texts)
    again = BiEncoder.from_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(again.encode_queries(texts), model.encode_queries(texts))
    assert not model.untrained().backbone.include_prompt


def test_the_prompt_does_make_a_difference(bert_folder, texts, tmp_path):
    folder = without_prompt(bert_folder, tmp_path / "st")
    model = BiEncoder.from_pretrained(folder)
    found = model.encode_queries(texts)
    model.backbone.include_prompt = True
    assert abs(model.encode_queries(texts) - found).max() > 1e-3
    saved = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert saved["include_prompt"] is False


@pytest.mark.parametrize("prompts", [{"query": "", "document": ""}, {"query": " ", "document": ""}])
def test_without_prompts_all_tokens_are_pooled(bert_folder, texts, tmp_path, prompts):
    """A blank prompt is one, whose tokens are the special ones."""
    folder = without_prompt(bert_folder, tmp_path / "st", prompts=prompts)
    model = BiEncoder.from_pretrained(folder)
    assert_same_vectors(model, folder, texts)
    assert (model.prompt_length("query"), model.prompt_length("passage")) == (
        1 if prompts["query"] else 0, 0
    )  # fmt: skip


@pytest.mark.parametrize("name", ["bert_folder", "xlm_roberta_folder", "qwen_folder"])
@pytest.mark.parametrize("mode", ["mean", "cls", "max", "weightedmean"])
def test_texts_in_one_row_are_pooled_alike(request, texts, tmp_path, name, mode):
    folder = without_prompt(request.getfixturevalue(name), tmp_path / "st", mode)
    found = []
    for attention in ("sdpa", NAME):
        model = load(folder, attention)
        features = model.tokenize(texts, "query")
        assert features["prompt_lengths"].tolist() == [model.prompt_length("query")] * len(texts)
        found.append(model(features).detach())
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_a_text_that_is_all_prompt_keeps_its_last_token(qwen_folder, tmp_path):
    """Where sentence-transformers divides by nothing."""
    folder = without_prompt(qwen_folder, tmp_path / "st", "max")
    model = BiEncoder.from_pretrained(folder)
    ids, offsets = np.array([3, 4, 5, 6], np.int32), np.array([0, 2, 4])
    features = model.backbone.features(ids, offsets, np.arange(2), prompt_lengths=np.array([5, 1]))
    assert features["prompt_lengths"].tolist() == [1, 1]
    assert model(features).isfinite().all()
