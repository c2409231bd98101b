"""Every token of a tokenizer has an embedding, or is refused where it would be looked up."""

import shutil

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

from hybrid_fast.models import BiEncoder


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", ["bert_folder", "xlm_roberta_folder", "qwen_folder"])
def test_tokens_that_were_added_without_embeddings(request, name, special, tmp_path, texts):
    folder = shutil.copytree(request.getfixturevalue(name), tmp_path / "model")
    pooling = "last" if name == "qwen_folder" else "mean"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    tokenizer.add_tokens(["[LAW]", "[MED]"], special_tokens=special)
    tokenizer.save_pretrained(folder)
    message = rf"{size + 2} tokens and the model {size} embeddings, .* '\[LAW\]', '\[MED\]'; load"
    with pytest.raises(ValueError, match=message):
        BiEncoder.from_pretrained(folder, pooling=pooling)
    # The remedy of the message.
    model = AutoModel.from_pretrained(folder)
    model.resize_token_embeddings(size + 2)
    model.save_pretrained(folder)
    model = BiEncoder.from_pretrained(folder, pooling=pooling)
    assert np.isfinite(model.encode_queries([f"[LAW] {text}" for text in texts])).all()


def test_tokens_that_are_added_to_a_living_model(bert_folder, texts):
    model = BiEncoder.from_pretrained(bert_folder)
    size = len(model.backbone.tokenizer)
    model.backbone.tokenizer.add_tokens(["[LAW]"])
    message = rf"the text '\[LAW\] x' has the token '\[LAW\]', number {size}, but the model"
    with pytest.raises(ValueError, match=message):
        model.encode_passages([*texts, "[LAW] x", *texts])
    assert len(model.encode_passages(texts)) == len(texts)


def test_tokens_that_are_added_to_a_living_static_encoder(texts):
    model = BiEncoder.static(texts, dim=8, vocab_size=99)
    size = model.backbone.vocab_size
    model.backbone.tokenizer.add_tokens(["[law]"])
    message = rf"the text '\[LAW\] sea' has the token '\[law\]', number {size}, but the model"
    with pytest.raises(ValueError, match=message):
        model.encode_queries(["river", "[LAW] sea"])


def test_the_placeholder_of_an_image_needs_no_embedding(bert_folder, tmp_path, texts):
    """As in the text models of Gemma 3, whose tokenizer knows a token for images."""
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(
        folder, extra_special_tokens={"image_token": "<image>"}
    )
    tokenizer.save_pretrained(folder)
    model = BiEncoder.from_pretrained(folder)
    assert len(model.encode_queries(texts)) == len(texts)
    with pytest.raises(ValueError, match="has the token '<image>'"):
        model.encode_queries(["<image>"])
