"""Ids that depend on the content of texts, for whole columns: hashed in C++ on all cores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast import _core

_PREFIX = b"text:"
_DIGITS = 16
_ROWS_AT_A_TIME = 2**20  # whose copies are held at a time
_HEXADECIMAL = np.frombuffer(b"0123456789abcdef", np.uint8)


def text_ids(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return 63 bits of a hash of each text's bytes, -1 for null, int64 (n,).

    The probability that any two of ten million different texts share an id is 5e-6.
    """
    ids = (_hashes(texts) >> np.uint64(1)).view(np.int64)
    if texts.null_count:
        ids[texts.is_null().to_numpy(zero_copy_only=False)] = -1
    return ids


def query_text_ids(texts: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return `text_ids` of queries, equal for those that `passage_text_ids` would take for one.

    They take no account of the language, as those of passages do not.
    """
    starts = range(0, len(texts), _ROWS_AT_A_TIME)
    parts = [text_ids(_normalized(texts.slice(start, _ROWS_AT_A_TIME))) for start in starts]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def passage_text_ids(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return ids of passages that depend on their content: "text:" and 16 hexadecimal digits.

    Texts that differ only in white space or in Unicode compatibility forms (NFKC) share their id.
    Null stays null.
    """
    texts = _normalized(texts)
    hashes = _hashes(texts).astype(">u8").view(np.uint8).reshape(-1, _DIGITS // 2)
    length = len(_PREFIX) + _DIGITS
    characters = np.empty((len(hashes), length), np.uint8)
    characters[:, : len(_PREFIX)] = np.frombuffer(_PREFIX, np.uint8)
    characters[:, len(_PREFIX) :: 2] = _HEXADECIMAL[hashes >> 4]
    characters[:, len(_PREFIX) + 1 :: 2] = _HEXADECIMAL[hashes & 15]
    offsets = np.arange(len(hashes) + 1, dtype=np.int64) * length
    ids = pa.LargeStringArray.from_buffers(
        len(hashes), pa.py_buffer(offsets), pa.py_buffer(characters)
    )
    return pc.if_else(texts.is_valid(), ids, None)


def _normalized(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    texts = texts.cast(pa.large_string())  # normal forms may be longer than 2 GiB
    texts = pc.utf8_trim_whitespace(pc.utf8_normalize(texts, form="NFKC"))
    return pc.binary_join(pc.utf8_split_whitespace(texts), pa.scalar(" ", texts.type))


def _hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return the hash of each text, uint64 (n,); of null, any number."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    hashes = [_hashes_of_chunk(chunk) for chunk in chunks if len(chunk)]
    return np.concatenate(hashes) if hashes else np.empty(0, np.uint64)


def _hashes_of_chunk(texts: pa.Array) -> npt.NDArray[np.uint64]:
    _, buffer, data = texts.cast(pa.large_string()).buffers()
    offsets = np.frombuffer(buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return _core.hash_texts(offsets, np.frombuffer(data or b"", np.uint8))
