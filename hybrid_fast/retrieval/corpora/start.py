"""The start of encoding a corpus to a folder, which may hold a part of it from an earlier start.

What differs from that start is refused, what is damaged is encoded again, and what is whole stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hybrid_fast.retrieval.corpora.blocks import Block
from hybrid_fast.retrieval.corpora.encoded import Manifest, check_shard
from hybrid_fast.retrieval.corpora.folder import (
    Begun,
    Record,
    keep_ways,
    read_begun,
    remove_partial_files,
    write_header,
)
from hybrid_fast.retrieval.shared_work import SharedWork, own_parts

logger = logging.getLogger(__name__)
# Texts of a shard are held in memory with their vectors, and encoded again if the process is
# killed: so many take minutes on a CPU, and seconds on a GPU.
DEFAULT_SHARD_ROWS = 32_768


def begin(folder: Path, header: Manifest, shared: SharedWork | None) -> Begun:
    """Return what a folder holds, after what it lacks was written.

    Args:
        folder: to encode to.
        header: of what is to be encoded; its `shard_rows` 0: as the folder says, else the default.
        shared: the ranks that share the work.

    Raises:
        FileExistsError: the folder holds something else.
        ValueError: what was begun there differs.
        OSError: the folder cannot be written.
    """

    def read_or_write() -> Begun:
        begun = read_begun(folder)
        if begun is None:
            rows = header.shard_rows or DEFAULT_SHARD_ROWS
            begun = Begun(replace(header, shard_rows=rows), {})
            write_header(folder, begun.header)
        remove_partial_files(folder)
        return begun

    begun = read_or_write() if shared is None else shared.first_alone(read_or_write)
    check_same(folder, begun.header, header)
    damaged = _damaged(folder, begun, shared)
    if damaged:
        keep = partial(keep_ways, folder, begun)
        keep() if shared is None else shared.first_alone(keep)
    return replace(
        begun, records={n: each for n, each in begun.records.items() if n not in damaged}
    )


def check_same(folder: Path, begun: Manifest, now: Manifest) -> None:
    """Check that what was begun in a folder is what is to be encoded now.

    Raises:
        ValueError: the model differs, or a setting; the message names all that do.
    """
    reason = begun.info.difference(now.info)
    if reason:
        raise ValueError(
            f"{folder} was begun with the model {begun.info.model!r}, and {now.info.model!r} is "
            f"another: {reason}; go on with the same, or choose another folder"
        )
    ours, theirs = _settings(begun), _settings(now)
    if now.shard_rows == 0:
        theirs["shard_rows"] = begun.shard_rows
    changed = [
        f"{name} was {ours.get(name)!r} and is now {theirs.get(name)!r}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    if changed:
        raise ValueError(
            f"{folder} was begun with other settings: {', '.join(changed)}; go on with the same, "
            "or choose another folder"
        )


def _settings(header: Manifest) -> dict[str, Any]:
    return {
        **header.info.settings,
        "vector_dtype": header.vector_dtype,
        "store_texts": header.has_texts,
        "shard_rows": header.shard_rows,
    }


def _damaged(folder: Path, begun: Begun, shared: SharedWork | None) -> set[int]:
    """Return the numbers of shards that are missing or damaged; ranks check some each."""
    parts = [np.array([number]) for number in sorted(begun.records)]
    own = [int(part[0]) for part in own_parts(parts, shared)]
    found = np.array([n for n in own if _is_damaged(folder, begun.records[n])], np.int64)
    gathered = [found] if shared is None else shared.gather(found)
    return set(np.concatenate(gathered).tolist())


def _is_damaged(folder: Path, record: Record) -> bool:
    try:
        check_shard(folder, record.shard)
    except ValueError as error:
        logger.warning("%s: this start does.", str(error).partition(";")[0])
        return True
    return False


def warn_of_others(begun: Begun, process: Mapping[str, Any]) -> None:
    """Warn if finished shards were encoded by processes of another kind than this one."""
    for other in begun.processes:
        changed = [
            f"{name} {other.get(name)!r} there, {process.get(name)!r} here"
            for name in {**other, **process}
            if other.get(name) != process.get(name)
        ]
        if changed:
            logger.warning(
                "Shards that are finished were encoded by another kind of process (%s): those to "
                "come agree with them but for rounding, not bit by bit.",
                "; ".join(changed),
            )


def check_source(folder: Path, corpus: str, block: Block, record: Record) -> None:
    """Check that texts are those of which a shard was encoded.

    Raises:
        ValueError: they are others; the message names the first that is.
    """
    if block.digest == record.shard.source:
        return
    raise changed_corpus(folder, corpus, f"{_change(folder, block, record)} ({record.shard.file})")


def changed_corpus(folder: Path, corpus: str, what: str) -> ValueError:
    """Return the error for a corpus that is not what was encoded; `what` names the difference."""
    return ValueError(
        f"{corpus} is not what was encoded to {folder} before: {what}; restore it, or encode it to "
        "another folder"
    )


def _change(folder: Path, block: Block, record: Record) -> str:
    """Say which text of a block is the first that is another than in its shard."""
    path, shared_rows = folder / record.shard.file, min(len(block), record.shard.rows)
    names = [name for name in ("id", "language", "text") if name in pq.read_schema(path).names]
    columns = pq.read_table(path, columns=names).to_pydict()
    for place in range(shared_rows):
        for name, ours in zip(names, block.columns, strict=False):
            if columns[name][place] != ours[place]:
                return (
                    f"text {block.first_row + place} had the {name} {columns[name][place]!r:.80} "
                    f"and has {ours[place]!r:.80}"
                )
    if len(block) != record.shard.rows:
        return f"it had {record.shard.rows} texts from text {block.first_row} on, {len(block)} now"
    last = block.first_row + len(block) - 1
    return f"some of the texts {block.first_row} to {last} has changed, all ids are as they were"
