"""Encoding of a corpus into a folder of shards, by one process or many, and from where it ended.

Processes read the corpus in one order and take its blocks as they come free, so each text is
encoded among the same others whatever their number: shards are the same bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.distributed import ProcessGroup

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.locks import sole_use
from hybrid_fast.common.paths import expanded
from hybrid_fast.cpu.machine import processor
from hybrid_fast.results.results import library_versions
from hybrid_fast.retrieval.corpus_encoding_blocks import Block, cut
from hybrid_fast.retrieval.corpus_encoding_folder import (
    Begun,
    Record,
    finish,
    read_begun,
    remove_remains,
    shard_file,
    write_header,
    write_record,
)
from hybrid_fast.retrieval.encoded_corpus import (
    EncodedCorpus,
    Manifest,
    VectorDtype,
    write_shard,
)
from hybrid_fast.retrieval.encoders import find_encoders
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.shared_work import SharedWork, shared_work
from hybrid_fast.retrieval.stores.store import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

# Held in memory with their vectors, and encoded again if the process is killed: minutes on a CPU,
# seconds on a GPU.
DEFAULT_SHARD_ROWS = 32_768


def encode_corpus(
    model: object,
    corpus: Iterable[Any],
    out: str | Path,
    *,
    batch_size: int | None = None,
    vector_dtype: VectorDtype = "float32",
    store_texts: bool = False,
    shard_rows: int | None = None,
    process_group: ProcessGroup | None = None,
) -> EncodedCorpus:
    """Encode the passages of a corpus into a folder of shards, resuming what was begun there."""
    check_choice("vector_dtype", vector_dtype, get_args(VectorDtype))
    folder = expanded(out).absolute()
    header = Manifest(
        corpus=str(getattr(corpus, "name", type(corpus).__name__)),
        info=VectorInfo.of(model),
        vector_dtype=vector_dtype,
        has_texts=store_texts,
        languages={},
        shards=(),
        made_by={},
        shard_rows=shard_rows or 0,
    )
    with shared_work(process_group) as shared, _sole_writer(folder, shared):
        begun = _begin(folder, header, shared)
        work = _Work(model, folder, begun, batch_size, shared)
        work.encode_blocks(corpus)
        work.finish()
    return EncodedCorpus(folder)


@contextmanager
def _sole_writer(folder: Path, shared: SharedWork | None) -> Iterator[None]:
    if shared is not None and shared.rank > 0:
        yield
        return
    with sole_use(folder):
        yield


def _begin(folder: Path, header: Manifest, shared: SharedWork | None) -> Begun:
    def first() -> Begun:
        begun = read_begun(folder)
        if begun is None:
            begun = Begun(replace(header, shard_rows=header.shard_rows or DEFAULT_SHARD_ROWS), {})
            write_header(folder, begun.header)
        remove_remains(folder)
        return begun

    return first() if shared is None else shared.first_alone(first)


class _Work:
    def __init__(
        self,
        model: object,
        folder: Path,
        begun: Begun,
        batch_size: int | None,
        shared: SharedWork | None,
    ) -> None:
        self.folder = folder
        self.begun = begun
        self.batch_size = batch_size
        self.shared = shared
        self.encoder = find_encoders(model)[1]
        self.process = describe_process(batch_size)
        self.records: dict[int, Record] = {}
        self._turn = -1
        self._mine = -1
        self.num_blocks = 0

    def encode_blocks(self, corpus: Iterable[Any]) -> None:
        header = self.begun.header
        self._take()
        for block in cut(corpus, header.shard_rows, header.corpus, self._is_mine):
            self.num_blocks += 1
            if isinstance(block, int):
                continue
            self._encode(block)
            self._take()
        if not self.num_blocks:
            raise ValueError(f"{header.corpus} has no texts")

    def _is_mine(self, number: int) -> bool:
        if number in self.begun.records:
            return False
        self._turn += 1
        return self._turn == self._mine

    def _take(self) -> None:
        if self.shared is None:
            self._mine += 1
        else:
            self.shared.ending.look()
            self._mine = self.shared.ending.store.add("taken", 1) - 1

    def _encode(self, block: Block) -> None:
        header = self.begun.header
        vectors = encode(self.encoder, block.texts, self.batch_size, "passages")
        rows = Rows(block.ids, block.languages, vectors, block.texts if header.has_texts else None)
        shard = write_shard(self.folder / shard_file(block.number), rows, header.vector_dtype)
        shard = replace(shard, languages=block.language_counts, source=block.digest)
        record = Record(shard, self.process)
        write_record(self.folder, record)
        self.records[block.number] = record

    def finish(self) -> None:
        records = {**self.begun.records, **self.records}
        if self.shared is not None:  # records of others may not be seen in a shared folder yet
            text = json.dumps([each.to_dict() for each in self.records.values()]).encode()
            for part in self.shared.gather(np.frombuffer(text, np.uint8)):
                for each in json.loads(part.tobytes()):
                    record = Record.from_dict(each)
                    records[record.number] = record
            if self.shared.rank == 0:
                finish(self.folder, self.begun.header, records)
            self.shared.meet()
        else:
            finish(self.folder, self.begun.header, records)


def describe_process(batch_size: int | None) -> Mapping[str, Any]:
    """Return what the bytes of a shard depend on beside model and texts."""
    return {
        "processor": processor()["name"],
        "threads": torch.get_num_threads(),
        "batch_size": batch_size,
        "versions": library_versions(),
    }
