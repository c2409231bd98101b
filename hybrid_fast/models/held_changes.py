"""Changes of objects for a while, which several threads may want at the same time.

A model that two threads encode with would otherwise be put back by the first one that is done, in
the middle of what the other computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
_lock = Lock()


class HeldChange(Generic[T]):
    """A change of objects that lasts for as long as anyone holds it.

    Args:
        applies: tells whether an object, which nobody holds, is to be changed.
        undo: puts an object back when nobody holds it any more.
    """

    def __init__(self, applies: Callable[[T], bool], undo: Callable[[T], None]) -> None:
        self._applies = applies
        self._undo = undo
        self._holders: dict[int, int] = {}  # by the id of an object, which its holders keep alive

    @contextmanager
    def hold(self, objects: Iterable[T], change: Callable[[T], None]) -> Iterator[None]:
        """Let objects be changed within, as far as the change applies to them.

        Args:
            objects: those that others hold stay as these have changed them.
            change: changes an object.
        """
        held: list[T] = []
        try:
            with _lock:
                for each in objects:
                    count = self._holders.get(id(each), 0)
                    if not count and not self._applies(each):
                        continue
                    held.append(each)
                    self._holders[id(each)] = count + 1
                    if not count:
                        change(each)
            yield
        finally:
            with _lock:
                for each in held:
                    self._holders[id(each)] -= 1
                    if not self._holders[id(each)]:
                        del self._holders[id(each)]
                        self._undo(each)
