"""Folders as sentence-transformers itself writes them, with any modules after pooling."""

from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st

from hybrid_fast.models import BiEncoder

DIM = 32  # of the encoders of model_folders.py


def saved_chain(folder: Path, modules: list[torch.nn.Module], **options) -> Path:
    """Write a model of sentence-transformers; weights that begin as 1 or 0 are random."""
    for module in modules[1:]:
        for name, weight in module.named_parameters():
            generator = torch.Generator().manual_seed(len(name) + weight.numel())
            weight.data += torch.randn(weight.shape, generator=generator) / 8
    model = SentenceTransformer(modules=modules, device="cpu", **options)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def transformer_chain(encoder: Path, folder: Path, *head: torch.nn.Module, **options) -> Path:
    """Write the model of a plain encoder, mean pooling and further modules."""
    transformer = st.Transformer(str(encoder))
    return saved_chain(folder, [transformer, st.Pooling(DIM, "mean"), *head], **options)


def static_chain(texts: list[str], folder: Path, *head: torch.nn.Module) -> Path:
    """Write a static encoder of 32 dimensions with further modules."""
    BiEncoder.static(texts, dim=DIM, vocab_size=200).save_pretrained(folder / "plain")
    static = SentenceTransformer(str(folder / "plain"), device="cpu")[0]
    return saved_chain(folder / "chain", [static, *head])


def assert_same_vectors(model: BiEncoder, folder: Path, texts: list[str], **options) -> None:
    """Assert that sentence-transformers embeds with a folder as a model of ours does, to 1e-5."""
    theirs = SentenceTransformer(str(folder), device="cpu", **options)
    for ours, encode in (
        (model.encode_queries(texts), theirs.encode_query),
        (model.encode_passages(texts), theirs.encode_document),
    ):
        assert ours.shape == (len(texts), theirs.get_embedding_dimension())
        np.testing.assert_allclose(ours, encode(texts), atol=1e-5)
