"""The texts of a table, tokenised once and kept on disk for this and later runs.

A store holds one side of a table, each different text once. It is a folder of raw arrays that are
memory-mapped, named by what its ids follow from: the table, the tokenizer, prompt and length.

    store.json         version, fingerprint, and dtype, size and CRC-32 of each array
    ids                token ids of all texts, uint16 where they fit, else int32
    offsets            int64 (texts + 1,), where each text begins
    rows               int64 (rows,), number of each row's text, -1 where it has none
    negatives          int64, numbers of the hard negatives of all rows (passages only)
    negative_offsets   int64 (rows + 1,), where those of each row begin
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.data.table import AlignedTable
from hybrid_fast.data.text_ids import text_ids
from hybrid_fast.data.tokens import Tokens

logger = logging.getLogger(__name__)

# Texts to ids one after another, the number of tokens of each, and how many texts were cut.
Numbers = npt.NDArray[np.integer[Any]]
Tokenize = Callable[[list[str]], tuple[Numbers, Numbers, int]]

_VERSION = 1
_STORE_FILE = "store.json"
_ARRAYS = ("ids", "offsets", "rows", "negatives", "negative_offsets")
_NO_NEGATIVES = pa.array([], pa.list_(pa.string()))
_ROWS_AT_A_TIME = 2**20
_TEXTS_AT_A_TIME = 10_000
_BYTES_AT_A_TIME = 2**22


@dataclass(frozen=True)
class TokenStore:
    """Tokens of the queries, or of the passages and hard negatives, of a table.

    Attributes:
        folder: where it lies.
        tokens: of each different text, memory-mapped.
        rows: number of each row's text, -1 where it has none.
        negatives: numbers of all hard negatives.
        negative_offsets: where those of each row begin.
        num_truncated: texts that were cut to the longest length.
    """

    folder: Path
    tokens: Tokens
    rows: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    negative_offsets: npt.NDArray[np.int64]
    num_truncated: int

    def __reduce__(self) -> tuple[Callable[[Path], TokenStore], tuple[Path]]:
        return _read, (self.folder,)  # processes share the mapping instead of copying it

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

    def negative_numbers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the numbers of the hard negatives of some rows, row after row."""
        begins, ends = self.negative_offsets[rows], self.negative_offsets[rows + 1]
        counts = ends - begins
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return self.negatives[np.repeat(begins, counts) + within]


def default_folder() -> Path:
    """Return the folder of this user's stores: below $HYBRID_FAST_CACHE, or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HYBRID_FAST_CACHE") or Path(cache, "hybrid_fast"), "tokens")


def open_token_store(
    table: AlignedTable,
    side: str,
    tokenize: Tokenize,
    key: str,
    vocab_size: int,
    folder: str | Path | None = None,
) -> TokenStore:
    """Open the store of one side of a table; build it if there is none, or if it is damaged.

    Several processes may do so at once.

    Args:
        table: the items.
        side: "query" or "passage".
        tokenize: called for some thousand texts at a time.
        key: says everything that the ids follow from besides the texts.
        vocab_size: ids are below it.
        folder: of stores; default `default_folder()`.

    Raises:
        ValueError: what `tokenize` raises.
    """
    parts = [str(_VERSION), table.fingerprint, side, key, np.dtype(_id_dtype(vocab_size)).name]
    fingerprint = blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    path = Path(folder or default_folder(), fingerprint)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except ValueError as error:
        logger.warning("%s is built again: %s.", path, error)
        shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{fingerprint}.", dir=path.parent) as temporary:
        unfinished = Path(temporary, fingerprint)
        unfinished.mkdir()
        _build(unfinished, fingerprint, table, side, tokenize, _id_dtype(vocab_size))
        try:
            unfinished.rename(path)
        except OSError:  # another process was first
            return _read(path)
    return _read(path)


def _id_dtype(vocab_size: int) -> type[np.uint16 | np.int32]:
    return np.uint16 if vocab_size <= 2**16 else np.int32


def _build(
    folder: Path,
    fingerprint: str,
    table: AlignedTable,
    side: str,
    tokenize: Tokenize,
    dtype: type[np.uint16 | np.int32],
) -> None:
    hashes = np.concatenate(
        [
            text_ids(table.text_column(side, slice(first, first + _ROWS_AT_A_TIME)))
            for first in range(0, len(table), _ROWS_AT_A_TIME)
        ]
    )
    negatives = table.negative_column() if side == "passage" else _NO_NEGATIVES
    negative_hashes = text_ids(negatives.flatten())
    counts = negatives.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    first_places, numbers = _number(np.concatenate([hashes, negative_hashes]))
    num_rows = len(hashes)

    def texts_at(places: npt.NDArray[np.int64]) -> list[str]:
        rows, others = places[places < num_rows], places[places >= num_rows] - num_rows
        texts = table.queries(rows) if side == "query" else table.passages(rows)
        return texts + negatives.flatten().take(pa.array(others)).to_pylist()

    lengths = np.empty(len(first_places), np.int64)
    num_truncated = 0
    with (
        open(folder / "ids", "wb") as ids_file,
        tqdm(
            total=len(lengths), desc=f"tokenise {side}", delay=2, disable=None, leave=False
        ) as bar,
    ):
        for first in range(0, len(lengths), _TEXTS_AT_A_TIME):
            part = slice(first, first + _TEXTS_AT_A_TIME)
            ids, lengths[part], num_cut = tokenize(texts_at(first_places[part]))
            ids.astype(dtype).tofile(ids_file)
            num_truncated += num_cut
            bar.update(len(lengths[part]))
    arrays = {
        "offsets": _offsets(lengths),
        "rows": numbers[:num_rows],
        "negatives": numbers[num_rows:],
        "negative_offsets": _offsets(counts),
    }
    for name, array in arrays.items():
        array.tofile(folder / name)
    dtypes = {"ids": np.dtype(dtype).name, **dict.fromkeys(arrays, "int64")}
    description = {
        "version": _VERSION,
        "fingerprint": fingerprint,
        "num_truncated": num_truncated,
        "arrays": {
            name: {"dtype": kind, **_measure(folder / name)} for name, kind in dtypes.items()
        },
    }
    (folder / _STORE_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _number(
    hashes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number texts in order of appearance.

    Args:
        hashes: (n,), -1 where there is no text.

    Returns:
        The first place of each different text, ascending, and the number of each text or -1.
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
            raise ValueError(f"{path} is of another store")
        arrays = {name: _map(folder / name, description["arrays"][name]) for name in _ARRAYS}
        tokens = Tokens(arrays.pop("ids"), arrays.pop("offsets"))
        return TokenStore(folder, tokens, **arrays, num_truncated=description["num_truncated"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _map(path: Path, description: dict[str, Any]) -> npt.NDArray[Any]:
    expected = {name: description[name] for name in ("num_bytes", "crc32")}
    if _measure(path) != expected:
        raise ValueError(f"{path} is damaged: its size or checksum is not what was written")
    dtype = np.dtype(description["dtype"])
    if not expected["num_bytes"]:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r").view(np.ndarray)
