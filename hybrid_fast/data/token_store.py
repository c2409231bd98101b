"""The texts of a table, tokenised once and kept on disk for this and later runs.

A store holds one side of a table, each distinct text once. It is a folder of raw, memory-mapped
arrays; its name is a digest of all that the ids depend on: table, tokenizer, prompt and maximum
length.

    store.json         version, fingerprint, dtype, size and CRC-32 of each array, its own CRC-32
    ids                token ids of all texts, uint16 if all of them fit, else int32
    offsets            int64 (texts + 1,), where each text starts
    rows               int64 (rows,), number of each row's text, -1 if it has none
    negatives          int64, numbers of the hard negatives of all rows (passages only)
    negative_offsets   int64 (rows + 1,), where those of each row start
"""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.common.cache import cache_entry
from hybrid_fast.common.files import new_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.table import AlignedTable, check_table
from hybrid_fast.data.text_ids import text_ids
from hybrid_fast.data.tokens import Tokens

logger = logging.getLogger(__name__)

Numbers = npt.NDArray[np.integer[Any]]
# From texts to concatenated ids, the number of tokens of each, and how many were truncated.
Tokenize = Callable[[list[str]], tuple[Numbers, Numbers, int]]

_VERSION = 1
_STORE_FILE = "store.json"
_ARRAYS = ("ids", "offsets", "rows", "negatives", "negative_offsets")
_NO_NEGATIVES = pa.array([], pa.list_(pa.string()))
_NARROW: np.dtype[Any] = np.dtype(np.uint16)
_WIDE: np.dtype[Any] = np.dtype(np.int32)
_ROWS_AT_A_TIME = 2**20
_TEXTS_AT_A_TIME = 10_000
_BYTES_AT_A_TIME = 2**22


@dataclass(frozen=True)
class TokenStore:
    """Tokens of the queries, or of the passages and hard negatives, of a table.

    Attributes:
        folder: where the arrays are.
        tokens: of each distinct text, memory-mapped.
        rows: number of each row's text, int64 (n,), -1 if it has none.
        negatives: numbers of the hard negatives of all rows, int64.
        negative_offsets: int64 (n + 1,); row i has `negatives[offsets[i]:offsets[i + 1]]`.
        num_truncated: number of texts that were truncated to the maximum length.
    """

    folder: Path
    tokens: Tokens
    rows: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    negative_offsets: npt.NDArray[np.int64]
    num_truncated: int

    def __reduce__(self) -> tuple[Callable[[Path], TokenStore], tuple[Path]]:
        return _read, (self.folder,)  # processes share the mapping instead of a copy

    @property
    def has_negatives(self) -> bool:
        """Whether any row has a hard negative."""
        return len(self.negatives) > 0

    def text_numbers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of each row's text: equal texts have equal numbers.

        Raises:
            ValueError: a row has no text.
        """
        numbers = self.rows[rows]
        if numbers.size and numbers.min() < 0:
            raise ValueError(f"row {rows[numbers.argmin()]} has no text on this side")
        return numbers

    def negative_counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many hard negatives some rows have."""
        return self.negative_offsets[rows + 1] - self.negative_offsets[rows]

    def negative_numbers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the numbers of the hard negatives of some rows, concatenated."""
        starts, counts = self.negative_offsets[rows], self.negative_counts(rows)
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return self.negatives[np.repeat(starts, counts) + within]


def open_token_store(
    table: AlignedTable,
    side: str,
    tokenize: Tokenize,
    key: str,
    folder: str | Path | None = None,
) -> TokenStore:
    """Open the token store of one side of a table; build it if it is missing or damaged.

    Several processes may do so at once.

    Args:
        table: the items.
        side: "query" or "passage".
        tokenize: called with some thousands of texts at a time.
        key: identifies tokenizer, prompt and maximum length.
        folder: the folder of all stores; default "tokens" in the user's cache folder.

    Raises:
        ValueError: what `tokenize` raises, or it gives an id below 0 or beyond 32 bits; the texts
            of a saved table are not those of its fingerprint.
        OSError: the store cannot be written.
    """
    check_table(table)
    parts = [str(_VERSION), table.fingerprint, side, key]
    fingerprint = blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    path = expanded(folder) / fingerprint if folder else cache_entry("tokens", fingerprint)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except ValueError as error:
        logger.warning("%s is built again: %s.", path, error)
        shutil.rmtree(path, ignore_errors=True)
    table.verify()  # a store made of damaged texts would be found again by the fingerprint
    # Where another process was first, its store is as good.
    with suppress(FileExistsError), new_folder(path) as staged:
        _build(staged, fingerprint, _Texts.of_side(table, side), tokenize)
    return _read(path)


@dataclass(frozen=True)
class _Texts:
    """The distinct texts of one side of a table, and which of them each row has.

    Attributes:
        table: the items.
        side: "query" or "passage".
        hard_negatives: of all rows, concatenated; none for queries.
        places: of the first appearance of each text, among the rows and then `hard_negatives`.
        rows: see TokenStore.
        negatives: see TokenStore.
        negative_offsets: see TokenStore.
    """

    table: AlignedTable
    side: str
    hard_negatives: pa.Array
    places: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    negative_offsets: npt.NDArray[np.int64]

    @classmethod
    def of_side(cls, table: AlignedTable, side: str) -> _Texts:
        """Number the texts of a side in order of appearance, equal ones by their hash."""
        starts = range(0, len(table), _ROWS_AT_A_TIME)
        hashes = [
            text_ids(table.text_column(side, slice(start, start + _ROWS_AT_A_TIME)))
            for start in starts
        ]
        lists = table.negative_column() if side == "passage" else _NO_NEGATIVES
        hard_negatives = lists.flatten()
        places, numbers = _number(np.concatenate([*hashes, text_ids(hard_negatives)]))
        counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return cls(
            table,
            side,
            hard_negatives,
            places,
            rows=numbers[: len(table)],
            negatives=numbers[len(table) :],
            negative_offsets=_offsets(counts),
        )

    def __len__(self) -> int:
        return len(self.places)

    def part(self, numbers: slice) -> list[str]:
        """Return the texts of some numbers."""
        places, num_rows = self.places[numbers], len(self.rows)
        rows, others = places[places < num_rows], places[places >= num_rows] - num_rows
        texts = self.table.queries(rows) if self.side == "query" else self.table.passages(rows)
        return texts + self.hard_negatives.take(pa.array(others)).to_pylist()


def _build(folder: Path, fingerprint: str, texts: _Texts, tokenize: Tokenize) -> None:
    """Write all files of a store into an empty folder."""
    dtype, lengths, num_truncated = _write_ids(folder / "ids", texts, tokenize)
    arrays = {
        "offsets": _offsets(lengths),
        "rows": texts.rows,
        "negatives": texts.negatives,
        "negative_offsets": texts.negative_offsets,
    }
    for name, array in arrays.items():
        array.tofile(folder / name)
    dtypes = {"ids": dtype.name, **dict.fromkeys(arrays, "int64")}
    description = {
        "version": _VERSION,
        "fingerprint": fingerprint,
        "num_truncated": num_truncated,
        "arrays": {
            name: {"dtype": kind, **_measure(folder / name)} for name, kind in dtypes.items()
        },
    }
    description["crc32"] = _checksum(description)
    (folder / _STORE_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _write_ids(
    path: Path, texts: _Texts, tokenize: Tokenize
) -> tuple[np.dtype[Any], npt.NDArray[np.int64], int]:
    """Write the ids of all texts; return their dtype, the length of each text, how many were cut.

    The dtype follows from the largest id that occurs: the size of a vocabulary tells nothing where
    it has holes or tokens were added.
    """
    dtype = _NARROW
    lengths = np.empty(len(texts), np.int64)
    num_truncated = 0
    path.touch()
    with tqdm(
        total=len(texts), desc=f"tokenise {texts.side}", delay=2, disable=None, leave=False
    ) as progress:
        for first in range(0, len(texts), _TEXTS_AT_A_TIME):
            part = slice(first, first + _TEXTS_AT_A_TIME)
            some = texts.part(part)
            ids, lengths[part], of_part = tokenize(some)
            _check_ids(ids, lengths[part], some)
            if dtype == _NARROW and ids.size and ids.max() > np.iinfo(_NARROW).max:
                dtype = _WIDE
                _widen(path)
            with path.open("ab") as file:
                ids.astype(dtype).tofile(file)
            num_truncated += of_part
            progress.update(len(lengths[part]))
    return dtype, lengths, num_truncated


def _check_ids(ids: Numbers, lengths: Numbers, texts: list[str]) -> None:
    """Raise ValueError if ids do not belong to texts or do not fit int32, with the text."""
    if ids.size != lengths.sum():
        raise ValueError(f"the tokenizer gave {ids.size} ids for texts of {lengths.sum()} tokens")
    if not ids.size or 0 <= ids.min() <= ids.max() <= np.iinfo(_WIDE).max:
        return
    place = int(ids.argmin() if ids.min() < 0 else ids.argmax())
    text = texts[int(np.searchsorted(lengths.cumsum(), place, side="right"))]
    raise ValueError(
        f"the tokenizer gave the id {ids[place]} for a token of {text[:40]!r}; ids are from 0 to "
        f"{np.iinfo(_WIDE).max}"
    )


def _widen(path: Path) -> None:
    """Write ids of the narrow dtype again in the wide one."""
    wide = path.with_name(path.name + ".wide")
    with path.open("rb") as source, wide.open("wb") as target:
        while piece := source.read(_BYTES_AT_A_TIME):
            np.frombuffer(piece, _NARROW).astype(_WIDE).tofile(target)
    wide.replace(path)


def _number(
    hashes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number texts in order of appearance.

    Args:
        hashes: (n,), -1 if there is no text.

    Returns:
        The first place of each distinct text, ascending, and the number of each text or -1.
    """
    (places,) = np.nonzero(hashes != -1)
    _, first, inverse = np.unique(hashes[places], return_index=True, return_inverse=True)
    by_appearance = first.argsort()
    number = np.empty(len(first), np.int64)
    number[by_appearance] = np.arange(len(first))
    numbers = np.full(len(hashes), -1)
    numbers[places] = number[inverse]
    return places[first[by_appearance]], numbers


def _offsets(sizes: Numbers) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), sizes.cumsum(dtype=np.int64)])


def _checksum(description: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(description, sort_keys=True).encode())


def _measure(path: Path) -> dict[str, int]:
    """Return size and CRC-32 of a file; it is read, not mapped, so that it takes no memory."""
    checksum = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_BYTES_AT_A_TIME):
            checksum = zlib.crc32(piece, checksum)
    return {"num_bytes": path.stat().st_size, "crc32": checksum}


def _read(folder: Path) -> TokenStore:
    """Open a store.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    path = folder / _STORE_FILE
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no token store {folder}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if (description["version"], description["fingerprint"]) != (_VERSION, folder.name):
            raise ValueError(f"{path} is of another store; remove {folder}")
        if description.pop("crc32") != _checksum(description):
            raise KeyError("its checksum is not that of its content")
        arrays = {name: _map(folder / name, description["arrays"][name]) for name in _ARRAYS}
        tokens = Tokens(arrays.pop("ids"), arrays.pop("offsets"))
        return TokenStore(folder, tokens, **arrays, num_truncated=description["num_truncated"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}; remove {folder}") from error


def _map(path: Path, description: dict[str, Any]) -> npt.NDArray[Any]:
    expected = {name: description[name] for name in ("num_bytes", "crc32")}
    if _measure(path) != expected:
        raise ValueError(
            f"{path} is damaged: its size or checksum is not what was written; remove {path.parent}"
        )
    dtype = np.dtype(description["dtype"])
    if not expected["num_bytes"]:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r").view(np.ndarray)
