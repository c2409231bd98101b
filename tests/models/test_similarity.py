"""The similarity of a folder is the one that sentence-transformers reads, and stays it."""

import json
import shutil
from enum import Enum

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.similarity import check_similarity

SETTINGS = "config_sentence_transformers.json"


@pytest.fixture(params=["transformer", "static"])
def folder(request, tmp_path, texts, bert_folder):
    """A folder without a Normalize module."""
    if request.param == "static":
        model = BiEncoder.static(texts, dim=16, vocab_size=200, normalize=False)
    else:
        model = BiEncoder.from_pretrained(bert_folder, normalize=False)
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit_settings(folder, **values):
    path = folder / SETTINGS
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("said", [None, "cosine", "dot"])
def test_what_the_folder_says_as_sentence_transformers_reads_it(folder, tmp_path, said):
    edit_settings(folder, similarity_fn_name=said)
    model = BiEncoder.from_pretrained(folder)
    assert model.similarity_fn_name == SentenceTransformer(str(folder)).similarity_fn_name
    assert not model.normalize
    model.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / SETTINGS).read_text())
    assert saved["similarity_fn_name"] == (said or "cosine")
    assert BiEncoder.from_pretrained(tmp_path / "again").similarity_fn_name == (said or "cosine")


def test_a_folder_without_settings_asks_for_cosine(folder):
    (folder / SETTINGS).unlink()
    assert BiEncoder.from_pretrained(folder).similarity_fn_name == "cosine"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("cos_sim", "cosine"), ("COSINE", "cosine"), ("dot_score", "dot"), ("dot-product", "dot")],
)
def test_other_spellings(folder, spelling, name):
    edit_settings(folder, similarity_fn_name=spelling)
    assert BiEncoder.from_pretrained(folder).similarity_fn_name == name
    assert check_similarity("it", Enum("Names", {"ANY": spelling}).ANY) == name


@pytest.mark.parametrize("said", ["euclidean", "manhattan", "maxsim"])
def test_a_distance_is_refused_unless_it_is_overridden(folder, said):
    edit_settings(folder, similarity_fn_name=said)
    with pytest.raises(ValueError, match=rf"of .*model is '{said}'.*give similarity='cosine'"):
        BiEncoder.from_pretrained(folder)
    assert BiEncoder.from_pretrained(folder, similarity="dot").similarity_fn_name == "dot"
    with pytest.raises(ValueError, match=rf"^similarity is '{said}'; it must be one of"):
        BiEncoder.from_pretrained(folder, similarity=said)


def test_an_override_is_saved_and_read_by_sentence_transformers(folder, tmp_path):
    BiEncoder.from_pretrained(folder, similarity="dot").save_pretrained(tmp_path / "dot")
    assert SentenceTransformer(str(tmp_path / "dot")).similarity_fn_name == "dot"


def test_untrained_keeps_it(texts):
    model = BiEncoder.static(texts, dim=8, vocab_size=99, similarity="dot", normalize=False)
    assert model.untrained().similarity_fn_name == "dot"


def assert_ranks_as_sentence_transformers(folder, texts, **options):
    theirs = SentenceTransformer(str(folder), device="cpu")
    embeddings = theirs.encode(texts)
    ours = BiEncoder.from_pretrained(folder, **options).encode_passages(texts)
    np.testing.assert_allclose(ours @ ours.T, theirs.similarity(embeddings, embeddings), atol=1e-5)


def test_a_plain_folder_is_compared_by_cosine_of_means(bert_folder, xlm_roberta_folder, texts):
    for folder in (bert_folder, xlm_roberta_folder):
        assert_ranks_as_sentence_transformers(folder, texts)


def test_a_plain_folder_of_a_causal_language_model_is_pooled_by_the_last_token(
    qwen_folder, texts, tmp_path
):
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config.from_pretrained(qwen_folder)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(qwen_folder).save_pretrained(tmp_path)
    assert BiEncoder.from_pretrained(tmp_path).backbone.pooling == "last"
    assert_ranks_as_sentence_transformers(tmp_path, texts)


def test_a_plain_folder_compared_by_dot_products_is_not_normalised(bert_folder, texts):
    model = BiEncoder.from_pretrained(bert_folder, similarity="dot")
    raw = BiEncoder.from_pretrained(bert_folder, normalize=False).encode_queries(texts)
    np.testing.assert_array_equal(model.encode_queries(texts), raw)
    assert BiEncoder.from_pretrained(bert_folder, similarity="dot", normalize=True).normalize


def test_a_folder_of_model2vec_is_read_as_sentence_transformers_reads_it(tmp_path, texts):
    from safetensors.torch import save_file

    model = BiEncoder.static(texts, dim=16, vocab_size=200)
    model.save_pretrained(tmp_path / "ours")
    rows = len(model.backbone.embedding.weight)
    tensors = {
        "embeddings": torch.randn(rows // 2, 16).half(),
        "mapping": torch.arange(rows) % (rows // 2),
        "weights": torch.rand(rows),
    }
    folder = shutil.copytree(tmp_path / "ours", tmp_path / "theirs")
    save_file(tensors, folder / "model.safetensors")
    np.testing.assert_allclose(
        BiEncoder.from_pretrained(folder, dtype="float32").encode_queries(texts),
        SentenceTransformer(str(folder), device="cpu").encode(texts),
        atol=2e-3,
    )
    (folder / "modules.json").unlink()  # as older versions of model2vec saved it
    (folder / "config.json").write_text('{"model_type": "model2vec", "normalize": true}')
    plain = BiEncoder.from_pretrained(folder)
    assert (plain.normalize, plain.similarity_fn_name) == (True, "cosine")
    np.testing.assert_allclose(np.linalg.norm(plain.encode_queries(texts), axis=1), 1, atol=2e-3)
