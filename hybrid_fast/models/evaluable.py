"""Models that are to be evaluated: those that are trained here, and others by their own library."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_fast.common.json_files import read_optional
from hybrid_fast.models.bi_encoder import BiEncoder
from hybrid_fast.models.devices import check_device
from hybrid_fast.models.dtypes import check_dtype, say_if_asked_slow, say_if_slow
from hybrid_fast.models.encoding import check_truncate_dim
from hybrid_fast.models.folders.finding import find_folder
from hybrid_fast.models.folders.foreign import UntrainableChainError, refuse_weights
from hybrid_fast.models.folders.layout import SETTINGS_FILE
from hybrid_fast.models.prompts import with_sides
from hybrid_fast.models.similarity import check_similarity

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)
_PICKLED = ("pytorch_model*.bin", "adapter_model*.bin")
_WHAT_A_LIBRARY_RAISES = (
    *(AttributeError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError),
)


def load_evaluable(path_or_hub_name: str | Path, **options: Any) -> BiEncoder | SentenceTransformer:
    """Load an encoder to evaluate.

    It is a BiEncoder, or a SentenceTransformer where it is one that cannot be trained here.

    Args:
        path_or_hub_name: see `BiEncoder.from_pretrained`.
        **options: of `BiEncoder.from_pretrained`. A SentenceTransformer does not take those that
            change the model, such as `pooling` and `normalize`, and has one maximum length.

    Raises:
        ImportError: sentence-transformers is needed and not installed.
        FileNotFoundError: no such folder or hub model, or it lacks a file.
        ValueError: as `BiEncoder.from_pretrained`; or sentence-transformers cannot load it, or an
            option is given that a SentenceTransformer does not have.
    """
    try:
        return BiEncoder.from_pretrained(path_or_hub_name, **options)
    except UntrainableChainError as error:
        model = _load_theirs(path_or_hub_name, error, **options)
        logger.info(
            "Loaded %s for evaluation alone, by sentence-transformers: %s",
            path_or_hub_name,
            str(error).partition(". The model")[0],
        )
        return model


def _load_theirs(
    path_or_hub_name: str | Path,
    reason: UntrainableChainError,
    *,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    similarity: str | None = None,
    truncate_dim: int | None = None,
    max_query_length: int | None = None,
    max_passage_length: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    **others: object,
) -> SentenceTransformer:
    """Load a folder with sentence-transformers, from safetensors and JSON alone."""
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ValueError(
            f"{path_or_hub_name} is evaluated by sentence-transformers, which embeds as the folder "
            f"says; leave {', '.join(given)} out"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"{reason}. That needs sentence-transformers: pip install sentence-transformers"
        ) from error
    folder = find_folder(path_or_hub_name, revision)
    for path in chain.from_iterable(map(folder.rglob, _PICKLED)):
        refuse_weights(path.parent)
    # By itself it puts nothing before documents where a folder calls their prompt "passage".
    prompts = with_sides(
        read_optional(folder / SETTINGS_FILE).get("prompts") or {}, query_prompt, passage_prompt
    )
    attention = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    try:
        model = SentenceTransformer(
            str(folder),
            device=str(check_device("cpu" if device is None else device)),
            prompts=dict(prompts),
            truncate_dim=truncate_dim,
            trust_remote_code=trust_remote_code,
            model_kwargs=attention,
        )
    except _WHAT_A_LIBRARY_RAISES as error:
        raise ValueError(
            f"{reason}; but sentence-transformers cannot load it: {type(error).__name__}: {error}"
        ) from error
    if attention and model.transformers_model is None:
        raise ValueError(f"{folder} has no transformer; leave attn_implementation out")
    if similarity is not None:
        model.similarity_fn_name = check_similarity("similarity", similarity)
    _check_dim(model)
    _set_length(model, folder, max_query_length, max_passage_length)
    checked = check_dtype(dtype)
    if checked != "auto":
        model = model.to(checked)
    say_if_asked_slow(dtype, model.device)
    say_if_slow(model)  # here, since it encodes by itself
    return model


def _check_dim(model: SentenceTransformer) -> None:
    kept = model.truncate_dim  # given, or the folder's
    with model.truncate_embeddings(None):
        dim = model.get_embedding_dimension()
    if kept is not None and dim is not None:  # the last module may not say it
        check_truncate_dim(kept, dim)


def _set_length(
    model: SentenceTransformer, folder: Path, of_queries: int | None, of_passages: int | None
) -> None:
    if of_queries is None and of_passages is None:
        return
    if of_queries != of_passages:
        raise ValueError(
            f"max_query_length is {of_queries} and max_passage_length {of_passages}, but {folder} "
            "is evaluated by sentence-transformers with one for both; give them the same value"
        )
    if not isinstance(model.max_seq_length, int):
        raise ValueError(f"{folder} has no maximum length; leave max_query_length out")
    model.max_seq_length = of_queries
