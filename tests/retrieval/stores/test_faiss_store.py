"""A FAISS store: what every store does, and what stays of it in its folder."""

from __future__ import annotations

import pytest
from store_cases import StoreCases

from hybrid_fast.retrieval.stores import create_store, open_store


@pytest.fixture
def new(tmp_path):
    """Make an empty store of a VectorInfo."""
    stores = []

    def make(info, **options):
        stores.append(create_store(f"faiss:{tmp_path}/store-{len(stores)}", info, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def reopened():
    """Commit and close a store, and open it again."""

    def reopen(store):
        store.commit()
        store.close()
        return open_store(store.address)

    return reopen


class TestFlat(StoreCases):
    pass
