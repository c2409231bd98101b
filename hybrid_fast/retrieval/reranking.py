"""Scores of pairs of texts by a slower, better model than the one that found them.

A reranker is a function of n queries and n texts that returns n scores, the higher the better; or
an object with `predict(pairs)`, as a CrossEncoder of sentence-transformers has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch

from hybrid_fast.common.json_files import read_optional
from hybrid_fast.models.devices import check_device
from hybrid_fast.models.folders.finding import find_folder
from hybrid_fast.models.folders.foreign import refuse_weights
from hybrid_fast.models.folders.layout import SETTINGS_FILE
from hybrid_fast.retrieval.encoders import takes_parameter

PAIRS_PER_CALL = 2**14


class CrossEncoder(Protocol):
    """What a model needs that scores pairs of a query and a text."""

    def predict(self, pairs: Any, /) -> Any:
        """Return the scores of pairs, (n,)."""


Reranker = Callable[[Sequence[str], Sequence[str]], Any] | CrossEncoder


def check_reranker(reranker: object) -> None:
    """Check that something can score pairs of texts.

    Raises:
        TypeError: it is neither a function nor has it `predict`.
    """
    if isinstance(reranker, str | type) or not (
        callable(reranker) or callable(getattr(reranker, "predict", None))
    ):
        raise TypeError(
            f"reranker is {reranker!r}; give a function of queries and texts that returns their "
            "scores, or a CrossEncoder: load_reranker(folder_or_hub_name)"
        )


def score_pairs(
    reranker: Reranker,
    queries: Sequence[str],
    texts: Sequence[str],
    batch_size: int | None = None,
) -> np.ndarray:
    """Score pairs of a query and a text.

    Args:
        reranker: a function or a CrossEncoder; what it does with a batch size is its own.
        queries: n queries.
        texts: n texts.
        batch_size: pairs that it is to take at a time, if it has a parameter of that name; None
            leaves it to the reranker.

    Returns:
        float32 (n,).

    Raises:
        TypeError: it is no reranker, or returns no numbers.
        ValueError: it returns another number of scores, NaN or infinity.
    """
    check_reranker(reranker)
    scores = np.empty(len(queries), np.float32)
    for start in range(0, len(queries), PAIRS_PER_CALL):
        part = slice(start, start + PAIRS_PER_CALL)
        given = _call(reranker, list(queries[part]), list(texts[part]), batch_size)
        scores[part] = _checked(given, len(queries[part]))
    return scores


def _call(reranker: Reranker, queries: list[str], texts: list[str], batch_size: int | None) -> Any:
    predict = getattr(reranker, "predict", None)  # first: a torch module is a function too
    method = predict if callable(predict) else reranker
    options: dict[str, Any] = {}
    if batch_size is not None and takes_parameter(method, "batch_size"):
        options["batch_size"] = batch_size
    if not callable(predict):
        return cast(Callable[..., Any], reranker)(queries, texts, **options)
    if takes_parameter(method, "show_progress_bar"):
        options["show_progress_bar"] = False
    return predict(list(zip(queries, texts, strict=True)), **options)


def _checked(given: object, num_pairs: int) -> np.ndarray:
    if isinstance(given, torch.Tensor):
        given = given.detach().to("cpu", torch.float32).numpy()
    scores = np.asarray(given)
    if not (np.issubdtype(scores.dtype, np.floating) or np.issubdtype(scores.dtype, np.integer)):
        raise TypeError(f"the reranker returned {scores.dtype}; one number a pair is needed")
    if scores.shape == (num_pairs, 1):
        scores = scores[:, 0]
    if scores.shape != (num_pairs,):
        raise ValueError(
            f"the reranker returned scores {scores.shape} for {num_pairs} pairs; ({num_pairs},) is "
            "needed: one number a pair, not one a class"
        )
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        scores = scores.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ValueError(
            f"the reranker scored pair {bad[0]} with {scores[bad[0]]} ({bad.size} of {num_pairs} "
            "pairs are not finite); check the model, or load it in a wider dtype"
        )
    return scores


def load_reranker(path_or_hub_name: str | Path, *, device: str = "auto") -> CrossEncoder:
    """Load a cross-encoder by sentence-transformers, from safetensors alone.

    Args:
        path_or_hub_name: a folder or the name of a model on the hub.
        device: such as "cpu"; default an accelerator if there is one.

    Raises:
        ImportError: sentence-transformers is not installed.
        FileNotFoundError: no such folder or hub model, or it has no safetensors.
        ValueError: it is no cross-encoder, does not give one score, or cannot be loaded.
    """
    folder = find_folder(path_or_hub_name, None)
    _check_scores_pairs(folder)
    refuse_weights(folder)
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise ImportError(
            "a reranker needs sentence-transformers: pip install sentence-transformers"
        ) from error
    try:
        model = CrossEncoder(
            str(folder),
            device=str(check_device(device)),
            model_kwargs={"use_safetensors": True},
        )
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"sentence-transformers cannot load {folder}: {type(error).__name__}: {error}"
        ) from error
    if model.num_labels != 1:
        raise ValueError(
            f"{folder} gives {model.num_labels} scores a pair; a reranker with one is needed"
        )
    return cast("CrossEncoder", model)


def _check_scores_pairs(folder: Path) -> None:
    """Refuse what sentence-transformers would give a head of random weights without a word."""
    kind = read_optional(folder / SETTINGS_FILE).get("model_type")
    names = read_optional(folder / "config.json").get("architectures") or []
    is_classifier = any(str(name).endswith("ForSequenceClassification") for name in names)
    if kind != "CrossEncoder" and not (kind is None and is_classifier):
        found = ", ".join(map(str, [kind] if kind else names)) or "model that does not say its kind"
        raise ValueError(
            f"{folder} is no cross-encoder but a {found}; give one, whose config.json names a "
            "model ForSequenceClassification"
        )
