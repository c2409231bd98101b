"""A tiny model, and a retriever of passages that a store in memory keeps."""

import pytest
from memory_store import MemoryStore
from passages import PASSAGES, QUERIES, TEXTS

from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval import Retriever
from hybrid_fast.retrieval.vector_info import VectorInfo


@pytest.fixture(scope="module")
def model():
    return BiEncoder.static([*TEXTS.values(), *QUERIES], 16, 200)


@pytest.fixture
def store(model):
    return MemoryStore(VectorInfo.of(model))


@pytest.fixture
def found(model, store):
    """A retriever of all passages."""
    made = Retriever(model, store)
    assert made.add(PASSAGES, keep_variants=True) == len(PASSAGES)
    return made
