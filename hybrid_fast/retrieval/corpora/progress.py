"""How far the encoding of a corpus is: a bar on a terminal, lines in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.retrieval.encoders import Encoder
from hybrid_fast.retrieval.shared_work import SharedWork, hides_progress

logger = logging.getLogger(__name__)
_SECONDS = 300  # between two lines where there is no bar
_DONE = "texts_done"


class Progress:
    """Counts the texts that all ranks encode; the first one shows it.

    Args:
        total: texts of the corpus, None if that is not known.
        finished: those of shards that were finished before.
        shared: the ranks.

    Attributes:
        done: texts that all ranks are known to have encoded since the start.
        own: those of this rank.
    """

    def __init__(self, total: int | None, finished: int, shared: SharedWork | None) -> None:
        self.done = self.own = 0
        self._finished, self._total, self._shared = finished, total, shared
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(
            desc="encode",
            unit=" texts",
            total=total,
            initial=finished,
            delay=2,
            disable=hides_progress(),
            dynamic_ncols=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bar on the screen."""
        self._bar.close()

    def counted(self, encoder: Encoder) -> Encoder:
        """Return an encoder that counts the texts it has encoded."""

        def encode(texts: Sequence[str], batch_size: int | None = None) -> Any:
            embeddings = encoder(texts, batch_size)
            self.add(len(texts))
            return embeddings

        return Encoder(encode, encoder.name, "texts")

    def add(self, num_texts: int) -> None:
        """Count texts of this rank."""
        self.own += num_texts
        if self._shared is None:
            self.done += num_texts
        else:
            self.done = self._shared.ending.store.add(_DONE, num_texts)
        self._bar.update(self._finished + self.done - self._bar.n)
        if self._bar.disable and time.monotonic() - self._last_line > _SECONDS:
            self._last_line = time.monotonic()
            logger.info("Encoded %s.", self._state())

    def _state(self) -> str:
        done, rate = self._finished + self.done, self.rate
        if self._total is None or not rate:
            return f"{done:,} texts, {rate:,.0f} texts/s"
        left = tqdm.format_interval((self._total - done) / rate)
        return f"{done:,} of {self._total:,} texts, {rate:,.0f} texts/s, {left} left"

    @property
    def rate(self) -> float:
        """Texts a second since the start, of all ranks."""
        return self.done / max(time.monotonic() - self._start, 1e-9)
