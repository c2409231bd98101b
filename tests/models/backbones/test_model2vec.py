"""Static encoders of model2vec and of sentence-transformers in all their forms, as the latter reads
them: tokens that are not known count."""

import json

import numpy as np
import pytest
import torch
from model_folders import TEXTS
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.static import load_static

OLD_HOME, HOME = (
    "sentence_transformers.models",
    "sentence_transformers.sentence_transformer.modules",
)
UNKNOWN = ["river zebra", "zebra", "Where does the quagga begin?"]


def word_pieces() -> Tokenizer:
    """A tokenizer as that of potion: BERT's word pieces, and special tokens that are not added."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding()
    return tokenizer


def unigrams() -> Tokenizer:
    """A tokenizer as that of potion-multilingual."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(
            vocab_size=150, special_tokens=["[PAD]", "[UNK]"], unk_token="[UNK]"
        ),
    )
    return tokenizer


def tables(form: str, rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(rows, 24, generator=generator)
    shared = {"mapping": torch.arange(rows) % (rows // 2)}
    weights = torch.rand(rows, generator=generator)
    whole = (table * 40).to(torch.int8)
    return {
        "plain": {"embeddings": table},
        "theirs": {"embedding.weight": table},
        "half": {"embeddings": table.half()},
        "mapped": {"embeddings": table[: rows // 2], **shared},
        "weighted": {"embeddings": table, "weights": weights},
        "half, weighted": {"embeddings": table.half(), "weights": weights.double()},
        "int8": {"embeddings": whole},
        "int8, mapped, weighted": {"embeddings": whole[: rows // 2], **shared, "weights": weights},
    }[form]


FORMS = [
    "plain", "theirs", "half", "mapped", "weighted", "half, weighted", "int8",
    "int8, mapped, weighted",
]  # fmt: skip


def write(folder, tensors, tokenizer, normalize=None, home=None, path="."):
    """Write a folder of model2vec, plain, or with the modules.json of sentence-transformers."""
    place = folder / path
    place.mkdir(parents=True, exist_ok=True)
    save_file(tensors, place / "model.safetensors")
    tokenizer.save(str(place / "tokenizer.json"))
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": normalize}
    (folder / "config.json").write_text(json.dumps(config))
    if home:
        names = ["StaticEmbedding"] + ["Normalize"] * bool(normalize)
        paths = [path, "1_Normalize"]
        modules = [
            {"idx": place, "name": str(place), "path": paths[place], "type": f"{home}.{name}"}
            for place, name in enumerate(names)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make_tokenizer", [word_pieces, unigrams])
def test_vectors_are_those_of_sentence_transformers(form, make_tokenizer, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = make_tokenizer()
    tensors = tables(form, tokenizer.get_vocab_size())
    folder = write(tmp_path / "model", tensors, tokenizer, normalize=True)
    if form == "int8":  # which torch refuses as a parameter
        tensors["embeddings"] = tensors["embeddings"].float()
    peer_folder = write(tmp_path / "peer", tensors, tokenizer)
    peer = SentenceTransformer(modules=[StaticEmbedding.load(str(peer_folder))], device="cpu")
    texts = [*TEXTS, *UNKNOWN]
    expected = peer.float().encode(texts, normalize_embeddings=True)
    model = BiEncoder.from_pretrained(folder, dtype="float32")
    np.testing.assert_allclose(model.encode_passages(texts), expected, atol=1e-5)
    unknown = model.backbone.tokenizer.token_to_id("[UNK]")
    assert model.backbone.unknown_id == unknown
    ids, _, _ = model.token_ids(UNKNOWN, "query")
    assert unknown in ids

    model.save_pretrained(tmp_path / "saved")
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(again.encode_document(texts), expected, atol=1e-5)
    np.testing.assert_array_equal(
        BiEncoder.from_pretrained(tmp_path / "saved").encode_passages(texts),
        model.encode_passages(texts),
    )


@pytest.mark.parametrize("home", [OLD_HOME, HOME])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("path", [".", "", "0_StaticEmbedding"])
def test_folders_of_potion_with_modules(home, normalize, path, tmp_path):
    from sentence_transformers import SentenceTransformer

    tokenizer = word_pieces()
    tensors = tables("plain", tokenizer.get_vocab_size())
    folder = write(tmp_path / "potion", tensors, tokenizer, normalize, home, path)
    model = BiEncoder.from_pretrained(folder)
    assert model.normalize == normalize
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(model.encode_passages(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False, None])
def test_a_plain_folder_is_normalised_where_its_config_says_so(normalize, tmp_path):
    tokenizer = word_pieces()
    tensors = tables("plain", tokenizer.get_vocab_size())
    model = BiEncoder.from_pretrained(write(tmp_path, tensors, tokenizer, normalize))
    assert model.normalize == bool(normalize)
    assert (model.max_length, model.backbone.pads) == ({}, False)


def test_half_precision_stays_until_it_is_trained(tmp_path):
    tokenizer = word_pieces()
    tensors = tables("half", tokenizer.get_vocab_size())
    folder = write(tmp_path / "model", tensors, tokenizer, normalize=True)
    model = BiEncoder.from_pretrained(folder)
    assert model.backbone.embedding.weight.dtype == torch.float16
    wide = BiEncoder.from_pretrained(folder, dtype="float32").encode_passages(TEXTS)
    np.testing.assert_allclose(model.encode_passages(TEXTS), wide, atol=2e-3)
    model.save_pretrained(tmp_path / "saved")
    again = BiEncoder.from_pretrained(tmp_path / "saved")
    assert again.backbone.embedding.weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"mapping": torch.full((99,), 10**6)}, "mapping is no vector of numbers of the 75 rows"),
        ({"mapping": torch.full((99,), -1)}, "mapping is no vector of numbers"),
        ({"weights": torch.rand(3)}, r"weights has shape \(3,\), but there are \d+ tokens"),
    ],
)
def test_tensors_that_do_not_belong_together(edit, message, tmp_path):
    tokenizer = word_pieces()
    tensors = tables("mapped", 150) | edit
    with pytest.raises(ValueError, match=message):
        load_static(write(tmp_path, tensors, tokenizer))
