from __future__ import annotations

import pytest
from memory_store import MemoryStore

from hybrid_fast.retrieval.mining import mining


@pytest.fixture
def memory_stores(monkeypatch):
    """Indexes of tables are stores in memory; the fixture is the list of those that were made."""
    made = {}

    def create(address, info, **options):
        made[address] = MemoryStore(info, address)
        return made[address]

    monkeypatch.setattr(mining, "create_store", create)
    monkeypatch.setattr(mining, "open_store", lambda address: made[address])
    return made
