"""A folder that a corpus is being encoded to: what it will hold, and which shards are finished.

Until the manifest is written, `unfinished.json` says what the folder is for, and a shard is
finished when its record (JSON) stands beside it. So whatever ends the work leaves finished shards,
and files that no record tells of, which are written again. A folder with a manifest is read the
same way.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hybrid_fast.common.files import staged_file
from hybrid_fast.common.json_files import read_json, write_json
from hybrid_fast.retrieval.encoded_corpus import MANIFEST, Manifest, Shard

logger = logging.getLogger(__name__)
HEADER = "unfinished.json"
_PATTERN = "shard-*"


@dataclass(frozen=True)
class Record:
    """A finished shard, and the process that encoded it, see `describe_process`."""

    shard: Shard
    process: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Of the shard."""
        return int(Path(self.shard.file).stem.rpartition("-")[2])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Return what `to_dict` gave."""
        return cls(Shard(**values["shard"]), values["process"])


@dataclass(frozen=True)
class Begun:
    """What a folder holds of an encoding.

    Attributes:
        header: the manifest to be, without shards.
        records: of finished shards, by number.
    """

    header: Manifest
    records: dict[int, Record]


def shard_file(number: int) -> str:
    """Return the name of the file of a shard."""
    return f"shard-{number:05d}.parquet"


def read_begun(folder: Path) -> Begun | None:
    """Return what a folder holds; None if nothing is there that must be gone on with.

    Raises:
        FileExistsError: there are files of something else.
        ValueError: the header or the manifest cannot be read.
    """
    if not folder.exists():
        return None
    path = next((path for path in (folder / MANIFEST, folder / HEADER) if path.is_file()), None)
    if path is None:
        _refuse_others(folder)
        return None
    try:
        manifest = Manifest.from_dict(read_json(path, dict))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); remove {folder} to encode the corpus anew"
        ) from error
    processes = manifest.made_by.get("processes", [])
    known = [Record(replace(s, process=0), processes[s.process]) for s in manifest.shards]
    records = {each.number: each for each in (*known, *_read_records(folder))}
    header = replace(manifest, shards=(), languages={}, made_by={})
    return Begun(header, records) if records else None


def _refuse_others(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if found:
        raise FileExistsError(
            f"{folder} holds {found[0]} and no encoding that was begun; choose a new folder"
        )


def _read_records(folder: Path) -> Iterable[Record]:
    for path in sorted(folder.glob(f"{_PATTERN}.json")):
        try:
            yield Record.from_dict(read_json(path, dict))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("%s cannot be read (%s): its shard is encoded again.", path, error)


def write_header(folder: Path, header: Manifest) -> None:
    """Begin a folder, from which what a killed process has left is removed.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / HEADER, header.to_dict())


def remove_remains(folder: Path) -> None:
    """Remove what killed writers have left."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)


def write_record(folder: Path, record: Record) -> None:
    """Say that a shard is finished.

    Raises:
        OSError: the record cannot be written.
    """
    _write((folder / record.shard.file).with_suffix(".json"), record.to_dict())


def finish(folder: Path, header: Manifest, records: Mapping[int, Record]) -> Manifest:
    """Write the manifest over finished shards, then remove header and records.

    Raises:
        OSError: it cannot be written.
    """
    processes: list[Mapping[str, Any]] = []
    shards, languages = [], Counter[str]()
    for number in sorted(records):
        record = records[number]
        if record.process not in processes:
            processes.append(record.process)
        shards.append(replace(record.shard, process=processes.index(record.process)))
        languages.update(record.shard.languages)
    manifest = replace(
        header,
        shards=tuple(shards),
        languages=dict(sorted(languages.items())),
        made_by={"processes": processes},
    )
    _write(folder / MANIFEST, manifest.to_dict())
    for path in (*folder.glob(f"{_PATTERN}.json"), folder / HEADER):
        path.unlink(missing_ok=True)
    return manifest


def _write(path: Path, content: object) -> None:
    with staged_file(path) as staged:
        write_json(staged, content)
