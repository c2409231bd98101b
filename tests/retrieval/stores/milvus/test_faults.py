"""Servers of Milvus that fail, refuse or say nothing, and processes that share a file or die."""

from __future__ import annotations

import base64
import errno
import fcntl
import itertools
import os
import socket
import subprocess
import sys

import grpc
import numpy as np
import pytest
from milvus_lite.storage.wal import WAL
from milvus_servers import free_port, lite_server, relay_to
from store_cases import draw_rows, made_info

from hybrid_fast.retrieval.stores import create_store, open_store
from hybrid_fast.retrieval.stores.milvus import calls as milvus_calls
from hybrid_fast.retrieval.stores.milvus import opening as milvus_opening
from hybrid_fast.retrieval.stores.milvus.collections import Described
from hybrid_fast.retrieval.stores.milvus.places import find_place
from hybrid_fast.retrieval.stores.milvus.store import MilvusStore

BUSY, LATE = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Waits between tries, which are not waited for."""
    waits = []
    monkeypatch.setattr(milvus_calls, "sleep", waits.append)
    return waits


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    with (
        lite_server(tmp_path_factory.mktemp("served")) as address,
        relay_to(address) as (relay, port),
    ):
        relay.address = f"milvus:http://{port}"
        yield relay


def test_nobody_listens(waits, capfd, caplog):
    port = free_port()
    with pytest.raises(
        ConnectionError,
        match=rf"127\.0\.0\.1:{port} does not answer: connect was "
        r"tried 4 times.*UNAVAILABLE.*see that it runs",
    ):
        open_store(f"milvus:http://127.0.0.1:{port}", retries=3)
    assert waits == [0.5, 1, 2]
    assert capfd.readouterr().err == ""
    assert not caplog.records


def test_somebody_listens_and_says_nothing(waits):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"milvus:http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=r"tried 2 times.*DEADLINE_EXCEEDED"):
            create_store(address, made_info(), timeout=0.3, retries=1)
    assert waits == [0.5]


def test_two_minutes_end_the_retries(relay, monkeypatch, waits):
    """Each try takes a minute, as where a server is away and pymilvus tries until the timeout."""
    store = create_store(f"{relay.address}/patient", made_info(), retries=50)
    relay.faults = {"Upsert": [LATE] * 9}
    monkeypatch.setattr(milvus_calls, "monotonic", itertools.count(0, 60).__next__)
    with pytest.raises(ConnectionError, match="upsert was tried 3 times in 180 s"):
        store.add(draw_rows(5))
    assert waits == [0.5, 1]
    store.close()
    with pytest.raises(ValueError, match="patient is closed; open it again"):
        store.count()


def test_a_wrong_token(relay, monkeypatch, waits):
    monkeypatch.setenv("MILVUS_TOKEN", "root:wrong")
    relay.faults = {"Connect": [grpc.StatusCode.UNAUTHENTICATED]}
    with pytest.raises(PermissionError, match=r"refuses this user.*MILVUS_TOKEN") as caught:
        open_store(relay.address)
    assert "wrong" not in str(caught.value)
    assert waits == []
    sent = base64.b64decode(relay.metadata["authorization"]).decode()
    assert sent == "root:wrong"


def test_what_is_no_milvus(relay):
    relay.faults = {"Connect": [grpc.StatusCode.UNIMPLEMENTED]}
    with pytest.raises(OSError, match="cannot connect: UNIMPLEMENTED"):
        open_store(relay.address)


def test_faults_that_pass_leave_nothing_lost_and_nothing_twice(relay, waits, capfd):
    rows = draw_rows(40)
    with create_store(f"{relay.address}/passing", made_info()) as store:
        relay.faults = {"Upsert": [LATE, BUSY, LATE], "Search": [LATE, LATE], "Flush": [BUSY]}
        store.add(rows)
        store.add(rows)
        assert len(waits) == 2
        assert store.search(rows.vectors, 1).ids == [[each] for each in rows.ids]
        assert waits == [0.5, 1, 0.5, 1]
        assert store.count() == 40
        relay.faults = {"Delete": [LATE], "Query": [BUSY]}
        assert store.delete(rows.ids[:3]) == 3
        assert store.count() == 37
    assert capfd.readouterr().err == ""


def test_a_server_that_goes_away(relay):
    store = create_store(f"{relay.address}/leaving", made_info(), retries=1)
    store.add(draw_rows(5))
    relay.faults = {"Upsert": [LATE] * 2}
    with pytest.raises(ConnectionError, match="upsert was tried 2 times"):
        store.add(draw_rows(5))
    relay.faults = {}
    store.close()
    with pytest.raises(ValueError, match="never finished"):
        open_store(f"{relay.address}/leaving")


def test_two_begin_the_same_store(relay, monkeypatch):
    """The second has looked for a store before the first made it."""
    address, describe = f"{relay.address}/raced", milvus_opening.describe
    looked = []

    def describe_late(calls, name):
        looked.append(name)
        return describe(calls, name) if len(looked) > 1 else None

    with create_store(address, made_info()):
        monkeypatch.setattr(milvus_opening, "describe", describe_late)
        with pytest.raises(FileExistsError, match="another process has just begun a store"):
            create_store(address, made_info())


CHILD = """
import sys
from store_cases import draw_rows, made_info
from hybrid_fast.retrieval.stores import create_store
store = create_store(sys.argv[1], made_info())
store.add(draw_rows(500))
print("ready", flush=True)
for first in range(500, 10**9, 500):
    store.add(draw_rows(500, first))
"""


def test_a_file_in_use(tmp_path):
    (tmp_path / "own.db").mkdir()
    with (tmp_path / "own.db" / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as Milvus Lite in another process does
        with pytest.raises(BlockingIOError, match=r"in use by another process.*milvus-lite server"):
            create_store(f"milvus:{tmp_path}/own.db", made_info())


@pytest.mark.slow  # faster: test_a_file_in_use, and stores that are closed unfinished
def test_a_process_killed_while_it_adds(tmp_path):
    address = f"milvus:{tmp_path}/own.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", CHILD, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        try:
            assert child.stdout.readline() == b"ready\n"
            with pytest.raises(BlockingIOError, match="in use by another process"):
                open_store(address)
        finally:
            child.kill()
    with pytest.raises(ValueError, match="never finished: process"):
        open_store(address)
    with create_store(address, made_info(), replace=True) as store:
        store.add(draw_rows(3))
    with open_store(address) as store:
        assert store.count() == 3


def test_a_file_where_milvus_lite_needs_a_folder(tmp_path):
    (tmp_path / "old.db").write_bytes(b"SQLite format 3")
    with pytest.raises(NotADirectoryError, match=r"old\.db is a file"):
        open_store(f"milvus:{tmp_path}/old.db")


def test_a_folder_that_cannot_be_opened(tmp_path, capfd):
    (tmp_path / "own.db").mkdir()
    (tmp_path / "own.db" / "LOCK").mkdir()
    with pytest.raises(OSError, match=r"Milvus Lite cannot open .*own\.db: .*LOCK"):
        create_store(f"milvus:{tmp_path}/own.db", made_info())
    assert capfd.readouterr().err == ""


def test_a_full_disk(tmp_path, monkeypatch, capfd, caplog):
    def write_to_full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    address = f"milvus:{tmp_path}/own.db"
    with create_store(address, made_info()) as store:
        store.add(draw_rows(3))
        store.commit()
        monkeypatch.setattr(WAL, "write_insert", write_to_full_disk)
        with pytest.raises(OSError, match=r"own\.db cannot upsert: .*No space left on device"):
            store.add(draw_rows(3, first=3))
    with open_store(address) as store:
        assert store.count() == 3
    assert capfd.readouterr().err == ""
    assert not caplog.records


def test_a_proxy_is_not_asked_for_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with create_store(f"milvus:{tmp_path}/new/own.db", made_info(), retries=0) as store:
        store.add(draw_rows(2))
        assert store.size() > 1000


@pytest.mark.parametrize("missing", ["pymilvus", "milvus_lite"])
def test_a_package_that_is_missing(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'hybrid_fast\[milvus\]'"):
        create_store(f"milvus:{tmp_path}/own.db", made_info())


class RecordedCalls:
    """Calls of a server that has float16, which Milvus Lite has not."""

    place = find_place("http://host")

    def __init__(self):
        self.made = []

    def __call__(self, name, *args, **kwargs):
        self.made.append((name, kwargs))
        return [[] for _ in kwargs.get("data", ())]


def test_float16_vectors_are_sent_as_such():
    calls = RecordedCalls()
    described = Described(made_info("dot"), "float16", "HNSW", True, "me", frozenset(["de"]))
    store = MilvusStore(calls, "half", described, {"ef": 9})
    rows = draw_rows(2)._replace(languages=["de", "de"])
    store.add(rows)
    store.search(rows.vectors, 1)
    (_, added), (_, searched) = calls.made
    sent = [np.stack([row["vector"] for row in added["data"]]), np.stack(searched["data"])]
    for vectors in sent:
        assert vectors.dtype == np.float16
        np.testing.assert_array_equal(vectors, rows.vectors.astype(np.float16))
    assert searched["search_params"] == {"metric_type": "IP", "params": {"ef": 9}}
    rows.vectors[1, 3] = 1e6
    with pytest.raises(ValueError, match="vectors in float16: row 1 holds NaN or infinity"):
        store.add(rows)
    assert len(calls.made) == 2
