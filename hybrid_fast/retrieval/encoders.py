"""What a model offers for retrieval: how it encodes, its similarity, and how it describes itself.

An encoder is anything with `encode_queries` / `encode_passages` (a `BiEncoder`), `encode_query` /
`encode_document` (a `SentenceTransformer`), or one `encode` for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

# Takes a list of texts, and `batch_size` if it has a parameter of that name; returns an array or
# tensor (num_texts, D).
Encoder = Callable[..., Any]

METHODS = (
    ("encode_queries", "encode_passages"),
    ("encode_query", "encode_document"),
    ("encode", "encode"),
)


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
    if similarity not in ("cosine", "dot"):
        raise ValueError(
            f"the model's similarity_fn_name is {similarity!r}; only cosine and dot are supported"
        )
    return similarity


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
