"""Whether the processes of other ranks still run, which one that is killed cannot tell.

The first rank and each other hold a connection that carries nothing but the reason of an end: the
kernel closes it when a process ends, however it ends, and finds out by itself when a machine is
gone. What was written before can still be read.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from weakref import finalize

import torch.distributed as dist

_PORT = "lifelines"
_CONNECT_SECONDS = 5.0
_MAX_WORDS = 4000  # bytes, which any socket buffers


class Lifelines:
    """Connections of this rank of a process group, which are made when both ends look at them.

    The first rank sees the end of all, every other that of the first. A group whose first rank is
    not that of all processes has none, since its host is not known; nor have machines that refuse
    the connection.

    Args:
        store: of the group.
        group: the ranks.
    """

    def __init__(self, store: dist.Store, group: dist.ProcessGroup) -> None:
        self._store = store
        self._rank = group.rank()
        self._lines: dict[socket.socket, int | None] = {}  # to the rank at the other end
        self._ended: set[int] = set()
        self._words = b""
        self._listener: socket.socket | None = None
        self._may_connect = "MASTER_ADDR" in os.environ and dist.get_global_rank(group, 0) == 0
        if self._may_connect and self._rank == 0:
            self._listen(group.size())
        finalize(self, _close, self._lines)

    def ended(self) -> set[int]:
        """Return the ranks whose process is seen to have ended."""
        self._connect()
        poll = select.poll()
        by_number = {line.fileno(): line for line in self._lines}
        for number in by_number:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(0):
            self._read(by_number[number])
        return self._ended

    def last_words(self) -> str:
        """Return what the first rank has said; empty: nothing, or this is the first."""
        self.ended()
        return self._words.decode(errors="replace")

    def say(self, words: str) -> None:
        """Leave a text, from the first rank, that the others find after its end, too."""
        self.ended()
        for line in self._lines:
            with suppress(OSError):
                line.send(words.encode()[:_MAX_WORDS])

    def _listen(self, num_ranks: int) -> None:
        with suppress(OSError):
            both = socket.has_dualstack_ipv6()
            self._listener = socket.create_server(
                ("::" if both else "", 0),
                family=socket.AF_INET6 if both else socket.AF_INET,
                backlog=num_ranks,
                dualstack_ipv6=both,
            )
            self._listener.setblocking(False)
            self._store.set(_PORT, str(self._listener.getsockname()[1]))

    def _connect(self) -> None:
        if self._listener is not None:
            with suppress(BlockingIOError):
                while True:
                    self._keep(self._listener.accept()[0], None)
        elif self._may_connect and self._rank > 0 and self._store.check([_PORT]):
            self._may_connect = False
            address = os.environ["MASTER_ADDR"], int(self._store.get(_PORT))
            with suppress(OSError):
                line = socket.create_connection(address, _CONNECT_SECONDS)
                line.sendall(self._rank.to_bytes(4))
                self._keep(line, 0)

    def _keep(self, line: socket.socket, rank: int | None) -> None:
        line.setblocking(False)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._lines[line] = rank

    def _read(self, line: socket.socket) -> None:
        """Take a rank's number, which comes first, or last words, or notice its end."""
        is_new = self._lines[line] is None
        try:
            found = line.recv(4 if is_new else _MAX_WORDS)
        except ConnectionError:
            found = b""
        if found and is_new:
            self._lines[line] = int.from_bytes(found)
        elif found:
            self._words += found
        else:
            self._end(line)

    def _end(self, line: socket.socket) -> None:
        rank = self._lines.pop(line)
        line.close()
        if rank is not None:
            self._ended.add(rank)


def _close(lines: dict[socket.socket, int | None]) -> None:
    for line in lines:
        line.close()
