"""Encoding of texts by any model, equal texts once and longest first.

A model encodes by `encode_queries` / `encode_passages` (a `BiEncoder`), `encode_query` /
`encode_document` (a `SentenceTransformer`), or one `encode` for both. Equal texts are encoded
once so that their embeddings are equal: padding in different batches could change the last bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.texts import invalid_unicode
from hybrid_fast.retrieval.embeddings import check_finite, normalize_rows, to_float32

# Takes a list of texts, and `batch_size` if it has a parameter of that name; returns an array or
# tensor (num_texts, D).
Encoder = Callable[..., Any]

METHODS = (
    ("encode_queries", "encode_passages"),
    ("encode_query", "encode_document"),
    ("encode", "encode"),
)
DEFAULT_BATCH_SIZE, BATCHES_PER_CALL = 64, 64


def find_encoders(model: object) -> tuple[Encoder, Encoder]:
    """Return the model's methods that encode queries and passages.

    Raises:
        TypeError: if it has no pair of `METHODS`.
    """
    for names in METHODS:
        query, passage = (getattr(model, name, None) for name in names)
        if callable(query) and callable(passage):
            return query, passage
    raise TypeError(
        f"model is a {type(model).__name__}, which cannot encode texts; it needs encode_queries "
        "and encode_passages, or encode_query and encode_document, or encode"
    )


def similarity_of(model: object) -> str:
    """Return "cosine" if the model asks for it (a SentenceTransformer does), else "dot".

    Raises:
        ValueError: if the model asks for any other similarity.
    """
    similarity = getattr(model, "similarity_fn_name", None) or "dot"
    return check_choice("the model's similarity_fn_name", similarity, ("cosine", "dot"))


def describe_model(model: object) -> tuple[str, dict[str, Any]]:
    """Return the model's name, and its "max_length", "prompts" and "dtype", None if unknown."""
    max_length = getattr(model, "max_length", None) or getattr(model, "max_seq_length", None)
    prompts = getattr(model, "prompts", None)
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    dtypes = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters})
    return str(getattr(model, "name_or_path", None) or type(model).__name__), {
        "max_length": max_length if isinstance(max_length, int | dict) else None,  # may be inf
        "prompts": dict(prompts) if isinstance(prompts, dict) else None,
        "dtype": " ".join(dtypes) or None,
    }


def encode_both(
    model: object,
    queries: Sequence[str],
    passages: Sequence[str],
    batch_size: int | None = None,
    *,
    passages_name: str = "passages",
) -> tuple[np.ndarray, np.ndarray]:
    """Encode queries and passages so that their dot products are the model's similarities.

    Args:
        model: see `find_encoders`; embeddings are normalised to norm 1 if it asks for cosines.
        queries: at least one.
        passages: at least one.
        batch_size: texts that the model is to take at a time; None leaves it to the model.
        passages_name: what to call the passages in the progress bar and in errors.

    Returns:
        float32 (num_queries, D) and (num_passages, D).

    Raises:
        TypeError: if the model cannot encode texts, or returns neither arrays nor tensors of
            floats.
        ValueError: if it asks for a similarity other than cosine or dot product, a text is no valid
            Unicode, or it returns embeddings of a wrong shape, NaN or infinity.
    """
    encode_queries, encode_passages = find_encoders(model)
    similarity = similarity_of(model)
    embeddings = (
        encode(encode_queries, queries, batch_size, "queries"),
        encode(encode_passages, passages, batch_size, passages_name),
    )
    if similarity == "cosine":
        return normalize_rows(embeddings[0]), normalize_rows(embeddings[1])
    return embeddings


def encode(encoder: Encoder, texts: Sequence[str], batch_size: int | None, name: str) -> np.ndarray:
    """Encode texts, longest first, with a progress bar on a terminal after two seconds.

    Texts are read one part at a time; beside its embedding, about 24 bytes are held for each.

    Args:
        encoder: see `Encoder`.
        texts: what to encode, at least one.
        batch_size: texts that the encoder is to take at a time; None leaves it to the encoder.
        name: what the texts are, for the progress bar and errors.

    Returns:
        float32 (num_texts, D).

    Raises:
        ValueError: if `batch_size` is not positive, there are no texts, one is no valid Unicode, or
            the encoder returns a wrong shape, NaN or infinity.
        TypeError: if a text is no string, or the encoder returns neither an array nor a tensor of
            floats.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if not len(texts):
        raise ValueError(f"there are no {name} to encode")
    first_rows, lengths = _find_repeats(texts, name)
    is_repeated = first_rows != np.arange(len(texts))
    distinct = np.flatnonzero(~is_repeated)
    distinct = distinct[np.argsort(-lengths[distinct], kind="stable")]
    embeddings: np.ndarray | None = None
    for rows, part in _encode_parts(encoder, texts, distinct, batch_size, name):
        if embeddings is None:
            embeddings = np.empty((len(texts), part.shape[1]), dtype=np.float32)
        if part.shape != (len(rows), embeddings.shape[1]):
            raise ValueError(
                f"the model returned embeddings {part.shape} for {len(rows)} {name}; "
                f"({len(rows)}, {embeddings.shape[1]}) is needed"
            )
        check_finite(part, f"embeddings of {name}", rows, getattr(texts, "language_of", None))
        embeddings[rows] = part
    assert embeddings is not None
    embeddings[is_repeated] = embeddings[first_rows[is_repeated]]
    return embeddings


def _encode_parts(
    encoder: Encoder, texts: Sequence[str], rows: np.ndarray, batch_size: int | None, name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some of the rows, (n,), and their embeddings, float32 (n, D), until all are done."""
    takes_size = batch_size is not None and _takes(encoder, "batch_size")
    options = {"batch_size": batch_size} if takes_size else {}
    step = BATCHES_PER_CALL * (batch_size or DEFAULT_BATCH_SIZE)
    with tqdm(
        total=len(rows), desc=f"encode {name}", delay=2, disable=None, leave=False
    ) as progress:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            embeddings = encoder([texts[row] for row in part], **options)
            yield part, to_float32(embeddings, f"embeddings of {name}")
            progress.update(len(part))


def _find_repeats(texts: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row that has the same text, and the length, of each text: int64 (n,) each.

    Texts are compared by 16 bytes of BLAKE2b; 10^9 of them would collide by chance once in 10^20.
    """
    digests, lengths = bytearray(), np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name} {row} is a {type(text).__name__}; it must be a string")
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise invalid_unicode(error, f"{name} {row}") from None
        digests += blake2b(encoded, digest_size=16).digest()
        lengths[row] = len(text)
    keys = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(texts), [None, pa.py_buffer(digests)]
    )
    codes = keys.dictionary_encode().indices.to_numpy()
    _, first_rows = np.unique(codes, return_index=True)
    return first_rows[codes], lengths


def _takes(encoder: Encoder, parameter: str) -> bool:
    parameters = inspect.signature(encoder).parameters
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
