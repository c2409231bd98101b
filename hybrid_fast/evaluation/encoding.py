"""Embeddings of a task's texts from any encoder, and the checks on embeddings from elsewhere.

An encoder is anything with `encode_queries` / `encode_passages` (a `BiEncoder`), `encode_query` /
`encode_document` (a `SentenceTransformer`), or one `encode` for both. Equal texts are encoded once,
so that they have equal embeddings: padding in different batches could change the last bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.evaluation.ranks import squared_norms

Encoder = Callable[..., Any]

METHODS = (("encode_queries", "encode_passages"), ("encode_query", "encode_document"))
DEFAULT_BATCH_SIZE, BATCHES_PER_CALL = 64, 64


def find_encoders(model: object) -> tuple[Encoder, Encoder]:
    """Return the model's methods that encode queries and passages.

    Raises:
        TypeError: if it has none of the known ones.
    """
    for names in (*METHODS, ("encode", "encode")):
        query, passage = (getattr(model, name, None) for name in names)
        if callable(query) and callable(passage):
            return query, passage
    raise TypeError(
        f"model is a {type(model).__name__}, which cannot encode texts; it needs encode_queries "
        "and encode_passages, or encode_query and encode_document, or encode"
    )


def encode(encoder: Encoder, texts: Sequence[str], batch_size: int | None, name: str) -> np.ndarray:
    """Encode texts, longest first, with a progress bar on a terminal after two seconds.

    Texts are read a part at a time; 24 bytes of each are held beside its embedding.

    Args:
        encoder: takes a list of texts, and `batch_size` if it has a parameter of that name;
            returns an array or tensor (num_texts, D).
        texts: what to encode, at least one.
        batch_size: texts the encoder is to take at a time; None leaves it to the encoder.
        name: what the texts are, for the progress bar and errors.

    Returns:
        float32 (num_texts, D).

    Raises:
        ValueError: if `batch_size` is not positive or the encoder returns a wrong shape.
        TypeError: if the encoder returns neither an array nor a tensor of floats.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    firsts, lengths = _look_through(texts)
    distinct = np.flatnonzero(firsts == np.arange(len(texts)))
    distinct = distinct[np.argsort(-lengths[distinct], kind="stable")]
    takes_size = batch_size is not None and _takes(encoder, "batch_size")
    options = {"batch_size": batch_size} if takes_size else {}
    embeddings: np.ndarray | None = None
    step = BATCHES_PER_CALL * (batch_size or DEFAULT_BATCH_SIZE)
    with tqdm(
        total=len(distinct), desc=f"encode {name}", delay=2, disable=None, leave=False
    ) as progress:
        for start in range(0, len(distinct), step):
            rows = distinct[start : start + step]
            part = to_float32(
                encoder([texts[row] for row in rows], **options), f"embeddings of {name}"
            )
            if embeddings is None:
                embeddings = np.empty((len(texts), part.shape[1]), dtype=np.float32)
            if part.shape != (len(rows), embeddings.shape[1]):
                raise ValueError(
                    f"the model returned embeddings {part.shape} for {len(rows)} {name}; "
                    f"({len(rows)}, {embeddings.shape[1]}) is needed"
                )
            embeddings[rows] = part
            progress.update(len(rows))
    if embeddings is None:
        raise ValueError(f"there are no {name} to encode")
    repeated = np.flatnonzero(firsts != np.arange(len(texts)))
    embeddings[repeated] = embeddings[firsts[repeated]]
    return embeddings


def _look_through(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of an equal text, and the length, of each text, both int64 (n,).

    Texts are told apart by 16 bytes of BLAKE2b; 10^9 of them would collide by chance once in 10^20.
    """
    digests, lengths = bytearray(), np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        digests += blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        lengths[row] = len(text)
    keys = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(texts), [None, pa.py_buffer(digests)]
    )
    codes = keys.dictionary_encode().indices.to_numpy()
    _, firsts = np.unique(codes, return_index=True)
    return firsts[codes], lengths


def _takes(encoder: Encoder, parameter: str) -> bool:
    parameters = inspect.signature(encoder).parameters
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def to_float32(embeddings: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """Return embeddings as a contiguous float32 array, without a copy where they are one.

    Args:
        embeddings: numpy array or torch tensor (n, D) of floats of any width, on any device.
        name: what to call them in errors.

    Raises:
        TypeError: if they are neither an array nor a tensor, or not of floats.
        ValueError: if they are not a matrix with at least one column.
    """
    if isinstance(embeddings, torch.Tensor):
        if embeddings.is_floating_point():
            embeddings = embeddings.detach().to("cpu", torch.float32)
        embeddings = embeddings.numpy(force=True)
    if not isinstance(embeddings, np.ndarray):
        raise TypeError(
            f"{name}: got a {type(embeddings).__name__}; give a numpy array or a torch tensor"
        )
    if not np.issubdtype(embeddings.dtype, np.floating):
        raise TypeError(f"{name}: got dtype {embeddings.dtype}; floating-point numbers are needed")
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name}: got shape {embeddings.shape}; a matrix (n, D) is needed")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return np.ascontiguousarray(embeddings, dtype=np.float32)


def check_finite(
    embeddings: np.ndarray, languages: Sequence[str], language_codes: np.ndarray, name: str
) -> None:
    """Raise a ValueError that names the first row with NaN or infinity, and its language.

    Args:
        embeddings: float32 (n, D).
        languages: names of the language codes.
        language_codes: language of each row.
        name: what to call the embeddings.
    """
    bad = np.flatnonzero(~np.isfinite(squared_norms(embeddings)))
    if bad.size:
        row = int(bad[0])
        raise ValueError(
            f"{name}: row {row} (language {languages[language_codes[row]]}) holds NaN or infinity, "
            f"as do {bad.size - 1} other rows; encode in a wider dtype, or check the model"
        )


def similarity_of(model: object) -> str:
    """Return "cosine" if the model asks for it (a SentenceTransformer does), else "dot".

    Raises:
        ValueError: if the model asks for a similarity that is no product.
    """
    similarity = getattr(model, "similarity_fn_name", None) or "dot"
    if similarity not in ("cosine", "dot"):
        raise ValueError(
            f"the model's similarity_fn_name is {similarity!r}; only cosine and dot are evaluated"
        )
    return similarity


def normalize_rows(embeddings: np.ndarray) -> np.ndarray:
    """Return the rows at length 1, float32 (n, D); rows of zeros stay."""
    lengths = np.sqrt(squared_norms(embeddings))[:, None]
    return np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)


def describe_model(model: object) -> tuple[str, dict[str, Any]]:
    """Return the model's name and, as far as it tells, its "max_length", "prompts" and "dtype"."""
    max_length = getattr(model, "max_length", None) or getattr(model, "max_seq_length", None)
    prompts = getattr(model, "prompts", None)
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    dtypes = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters})
    return str(getattr(model, "name_or_path", None) or type(model).__name__), {
        "max_length": max_length if isinstance(max_length, int | dict) else None,  # may be inf
        "prompts": dict(prompts) if isinstance(prompts, dict) else None,
        "dtype": " ".join(dtypes) or None,
    }
