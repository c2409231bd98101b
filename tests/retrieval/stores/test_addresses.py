"""Stores by address: kinds of other packages, and messages that keep passwords to themselves."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace

import pytest
from memory_store import MemoryStore
from store_cases import made_info

from hybrid_fast.common import plugins
from hybrid_fast.retrieval.stores import create_store, open_store
from hybrid_fast.retrieval.stores.addresses import GROUP, store_kinds


@pytest.fixture
def offered(monkeypatch):
    """Offer kinds of stores as installed packages do: name and module, which may come twice."""

    def offer(*kinds):
        points = EntryPoints(EntryPoint(name, value, GROUP) for name, value in kinds)
        monkeypatch.setattr(plugins, "entry_points", points.select)

    return offer


def test_a_kind_of_another_package(offered, monkeypatch):
    """One that is found twice, as in a checkout and where it is installed, is one."""
    made = []

    def create(place, info, *, size=1):
        made.append((place, size))
        return MemoryStore(info)

    monkeypatch.setitem(sys.modules, "theirs", SimpleNamespace(create=create))
    offered(("own", "theirs"), ("own", "theirs"))
    assert store_kinds() == ("faiss", "milvus", "own")
    assert isinstance(create_store("own:here", made_info(), size=3), MemoryStore)
    assert made == [("here", 3)]
    with pytest.raises(ValueError, match="it takes size; did you mean 'size'"):
        create_store("own:here", made_info(), sise=3)
    offered(("own", "theirs"), ("own", "others"))
    with pytest.raises(ValueError, match="'own' is offered by several packages"):
        open_store("own:here")


@pytest.mark.parametrize(
    "address", ["milvus:http://me:secret@host", "milvsu:http://me:secret@host"]
)
def test_a_password_is_not_printed(address):
    for options in ({}, {"hosts": 2}):
        with pytest.raises(
            ValueError, match=r"MILVUS_TOKEN|has no option 'hosts'|milvsu:\.\.\."
        ) as caught:
            open_store(address, **options)
        assert "secret" not in str(caught.value)
