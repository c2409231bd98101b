"""Decoders pooled by their last token, as Qwen3-Embedding, e5-mistral and gte-Qwen2 are."""

import numpy as np
import pytest
from model_folders import TEXTS, edit_json
from shape_folders import make_folder, make_tokenizer
from tokenizers import processors

from hybrid_fast.models import BiEncoder

LENGTH = 16  # some texts have fewer tokens, some more
PROMPTS = {"query": "Find the river: ", "document": ""}


def save_peer(folder, to, prompts=PROMPTS, length=LENGTH):
    """Save what sentence-transformers makes of a decoder: last token, norm 1, prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    transformer = modules.Transformer(str(folder), max_seq_length=length)
    chain = [transformer, modules.Pooling(32, "lasttoken"), modules.Normalize()]
    peer = SentenceTransformer(modules=chain, prompts=prompts, device="cpu")
    peer.save_pretrained(str(to))
    return peer


@pytest.mark.parametrize("name", ["qwen3", "mistral", "qwen2", "llama"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("ends", [True, False])
def test_vectors_are_those_of_sentence_transformers(name, side, ends, tmp_path):
    folder = make_folder(name, tmp_path / "decoder", padding_side=side)
    if not ends:  # a tokenizer that adds no token at the end
        edit_json(folder / "tokenizer.json", lambda content: content.update(post_processor=None))
    peer = save_peer(folder, tmp_path / "peer")
    assert peer.tokenizer.padding_side == side
    model = BiEncoder.from_pretrained(tmp_path / "peer")
    assert (model.backbone.pooling, model.normalize) == ("last", True)
    ids, lengths, num_truncated = model.token_ids(TEXTS, "passage")
    assert 0 < num_truncated < len(TEXTS)
    assert len(set(lengths)) > 2
    last = ids[lengths.cumsum() - 1]
    assert (last == model.backbone.tokenizer.eos_token_id).all() == ends
    np.testing.assert_allclose(model.encode_queries(TEXTS), peer.encode_query(TEXTS), atol=1e-5)
    passages = model.encode_passages(TEXTS)
    np.testing.assert_allclose(passages, peer.encode_document(TEXTS), atol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    again = BiEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(again.encode_passages(TEXTS), passages, atol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_tokenizer_without_padding_token_pads_by_its_end(pooling, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = make_folder("llama", tmp_path / "llama", pad_token=None)
    model = BiEncoder.from_pretrained(folder, pooling=pooling)
    assert model.backbone.tokenizer.pad_token == "<end>"
    together = model.encode_passages(TEXTS)
    alone = np.concatenate([model.encode_passages([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")  # its tokenizer pads in other libraries too
    peer = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(peer.encode_document(TEXTS), together, atol=1e-5)


def test_the_last_of_a_truncated_text_is_its_end_token(tmp_path):
    tokenizer = make_tokenizer("decoder")
    assert isinstance(tokenizer.backend_tokenizer.post_processor, processors.TemplateProcessing)
    model = BiEncoder.from_pretrained(make_folder("qwen3", tmp_path / "model"), max_query_length=3)
    ids, lengths, _ = model.token_ids(TEXTS, "query")
    assert lengths.tolist() == [3] * len(TEXTS)
    assert ids[2::3].tolist() == [tokenizer.eos_token_id] * len(TEXTS)
