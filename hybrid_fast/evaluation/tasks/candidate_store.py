"""A store of a task's candidates: made where there is none, used again where it holds just these.

What a store keeps of its vectors (`VectorInfo`) says by which model they are, and by a digest of
ids, languages and texts whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from hybrid_fast.common.cache import cache_entry
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.evaluation.tasks.pool_ids import PoolIds
from hybrid_fast.evaluation.tasks.task_texts import TaskTexts
from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
from hybrid_fast.retrieval.stores import Store, create_store, open_store
from hybrid_fast.retrieval.stores.addresses import check_options, options_of
from hybrid_fast.retrieval.stores.store import UnfinishedStoreError
from hybrid_fast.retrieval.vector_info import VectorInfo

_DIGEST = "candidates"  # in the settings of a VectorInfo
# Settings that change vectors of long texts, and not those of a fingerprint.
_SAME = ("max_length",)


class CandidateTexts:
    """The candidates of a task as a corpus that can be encoded.

    Attributes:
        name: of the task.
    """

    def __init__(self, task: TaskTexts, ids: PoolIds) -> None:
        self.name = f"candidates of task {task.name!r}"
        self._candidates, self._ids = task.candidates, ids.vectors

    def __iter__(self) -> Iterator[CorpusText]:
        candidates = self._candidates
        for row, (name, text) in enumerate(zip(self._ids, candidates, strict=True)):
            yield CorpusText(name, candidates.language_of(row), text)

    def __len__(self) -> int:
        return len(self._candidates)

    def info(self, model: object) -> VectorInfo:
        """Return what a store of their vectors by a model keeps of them."""
        info = VectorInfo.of(model)
        return replace(info, settings={**info.settings, _DIGEST: self._digest()})

    def _digest(self) -> str:
        """Return a digest of all ids, languages and texts, in their order."""
        found = blake2b(digest_size=16)
        for fields in self:
            for field in fields:
                encoded = field.encode()
                found.update(len(encoded).to_bytes(8, "little"))
                found.update(encoded)
        return found.hexdigest()


@dataclass(frozen=True)
class CandidateStore:
    """The store that an evaluation asks for.

    Attributes:
        given: its address, or the store.
        options: of the kind of store, each to make it with, to open it with, or both.
        texts: what it is to hold.
        info: the vectors that it is to hold.
    """

    given: str | Store
    options: Mapping[str, Any]
    texts: CandidateTexts
    info: VectorInfo

    def lacks_vectors(self) -> bool:
        """Tell whether the candidates have to be encoded: there is no whole store, or an empty one.

        Raises:
            ValueError: it holds other texts, or vectors of another model, or it cannot be made
                with these options.
        """
        try:
            with self.opened() as store:
                return store.count() == 0
        except (FileNotFoundError, UnfinishedStoreError):
            check_options(str(self.given), self.info, **self._options(0))
            return True

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Open the store and check whose vectors it holds.

        Raises:
            FileNotFoundError: there is none.
            UnfinishedStoreError: it was never filled to the end.
            ValueError: as `lacks_vectors`.
        """
        with ExitStack() as stack:
            store = self.given
            if not isinstance(store, Store):
                store = open_store(store, **self._options(1))
                stack.callback(store.close)
            self._check(store)
            yield store

    def fill(self, encoded: EncodedCorpus) -> None:
        """Add the candidates, to a new store if an address was given, and keep them."""
        if isinstance(self.given, Store):
            _add(self.given, encoded)
            self.given.commit()
        else:
            with create_store(self.given, self.info, **self._options(0)) as store:
                _add(store, encoded)

    def _options(self, to_do: Literal[0, 1]) -> dict[str, Any]:
        """Return the options to make the store with (0) or to open it with (1).

        Those that are for neither are among both, and refused there.
        """
        names = options_of(str(self.given))
        others = {*names[1 - to_do]} - {*names[to_do]}
        return {name: value for name, value in self.options.items() if name not in others}

    def folder_of_vectors(self) -> Path:
        """Return where vectors are kept until the store has them, if no folder is given."""
        weights, length = self.info.fingerprint.weights, self.info.settings.get("max_length")
        key = f"{self.info.settings[_DIGEST]}{weights}{self.info.fingerprint.probe}{length}"
        return cache_entry("encoded", blake2b(key.encode(), digest_size=16).hexdigest())

    def _check(self, store: Store) -> None:
        store.info.check_model(self.info, store.address)
        ours, theirs = self.info.settings, store.info.settings
        todo = "give another store, or delete that one"
        if theirs.get(_DIGEST) != ours[_DIGEST]:
            raise ValueError(
                f"{store.address} was not made of the {self.texts.name}, or they have changed "
                f"since: {todo}"
            )
        for name in _SAME:
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"{store.address} was encoded with {name} {theirs.get(name)}, and the model "
                    f"has {ours.get(name)}: {todo}"
                )
        if store.count() not in (0, len(self.texts)):
            raise ValueError(
                f"{store.address} has {store.count():,} vectors, and there are "
                f"{len(self.texts):,} {self.texts.name}: {todo}"
            )


def _add(store: Store, encoded: EncodedCorpus) -> None:
    for rows in encoded:
        store.add(rows)
