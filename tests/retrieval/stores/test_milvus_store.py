"""Stores in Milvus, in a file and on a server: they do what every store must do."""

from __future__ import annotations

import itertools

import pytest
from milvus_servers import lite_server
from store_cases import StoreCases

from hybrid_fast.retrieval.stores import create_store, open_store

names = (f"case_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("milvus") / "store.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with lite_server(tmp_path_factory.mktemp("served")) as address:
        yield f"http://{address}"


class MilvusCases(StoreCases):
    @pytest.fixture
    def new(self, place):
        made = []

        def make(info):
            made.append(create_store(f"milvus:{place}/{next(names)}", info, index="FLAT"))
            return made[-1]

        yield make
        for store in made:
            store.close()

    @pytest.fixture
    def reopened(self):
        opened = []

        def reopen(store):
            with store:
                pass
            opened.append(open_store(store.address))
            return opened[-1]

        yield reopen
        for store in opened:
            store.close()


class TestFile(MilvusCases):
    @pytest.fixture
    def place(self, file):
        return file


class TestServer(MilvusCases):
    @pytest.fixture
    def place(self, server):
        return server
