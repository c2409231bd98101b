"""Addresses of stores in Milvus."""

from __future__ import annotations

import pytest

from hybrid_fast.retrieval.stores.milvus.places import find_place


@pytest.mark.parametrize(
    ("place", "address", "collection"),
    [
        ("/a/b.db", "milvus:/a/b.db", "hybrid_fast"),
        ("/a/b.db/own_1", "milvus:/a/b.db/own_1", "own_1"),
        ("/a.db/b.db", "milvus:/a.db/b.db", "hybrid_fast"),
        ("http://host", "milvus:http://host:19530", "hybrid_fast"),
        ("https://host/own/", "milvus:https://host:443/own", "own"),
        ("http://[::1]:9/hybrid_fast", "milvus:http://[::1]:9", "hybrid_fast"),
    ],
)
def test_an_address_names_a_server_and_a_collection(place, address, collection):
    found = find_place(place)
    assert (found.address, found.collection) == (address, collection)
    assert find_place(found.address.removeprefix("milvus:")) == found


def test_files_are_where_the_process_is_and_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/her")
    assert find_place("b.db").address == f"milvus:{tmp_path}/b.db"
    assert find_place("~/b.db").address == "milvus:/home/her/b.db"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "FILE.db or http"),
        ("b.db/", "names the collection ''"),
        ("b.db/a-b", "'a-b'"),
        ("ftp://host", "FILE.db or http"),
        ("http://", "FILE.db or http"),
        ("http://host:port", "no valid port"),
        ("http://host:99999", "no valid port"),
        ("http://host/a/b", "'a/b'"),
        ("http://host/1a", "digit must not come first"),
        (f"http://host/{'a' * 241}", "up to 240"),
        ("http://host?x=1", "FILE.db or http"),
    ],
)
def test_places_that_are_none(place, message):
    with pytest.raises(ValueError, match=message):
        find_place(place)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="MILVUS_TOKEN") as caught:
        find_place("http://root:secret@host:19530/own")
    assert "secret" not in str(caught.value)
