"""How the ranks of a process group learn that one of them has failed or ended.

A rank that raises an exception writes it into the store of the group, where the others find it
when they wait for it. A process that ends says so, and of one that is killed the kernel tells, see
`lifelines`.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from weakref import WeakKeyDictionary

import torch.distributed as dist

from hybrid_fast.retrieval.lifelines import Lifelines

PAUSE = 0.05  # seconds between two looks at the store
_NEWS_SECONDS = 1.0  # until it is known why a rank has left a collective
_GRACE_SECONDS = 2.0  # for other ranks to read why this one ends, which may take the store along
_ENDED, _FAILED, _KNOWN = "ended", "failed", "known"
_KNOWN_TO_ALL = "_known_to_all_ranks"  # attribute of an exception
# Other exceptions of one rank are RuntimeErrors on the others.
_KINDS = (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError)


class Bond:
    """What all work of a process group has in common; see `bind`.

    Attributes:
        rank: number of this rank.
        num_ranks: how many there are.
        store: of the group.
        numbers: of the pieces of work that are part of no other.
        in_progress: endings of the pieces of work, the outermost first.
        lifelines: to the processes of other ranks.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.rank, self.num_ranks = group.rank(), group.size()
        self.store: dist.Store = dist.PrefixStore("hybrid_fast", group.get_group_store())
        self.numbers: Iterator[int] = count()
        self.in_progress: list[Ending] = []
        self.lifelines = Lifelines(self.store, group)
        atexit.register(_tell_end, self.store, self.rank)

    def ended(self) -> set[int]:
        """Return ranks whose process has ended, of many that end on their own at least one."""
        ended = set(self.lifelines.ended())
        if self.store.check([_ENDED]):
            ended.add(int(self.store.get(_ENDED)))
        return ended

    def error_of_end(self, ended: set[int]) -> RuntimeError:
        """Return the error for ranks that this one waits for and that have ended."""
        return RuntimeError(
            f"rank {self.rank} of {self.num_ranks} waits for the others, but rank {min(ended)} has "
            "ended, by itself or killed (as the system does where memory runs out); all ranks must "
            "evaluate, save and train together"
        )


_bonds: WeakKeyDictionary[dist.ProcessGroup, Bond] = WeakKeyDictionary()


def bind(group: dist.ProcessGroup) -> Bond:
    """Return what work of a group shares; the other ranks know from now on if this one ends."""
    if group not in _bonds:
        _bonds[group] = Bond(group)
    return _bonds[group]


class Ending:
    """Of one piece of work: an exception of one rank ends it on all.

    Args:
        bond: of the group.

    Attributes:
        store: of the work.
        numbers: of the pieces of work that are part of it; so ranks that leave it after different
            numbers of them agree on the number of the next one.
    """

    def __init__(self, bond: Bond) -> None:
        whole = bond.in_progress[-1] if bond.in_progress else bond
        self.store: dist.Store = dist.PrefixStore(str(next(whole.numbers)), whole.store)
        self.numbers: Iterator[int] = count()
        self._bond = bond

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise an exception of one rank on all, on the others when they next wait for it.

        That is when they look for it, or when a collective fails because the process of the rank
        has ended.

        Raises:
            RuntimeError: another rank has raised an exception, or its process has ended; or a
                ValueError, TypeError, OSError, ImportError, MemoryError or FloatingPointError if
                it has.
        """
        self._bond.in_progress.append(self)
        try:
            yield
        except _OtherRankError as error:
            raise error.as_raised() from None
        except BaseException as error:
            if _all_know(error):
                raise
            reason = self._reason_of(error)
            if isinstance(reason, _OtherRankError):
                raise reason.as_raised() from error
            self._tell(reason)
            if reason is not error:
                raise reason from error
            raise
        finally:
            self._bond.in_progress.remove(self)

    def look(self) -> None:
        """Raise what another rank has told of this work, or of one that it is part of."""
        for ending in self._bond.in_progress:
            told = ending._told()
            if told is not None:
                raise told

    def _told(self) -> _OtherRankError | None:
        if not self.store.check([_FAILED]):
            return None
        told = self.store.get(_FAILED).decode()
        self.store.add(_KNOWN, 1)
        return _OtherRankError(*told.split(" ", 1))

    def _reason_of(self, error: BaseException) -> BaseException:
        """Return why another rank has left a collective, if that may be what has raised an error.

        What such a rank tells may come later than its connections end.
        """
        if not isinstance(error, RuntimeError):
            return error
        ended: set[int] = set()
        end = time.monotonic() + _NEWS_SECONDS
        with suppress(dist.DistError):  # the store has ended too
            while not ended and time.monotonic() < end:
                told = self._told()
                if told is not None:
                    return told
                ended = self._bond.ended()
                time.sleep(PAUSE)
        words = self._bond.lifelines.last_words()
        if words:
            return _OtherRankError(*words.split(" ", 1))
        ended |= self._bond.lifelines.ended()
        return self._bond.error_of_end(ended) if ended else error

    def _tell(self, error: BaseException) -> None:
        """Tell the others, and wait a moment until they know."""
        kind = next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), "RuntimeError")
        place = f"rank {self._bond.rank} of {self._bond.num_ranks}"
        reason = f"{kind} {place}: {str(error) or type(error).__name__}"
        with suppress(dist.DistError):  # the store has ended too
            self.store.compare_set(_FAILED, "", reason)  # the first one counts
            self.store.add(_KNOWN, 1)
            if self._is_known():
                setattr(error, _KNOWN_TO_ALL, True)
            else:  # others wait in a collective until this process ends, and the store with it
                self._bond.lifelines.say(reason)

    def _is_known(self) -> bool:
        """Wait a moment until all ranks have failed or know that one has; tell whether they do."""
        end = time.monotonic() + _GRACE_SECONDS
        while self.store.add(_KNOWN, 0) < self._bond.num_ranks:
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE)
        return True


def _tell_end(store: dist.Store, rank: int) -> None:
    """Tell ranks that wait for this one that its process ends."""
    with suppress(dist.DistError):  # the store has ended before
        store.set(_ENDED, str(rank))


class _OtherRankError(Exception):
    """What another rank has told."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def as_raised(self) -> BaseException:
        """Return the exception that this rank raises."""
        kinds = {kind.__name__: kind for kind in _KINDS}
        error = kinds.get(self.kind, RuntimeError)(str(self))
        setattr(error, _KNOWN_TO_ALL, True)
        return error


def _all_know(error: BaseException | None) -> bool:
    """Tell whether all ranks end by an exception, or by the one that it was raised from."""
    while error is not None:
        if getattr(error, _KNOWN_TO_ALL, False):
            return True
        error = error.__cause__
    return False
