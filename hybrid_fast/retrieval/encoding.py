"""Encoding of texts by any model, equal texts once and longest first.

A model encodes by the methods that `encoders` finds. Equal texts are encoded once so that their
embeddings are equal: padding in different batches could change the last bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.common.texts import invalid_unicode
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.dtypes import dtype_names
from hybrid_fast.models.texts import SIDES
from hybrid_fast.retrieval.embeddings import check_finite, normalize_rows, to_float32
from hybrid_fast.retrieval.encoders import Encoder, find_encoders, similarity_of
from hybrid_fast.retrieval.shared_encoding import share_encoder
from hybrid_fast.retrieval.shared_work import SharedWork, hides_progress

logger = logging.getLogger(__name__)
DEFAULT_BATCH_SIZE, BATCHES_PER_CALL = 64, 64


def describe_model(model: object) -> tuple[str, dict[str, Any]]:
    """Return the model's name, and its "max_length", "prompts" and "dtype", None if unknown."""
    max_length = getattr(model, "max_length", None) or getattr(model, "max_seq_length", None)
    prompts = getattr(model, "prompts", None)
    if isinstance(model, BiEncoder):
        prompts = {side: model.prompts.of_side(side) for side in SIDES}
    dtypes = dtype_names(model) if isinstance(model, torch.nn.Module) else ""
    return str(getattr(model, "name_or_path", None) or type(model).__name__), {
        "max_length": max_length if isinstance(max_length, int | dict) else None,  # may be inf
        "prompts": dict(prompts) if isinstance(prompts, dict) else None,
        "dtype": dtypes or None,
    }


class Encoded(NamedTuple):
    """Embeddings of both sides, float32 (n, D), and how they were made, for results."""

    queries: np.ndarray
    passages: np.ndarray
    settings: dict[str, Any]


def encode_both(
    model: object,
    queries: Sequence[str],
    passages: Sequence[str],
    batch_size: int | None = None,
    *,
    passages_name: str = "passages",
    shared: SharedWork | None = None,
) -> Encoded:
    """Encode queries and passages so that their dot products are the model's similarities.

    Args:
        model: see `find_encoders`; embeddings are normalised to norm 1 if it asks for cosines.
        queries: at least one.
        passages: at least one.
        batch_size: texts that the model is to take at a time; None leaves it to the model.
        passages_name: what to call the passages in the progress bar and in errors.
        shared: ranks that each encode a part of the texts.

    Returns:
        The embeddings, the "similarity", the "truncate_dim" of a model that truncates them and, of
        models of other libraries, the methods that they were "encoded_by".

    Raises:
        TypeError: if the model cannot encode texts, or returns no embeddings of floats.
        ValueError: if it asks for a similarity other than cosine or dot product, a text is no valid
            Unicode, or it returns embeddings of a wrong shape, NaN or infinity.
    """
    of_queries, of_passages = find_encoders(model)
    settings = _comparison(model)
    size = _texts_at_a_time(model, batch_size)
    left = encode(share_encoder(of_queries, shared, size), queries, batch_size, "queries")
    encoder = share_encoder(of_passages, shared, size)
    right = encode(encoder, passages, batch_size, passages_name)
    settings |= _methods(model, of_queries, of_passages, passages_name)
    if settings["similarity"] == "cosine":
        left, right = normalize_rows(left), normalize_rows(right)
    return Encoded(left, right, settings)


def encode_queries(
    model: object,
    queries: Sequence[str],
    batch_size: int | None = None,
    *,
    passages_name: str = "passages",
    shared: SharedWork | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Encode queries for a search of passages; arguments and errors are those of `encode_both`.

    Returns:
        Their embeddings as the model gives them, float32 (n, D), and the settings of `Encoded`.
    """
    of_queries, of_passages = find_encoders(model)
    settings = _comparison(model)
    encoder = share_encoder(of_queries, shared, _texts_at_a_time(model, batch_size))
    embeddings = encode(encoder, queries, batch_size, "queries")
    of_passages.find_form(queries[0])
    return embeddings, settings | _methods(model, of_queries, of_passages, passages_name)


def _comparison(model: object) -> dict[str, Any]:
    """Return how embeddings of a model are compared, as `Encoded.settings` say it."""
    settings: dict[str, Any] = {"similarity": similarity_of(model)}
    if getattr(model, "truncate_dim", None) is not None:
        settings["truncate_dim"] = model.truncate_dim  # type: ignore[attr-defined]
    return settings


def _methods(
    model: object, of_queries: Encoder, of_passages: Encoder, passages_name: str
) -> dict[str, Any]:
    """Say by which methods of another library's model texts were encoded, and return it.

    The form of what both take is known by now.
    """
    if isinstance(model, BiEncoder):
        return {}
    methods = {"queries": of_queries.description, "passages": of_passages.description}
    logger.info(
        "%s: queries are encoded by %s, %s by %s; %s similarity.",
        type(model).__name__,
        methods["queries"],
        passages_name,
        methods["passages"],
        similarity_of(model),
    )
    return {"encoded_by": methods}


def _texts_at_a_time(model: object, batch_size: int | None) -> int:
    """Return how many texts a model tokenises and cuts together: what ranks share is whole."""
    return batch_size or int(getattr(model, "default_batch_size", DEFAULT_BATCH_SIZE))


def encode(
    encoder: Callable[..., Any],
    texts: Sequence[str],
    batch_size: int | None,
    name: str,
    *,
    show_progress: bool = True,
) -> np.ndarray:
    """Encode texts, longest first, with a progress bar on a terminal after two seconds.

    Texts are read one part at a time; beside its embedding, about 24 bytes are held for each.

    Args:
        encoder: takes a list of texts, and `batch_size` if it has a parameter of that name; returns
            their embeddings, see `to_float32`. An `Encoder` may take texts in other forms.
        texts: what to encode, at least one.
        batch_size: texts that the encoder is to take at a time; None leaves it to the encoder.
        name: what the texts are, for the progress bar and errors.
        show_progress: whether there is a bar.

    Returns:
        float32 (num_texts, D).

    Raises:
        ValueError: if `batch_size` is not positive, there are no texts, one is no valid Unicode, or
            the encoder returns a wrong shape, NaN or infinity.
        TypeError: if a text is no string, or the encoder does not take texts, or returns no
            embeddings of floats.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if not len(texts):
        raise ValueError(f"there are no {name} to encode")
    if not isinstance(encoder, Encoder):
        encoder = Encoder(encoder, "the model", "texts")
    first_rows, lengths = _find_repeats(texts, name)
    is_repeated = first_rows != np.arange(len(texts))
    distinct = np.flatnonzero(~is_repeated)
    distinct = distinct[np.argsort(-lengths[distinct], kind="stable")]
    embeddings: np.ndarray | None = None
    hidden = hides_progress() if show_progress else True
    for rows, part in _encode_parts(encoder, texts, distinct, batch_size, name, hidden):
        if embeddings is None:
            embeddings = np.empty((len(texts), part.shape[1]), dtype=np.float32)
        if part.shape != (len(rows), embeddings.shape[1]):
            raise ValueError(
                f"{encoder.name} returned embeddings {part.shape} for {len(rows)} {name}; "
                f"({len(rows)}, {embeddings.shape[1]}) is needed"
            )
        check_finite(part, f"embeddings of {name}", rows, getattr(texts, "language_of", None))
        embeddings[rows] = part
    assert embeddings is not None
    embeddings[is_repeated] = embeddings[first_rows[is_repeated]]
    return embeddings


def _encode_parts(
    encoder: Encoder,
    texts: Sequence[str],
    rows: np.ndarray,
    batch_size: int | None,
    name: str,
    hidden: bool | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some of the rows, (n,), and their embeddings, float32 (n, D), until all are done."""
    step = BATCHES_PER_CALL * (batch_size or DEFAULT_BATCH_SIZE)
    with tqdm(
        total=len(rows), desc=f"encode {name}", delay=2, disable=hidden, leave=False
    ) as progress:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            embeddings = encoder([texts[row] for row in part], batch_size)
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
