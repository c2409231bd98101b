"""Encoders with an adapter whose weights are no longer those it began with."""

import warnings
from contextlib import contextmanager

import pytest
import torch
import transformers
from packaging.version import Version
from sentence_transformers import SentenceTransformer

from hybrid_fast.models import BiEncoder

peft = pytest.importorskip("peft")


def read_by_peer(folder) -> SentenceTransformer:
    """Load a saved model in sentence-transformers, or skip the rest of a test."""
    if (folder / "adapter_config.json").exists() and Version(transformers.__version__) < Version(
        "5.6"
    ):
        pytest.skip("transformers loads the weights of adapters, those of peft too, since 5.6")
    return SentenceTransformer(str(folder))


def add_by_peer(model: SentenceTransformer, config) -> None:
    """Give a model an adapter as sentence-transformers does, or skip the rest of a test."""
    try:
        model.add_adapter(config)
    except ValueError as error:
        if "version of PEFT" not in str(error):
            raise
        pytest.skip(f"transformers {transformers.__version__} needs another peft: {error}")


@contextmanager
def peft_asks_by_an_old_name():
    """Its PeftModel reads a property that transformers has renamed, and warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def shaken(model):
    """Change what is trained, so that no vector stays as it was; return the model."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            noise = torch.randn(weight.shape, generator=generator) / 5
            weight.data += noise.to(weight.dtype)
    return model


def adapted(folder, options=None, **of_encoder) -> BiEncoder:
    model = BiEncoder.from_pretrained(folder, **of_encoder)
    model.add_adapter({"r": 4} if options is None else options)
    return shaken(model)


def wrapped(folder, config=None, name="default", **of_encoder) -> BiEncoder:
    """As users of peft do it: a PeftModel in place of the transformer."""
    model = BiEncoder.from_pretrained(folder, **of_encoder)
    config = config or peft.LoraConfig(r=4, target_modules=["query", "value"])
    with peft_asks_by_an_old_name(), torch.random.fork_rng():
        torch.manual_seed(0)
        model.backbone.model = peft.get_peft_model(model.backbone.model, config, name)
    return shaken(model).eval()
