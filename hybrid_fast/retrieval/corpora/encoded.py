"""A corpus as vectors in a folder: Parquet shards, and a manifest that is written last.

Any engine can read the shards: columns `id`, `language`, `vector` (a list of D float32 or float16,
as the model gave them) and, where texts are kept, `text`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.files import staged_file
from hybrid_fast.common.json_files import read_json
from hybrid_fast.common.paths import expanded
from hybrid_fast.retrieval.stores.store import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

MANIFEST = "manifest.json"
VERSION = 1
VectorDtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class Shard:
    """A file of a corpus.

    Attributes:
        file: its name.
        rows: how many it has.
        sha256: of its bytes.
        languages: number of its vectors of each language.
        source: digest of the ids, languages and texts that were encoded.
        process: by which of the manifest's `made_by["processes"]`.
    """

    file: str
    rows: int
    sha256: str
    languages: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    process: int = 0


@dataclass(frozen=True)
class Manifest:
    """What is known of a folder of shards.

    Attributes:
        version: of the layout.
        corpus: name of what was encoded.
        info: whose vectors they are.
        vector_dtype: "float32" or "float16".
        has_texts: whether texts are kept.
        languages: number of vectors of each language.
        shards: the files, in the order of the corpus.
        made_by: "processes", the kinds of processes that encoded it: processor, threads, batch size
            and versions of libraries, and "ways", by which they computed, see `cpu.ways`: those
            of one kind give the same bytes by the same ways.
        shard_rows: texts of each shard but the last.
    """

    corpus: str
    info: VectorInfo
    vector_dtype: VectorDtype
    has_texts: bool
    languages: dict[str, int]
    shards: tuple[Shard, ...]
    made_by: dict[str, Any]
    version: int = VERSION
    shard_rows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "rows": sum(shard.rows for shard in self.shards)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Manifest:
        """Return what `to_dict` gave.

        Raises:
            ValueError: a value is missing, unknown, of another type, or contradicts another.
        """
        try:
            known = {name: value for name, value in values.items() if name != "rows"}
            known["info"] = VectorInfo.from_dict(values["info"])
            known["shards"] = tuple(Shard(**shard) for shard in values["shards"])
            manifest = cls(**known)
            manifest._check(values["rows"])
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(repr(error)) from error
        return manifest

    def _check(self, num_rows: int) -> None:
        if self.version != VERSION:
            raise ValueError(f"it says layout {self.version!r}")
        check_choice("vector_dtype", self.vector_dtype, get_args(VectorDtype))
        for number, shard in enumerate(self.shards):
            if shard.file != shard_file(number):
                raise ValueError(f"shard {number} is {shard.file!r}, not {shard_file(number)!r}")
        counts = sum(shard.rows for shard in self.shards), sum(self.languages.values())
        if counts != (num_rows, num_rows):
            raise ValueError(
                f"it says {num_rows} rows, its shards {counts[0]}, its languages {counts[1]}"
            )


class EncodedCorpus:
    """The vectors of a corpus, read shard by shard, each checked against its checksum.

    Attributes:
        folder: of the shards.
        manifest: what is known of them.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a folder that `encode_corpus` has finished.

        Raises:
            FileNotFoundError: there is no such folder, or no manifest in it.
            ValueError: the manifest cannot be read.
        """
        self.folder = expanded(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder} has no {MANIFEST}: no corpus was encoded to it, or not to the end; "
                "run hybrid-fast encode with this --out (again)"
            )
        try:
            self.manifest = Manifest.from_dict(read_json(path, dict))
        except ValueError as error:
            raise ValueError(
                f"{path} is no manifest of layout {VERSION} ({error}); restore it, or encode the "
                "corpus again to another folder"
            ) from error

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.manifest.shards)

    @property
    def info(self) -> VectorInfo:
        """Whose vectors they are."""
        return self.manifest.info

    def __iter__(self) -> Iterator[Rows]:
        """Yield the rows of each shard.

        Raises:
            ValueError: a shard is missing or damaged, or not what the manifest says.
        """
        for shard in self.manifest.shards:
            yield self._read(shard)

    def _read(self, shard: Shard) -> Rows:
        rows = read_shard(self.folder, shard)
        wanted = shard.rows, self.info.dimension
        if rows.vectors.shape != wanted:
            raise ValueError(
                f"{self.folder / shard.file} holds vectors {rows.vectors.shape}, and by {MANIFEST} "
                f"{wanted}, which was changed; restore it, or encode the corpus again to another "
                "folder"
            )
        return rows

    @cached_property
    def shard_starts(self) -> np.ndarray:
        """First row of each shard, then their number, int64 (num_shards + 1,)."""
        return np.cumsum([0, *(shard.rows for shard in self.manifest.shards)], dtype=np.int64)

    def sample(self, size: int, seed: int = 0) -> np.ndarray:
        """Return vectors of some rows at random, in their order; all if there are fewer.

        Returns:
            float32 (m, D); one shard and the sample are held.

        Raises:
            ValueError: a shard is missing or damaged, or not what the manifest says.
        """
        size = min(size, len(self))
        rows = np.sort(np.random.default_rng(seed).choice(len(self), size, replace=False))
        found = np.empty((size, self.info.dimension), np.float32)
        for number, shard in enumerate(self.manifest.shards):
            first, end = np.searchsorted(rows, self.shard_starts[number : number + 2])
            if end > first:
                vectors = self._read(shard).vectors
                found[first:end] = vectors[rows[first:end] - self.shard_starts[number]]
        return found


def shard_file(number: int) -> str:
    """Return the name of the file of a shard."""
    return f"shard-{number:05d}.parquet"


def write_shard(path: Path, rows: Rows, dtype: VectorDtype) -> Shard:
    """Write some rows to a new file, which appears complete; equal rows give equal bytes.

    Raises:
        ValueError: a vector is beyond the range of the dtype.
        OSError: the file cannot be written.
    """
    with np.errstate(over="ignore", under="ignore"):
        vectors = np.ascontiguousarray(rows.vectors, dtype)
    become_zero = rows.vectors.any(axis=1) & ~vectors.any(axis=1)
    beyond = np.flatnonzero(become_zero | ~np.isfinite(vectors).all(axis=1))
    if beyond.size:
        raise ValueError(
            f"the vector of text {rows.ids[beyond[0]]!r} is beyond the range of {dtype} (as are "
            f"those of {len(beyond)} of {len(vectors)} texts for {path}); keep float32"
        )
    columns = {
        "id": pa.array(rows.ids, pa.string()),
        "language": pa.array(rows.languages, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1)), rows.vectors.shape[1]
        ),
    }
    if rows.texts is not None:
        columns["text"] = pa.array(rows.texts, pa.large_string())
    compression = {name: "none" if name == "vector" else "zstd" for name in columns}
    compression["vector.list.element"] = compression.pop("vector")
    with staged_file(path) as staged:
        pq.write_table(
            pa.table(columns),
            staged,
            compression=compression,
            use_dictionary=["language"],
            write_statistics=False,
        )
        return Shard(path.name, len(rows.ids), _sha256(staged))


def read_shard(folder: Path, shard: Shard) -> Rows:
    """Return the rows of a shard, vectors in float32.

    Raises:
        ValueError: it is missing, or its bytes are others.
    """
    path = folder / shard.file
    check_shard(folder, shard)
    table = pq.read_table(path)
    vectors = table["vector"].combine_chunks()
    dimension = vectors.type.list_size
    texts: Sequence[str] | None = None
    if "text" in table.column_names:
        texts = table["text"].to_pylist()
    return Rows(
        table["id"].to_pylist(),
        table["language"].to_pylist(),
        vectors.flatten()
        .to_numpy(zero_copy_only=False)
        .reshape(-1, dimension)
        .astype(np.float32, copy=False),
        texts,
    )


def check_shard(folder: Path, shard: Shard) -> None:
    """Check the bytes of a shard.

    Raises:
        ValueError: it is missing, or its bytes are others.
    """
    path = folder / shard.file
    fault = "is missing" if not path.is_file() else ""
    if not fault and _sha256(path) != shard.sha256:
        fault = "is damaged: its checksum is another than that of the manifest"
    if fault:
        raise ValueError(f"{path} {fault}; hybrid-fast encode with this --out encodes it again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
