"""A folder that a corpus is being encoded to: what it will hold, and which shards are finished.

Until the manifest is written, `unfinished.json` says what the folder is for, `ways.json` by which
ways all processes compute, and a shard is finished when its record (JSON) stands beside it. So
whatever ends the work leaves finished shards, and files that no record tells of, which are written
again. A folder with a manifest is read the same way.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hybrid_fast.common.files import staged_file
from hybrid_fast.common.json_files import read_json, write_json
from hybrid_fast.retrieval.corpora.encoded import MANIFEST, Manifest, Shard

logger = logging.getLogger(__name__)
HEADER = "unfinished.json"
WAYS = "ways.json"  # see `cpu.common_ways`


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
        ways: by which they were computed, as `ways.json` has them.
        num_shards: of a manifest that is there; None: there is none yet.
    """

    header: Manifest
    records: dict[int, Record]
    ways: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    num_shards: int | None = None

    @property
    def processes(self) -> list[Mapping[str, Any]]:
        """The different ones that encoded the shards."""
        found: list[Mapping[str, Any]] = []
        for number in sorted(self.records):
            if self.records[number].process not in found:
                found.append(self.records[number].process)
        return found


def read_begun(folder: Path) -> Begun | None:
    """Return what a folder holds; None if no shard of it is finished.

    Raises:
        FileExistsError: there are files of something else.
        ValueError: the header or the manifest cannot be read.
    """
    paths = [folder / name for name in (MANIFEST, HEADER) if (folder / name).is_file()]
    if not paths:
        _refuse_others(folder)
        return None
    manifest, known = _read_manifest(paths[0])
    records = {each.number: each for each in (*known, *_read_records(folder))}
    header = replace(manifest, shards=(), languages={}, made_by={})
    num_shards = len(known) if paths[0].name == MANIFEST else None
    ways = manifest.made_by.get("ways", {})
    return Begun(header, records, ways, num_shards) if records else None


def _read_manifest(path: Path) -> tuple[Manifest, list[Record]]:
    """Return a manifest, or what is to become one, and the records of its shards."""
    try:
        manifest = Manifest.from_dict(read_json(path, dict))
        processes = manifest.made_by.get("processes", [])
        shards = manifest.shards
        return manifest, [Record(replace(s, process=0), processes[s.process]) for s in shards]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); restore it, or remove {path.parent} to encode the "
            "corpus anew"
        ) from error


def _refuse_others(folder: Path) -> None:
    everything = folder.iterdir() if folder.exists() else ()
    found = sorted(path.name for path in everything if not path.name.startswith("."))
    if found:
        raise FileExistsError(
            f"{folder} holds {found[0]} and no encoding that was begun; choose a new folder"
        )


def _read_records(folder: Path) -> Iterable[Record]:
    for path in sorted(folder.glob("shard-*.json")):
        try:
            yield Record.from_dict(read_json(path, dict))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("%s cannot be read (%s): its shard is encoded again.", path, error)


def write_header(folder: Path, header: Manifest) -> None:
    """Begin a folder, which is made with its parents.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / HEADER, header.to_dict())


def remove_begun(folder: Path) -> None:
    """Remove a folder without shards; the header, which tells what it is, last."""
    for name in (WAYS, HEADER):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # not there, or not empty
        folder.rmdir()


def remove_partial_files(folder: Path) -> None:
    """Remove what killed writers have left, locks too."""
    for pattern in (".*.partial", f".{WAYS}.lock"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def keep_ways(folder: Path, begun: Begun) -> None:
    """Let those who encode shards of a finished folder again find how the others were computed.

    Raises:
        OSError: the file cannot be written.
    """
    if begun.ways and not (folder / WAYS).exists():
        _write(folder / WAYS, begun.ways)


def write_record(folder: Path, record: Record) -> None:
    """Say that a shard is finished.

    Raises:
        OSError: the record cannot be written.
    """
    _write((folder / record.shard.file).with_suffix(".json"), record.to_dict())


def finish(folder: Path, begun: Begun) -> None:
    """Write the manifest over finished shards, then remove what only unfinished work needs.

    Raises:
        OSError: it cannot be written.
    """
    records = [begun.records[number] for number in sorted(begun.records)]
    processes, languages = begun.processes, Counter[str]()
    for record in records:
        languages.update(record.shard.languages)
    manifest = replace(
        begun.header,
        shards=tuple(
            replace(record.shard, process=processes.index(record.process)) for record in records
        ),
        languages=dict(sorted(languages.items())),
        made_by={"processes": processes, "ways": _read_ways(folder)},
    )
    _write(folder / MANIFEST, manifest.to_dict())
    remove_remains(folder, {shard.file for shard in manifest.shards})


def _read_ways(folder: Path) -> dict[str, Any]:
    """Return how the shards were computed, in an order that does not tell which was first."""
    ways = read_json(folder / WAYS, dict) if (folder / WAYS).exists() else {}
    return {setting: dict(sorted(ways[setting].items())) for setting in sorted(ways)}


def remove_remains(folder: Path, shards: Collection[str]) -> None:
    """Remove all that belongs to no finished folder.

    Args:
        folder: with a manifest.
        shards: names of its files.
    """
    for path in (*folder.glob("shard-*"), folder / WAYS, folder / HEADER):
        if path.name not in shards:
            path.unlink(missing_ok=True)


def _write(path: Path, content: object) -> None:
    with staged_file(path) as staged:
        write_json(staged, content)
