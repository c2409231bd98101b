"""Servers for tests of stores in Milvus: a true one on the loopback interface, and faulty ones."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def lite_server(folder):
    """Run `milvus-lite server`, which speaks the protocol of a cluster; yield HOST:PORT."""
    port = free_port()
    command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
    command += ["--data-dir", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def wait_for(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"no server on port {port}; its status is {process.poll()}")


class Relay(grpc.GenericRpcHandler):
    """Hands calls on to a server, but answers some with an error first.

    Attributes:
        faults: states to answer with, by the name of the call; each is used once.
        calls: names of the calls that came.
        metadata: that came with the last one.
    """

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target)
        self.faults: dict[str, list[grpc.StatusCode]] = {}
        self.calls: list[str] = []
        self.metadata: dict[str, str] = {}

    def service(self, details):
        method = details.method
        forward = self.channel.unary_unary(method)

        def answer(request, context):
            name = method.rpartition("/")[2]
            self.calls.append(name)
            self.metadata = dict(details.invocation_metadata)
            if self.faults.get(name):
                context.abort(self.faults[name].pop(0), "by order of the test")
            return forward(request)

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def relay_to(target: str):
    """Serve a `Relay`; yield it and its HOST:PORT."""
    relay = Relay(target)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((relay,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield relay, f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
        relay.channel.close()
