"""Encoding of a corpus into a folder of shards, by one process or many, and from where it ended.

Processes read the corpus in one order, and each takes the next block when it is free. A text is
encoded among the same others whatever their number, so shards are the same bit by bit.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import length_hint
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.distributed import ProcessGroup

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.files import check_folder
from hybrid_fast.common.locks import sole_use
from hybrid_fast.common.paths import expanded
from hybrid_fast.cpu.machine import processor
from hybrid_fast.cpu.ways import VARIABLE, common_ways
from hybrid_fast.data.formats.corpus import Corpus, PassageCorpus, open_corpus
from hybrid_fast.results.results import library_versions
from hybrid_fast.retrieval.corpora.blocks import Block, GivenTexts, cut
from hybrid_fast.retrieval.corpora.encoded import (
    EncodedCorpus,
    Manifest,
    VectorDtype,
    shard_file,
    write_shard,
)
from hybrid_fast.retrieval.corpora.folder import (
    WAYS,
    Begun,
    Record,
    finish,
    remove_begun,
    remove_remains,
    write_record,
)
from hybrid_fast.retrieval.corpora.progress import Progress
from hybrid_fast.retrieval.corpora.start import (
    begin,
    changed_corpus,
    check_source,
    warn_of_others,
)
from hybrid_fast.retrieval.encoders import find_encoders
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.shared_work import SharedWork, shared_work
from hybrid_fast.retrieval.stores.store import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

logger = logging.getLogger(__name__)


def encode_corpus(
    model: object,
    corpus: str | Path | Iterable[Any],
    out: str | Path,
    *,
    batch_size: int | None = None,
    vector_dtype: VectorDtype = "float32",
    store_texts: bool = False,
    shard_rows: int | None = None,
    process_group: ProcessGroup | None = None,
) -> EncodedCorpus:
    """Encode a corpus as passages into a folder of Parquet shards and a manifest.

    Where an earlier start with the same model, settings and corpus has ended, however it ended,
    this one goes on: finished shards stay, those that are damaged are encoded again. Of a folder
    that is whole nothing is written.

    Args:
        model: a BiEncoder, a SentenceTransformer, or whatever `find_encoders` takes.
        corpus: a path or hub name, see `open_corpus`, what that returned, or (id, language, text)
            of each text, in a list or an object that can be iterated over again.
        out: the folder, new or of an earlier start.
        batch_size: texts that the model is to take at a time; None leaves it to the model.
        vector_dtype: what vectors are kept in, "float32" or "float16".
        store_texts: whether texts are kept beside their vectors.
        shard_rows: texts of a shard, which are held in memory with their vectors and encoded
            longest first; default what the folder was begun with, else 32,768.
        process_group: ranks that share the work; all call this together.

    Returns:
        The folder, on all ranks.

    Raises:
        FileExistsError: another process encodes to the folder, or it holds something else.
        TypeError: the model cannot encode texts, or a text is no (id, language, text).
        ValueError: an option is wrong, or other than in the earlier start; the corpus has changed
            since, or has no texts; a text or id is empty, or an id comes twice; vectors hold NaN or
            are beyond the range of float16.
        OSError: the folder cannot be written, or the disk is full.
        RuntimeError: another rank has raised an exception; see `retrieval.endings`.
    """
    check_choice("vector_dtype", vector_dtype, get_args(VectorDtype))
    shard_rows = _positive("shard_rows", shard_rows)
    batch_size = _positive("batch_size", batch_size)
    texts = _as_corpus(corpus)
    folder = expanded(out).absolute()
    check_folder(folder)
    with shared_work(process_group) as shared, _sole_writer(folder, shared):
        header = Manifest(
            corpus=texts.name,
            info=VectorInfo.of(model),
            vector_dtype=vector_dtype,
            has_texts=bool(store_texts),
            languages={},
            shards=(),
            made_by={},
            shard_rows=shard_rows or 0,
        )
        begun = begin(folder, header, shared)
        with _resumable(folder, shared), common_ways(folder / WAYS):
            _Encoding(model, texts, folder, begun, batch_size, shared).run()
    return EncodedCorpus(folder)


def _positive(name: str, value: int | np.integer | None) -> int | None:
    if value is None:
        return None
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (is_number and value > 0):
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return int(value)


def _as_corpus(corpus: str | Path | Iterable[Any]) -> Corpus:
    if isinstance(corpus, str | Path):
        return open_corpus(corpus)
    return corpus if isinstance(corpus, PassageCorpus) else GivenTexts(corpus)


@contextmanager
def _sole_writer(folder: Path, shared: SharedWork | None) -> Iterator[None]:
    """Keep other processes out of a folder, for all ranks."""
    if shared is not None and shared.rank > 0:
        yield
        return
    with sole_use(folder):
        yield


@contextmanager
def _resumable(folder: Path, shared: SharedWork | None) -> Iterator[None]:
    """Say of an interrupted start that it can be gone on with; leave nothing of one that is not."""
    try:
        yield
    except BaseException as error:
        if shared is None and not any(folder.glob("shard-*")):
            remove_begun(folder)
        elif isinstance(error, KeyboardInterrupt):
            logger.warning(
                "Interrupted: %s keeps the shards that are finished; start again to go on.", folder
            )
        raise


class _Encoding:
    """The encoding of one corpus, by this rank."""

    def __init__(
        self,
        model: object,
        corpus: Corpus,
        folder: Path,
        begun: Begun,
        batch_size: int | None,
        shared: SharedWork | None,
    ) -> None:
        self._corpus, self._folder, self._begun = corpus, folder, begun
        self._encoder = find_encoders(model)[1]
        self._batch_size, self._shared = batch_size, shared
        self._process = describe_process(model, batch_size)
        self._own: list[Record] = []  # of shards that this rank has encoded
        self._num_seen = 0  # blocks that no shard is finished of, so far
        self._taken = -1  # the one of them that this rank encodes next

    def run(self) -> None:
        """Encode what is not finished, and write the manifest."""
        warn_of_others(self._begun, self._process)
        finished = sum(each.shard.rows for each in self._begun.records.values())
        with Progress(length_hint(self._corpus) or None, finished, self._shared) as progress:
            num_blocks = self._encode_blocks(progress)
            new = self._new_records()
            progress.add(0)  # those of other ranks
            if self._shared is None or self._shared.rank == 0:
                self._finish(new, num_blocks, progress)
        if self._shared is not None:
            self._shared.meet()

    def _encode_blocks(self, progress: Progress) -> int:
        """Encode and check the blocks of this rank; return how many the corpus has."""
        self._take()
        num_blocks = num_texts = 0
        for block in cut(self._corpus, self._begun.header.shard_rows, self._is_wanted):
            if isinstance(block, Block):
                record = self._begun.records.get(block.number)
                if record is None:
                    self._encode(block, progress)
                    self._take()
                else:
                    check_source(self._folder, self._corpus.name, block, record)
            num_blocks += 1
            num_texts += block if isinstance(block, int) else len(block)
        if not num_blocks:
            raise ValueError(f"{self._corpus.name} has no texts to encode")
        if any(number >= num_blocks for number in self._begun.records):
            raise self._changed(f"it had more texts than the {num_texts} of now")
        return num_blocks

    def _is_wanted(self, number: int) -> bool:
        """Tell whether this rank encodes a block, or checks one that is finished."""
        if number in self._begun.records:
            shared = self._shared
            return shared is None or number % shared.num_ranks == shared.rank
        self._num_seen += 1
        return self._num_seen - 1 == self._taken

    def _take(self) -> None:
        """Take the next block that is not finished and that no rank has taken."""
        if self._shared is None:
            self._taken += 1
        else:
            self._shared.ending.look()
            self._taken = self._shared.ending.store.add("taken", 1) - 1

    def _encode(self, block: Block, progress: Progress) -> None:
        header, before = self._begun.header, progress.own
        if self._begun.num_shards is not None and block.number >= self._begun.num_shards:
            raise self._changed(f"it had no text {block.first_row}")
        ids, languages, texts = block.columns
        name = f"passages from text {block.first_row} on"
        encoder = progress.counted(self._encoder)
        vectors = encode(encoder, texts, self._batch_size, name, show_progress=False)
        rows = Rows(ids, languages, vectors, texts if header.has_texts else None)
        shard = write_shard(self._folder / shard_file(block.number), rows, header.vector_dtype)
        shard = replace(shard, languages=block.language_counts, source=block.digest)
        self._own.append(Record(shard, self._process))
        write_record(self._folder, self._own[-1])
        progress.add(len(block) - (progress.own - before))  # texts that came twice

    def _changed(self, what: str) -> ValueError:
        return changed_corpus(self._folder, self._corpus.name, what)

    def _new_records(self) -> dict[int, Record]:
        """Return the records of shards that all ranks have encoded, by number.

        Those of other ranks are sent: a folder of a network may not show them yet.
        """
        own = json.dumps([each.to_dict() for each in self._own]).encode()
        parts = [np.frombuffer(own, np.uint8).copy()]
        if self._shared is not None:
            parts = self._shared.gather(parts[0])
        records = [Record.from_dict(each) for part in parts for each in json.loads(part.tobytes())]
        return {each.number: each for each in records}

    def _finish(self, new: dict[int, Record], num_blocks: int, progress: Progress) -> None:
        records = {**self._begun.records, **new}
        if sorted(records) != list(range(num_blocks)):
            raise RuntimeError(
                f"{num_blocks} shards are needed and {len(records)} were encoded: processes have "
                f"read different texts of {self._corpus.name}; give all of them the same"
            )
        if not new and self._begun.num_shards is not None:
            remove_remains(self._folder, {each.shard.file for each in records.values()})
            logger.info("%s is whole: nothing is left to encode.", self._folder)
            return
        finish(self._folder, replace(self._begun, records=records))
        logger.info(
            "Encoded %s texts to %s (%s texts/s).",
            *(f"{progress.done:,}", self._folder, f"{progress.rate:,.0f}"),
        )


def describe_process(model: object, batch_size: int | None) -> dict[str, Any]:
    """Return what the bytes of a shard depend on beside model and texts, in plain types."""
    kind, device = processor(), torch.device(getattr(model, "device", "cpu"))
    name = f"{kind['name']} (family {kind['family']}, model {kind['model']})"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": device.type,
        "processor": name,
        "threads": torch.get_num_threads(),
        "ways": os.environ.get(VARIABLE) or None,  # those that it asks for
        "batch_size": batch_size,
        "versions": library_versions(),
    }
