"""Tokens and their embeddings: every token that a text may have needs one.

A tokenizer that was given new tokens after the model was saved has numbers beyond the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast.models.texts import Integers, TokenIds

# Tokens that stand for an input that is no text. Text models of a family that takes several kinds
# of input, such as Gemma 3, have no embedding for them.
_PLACEHOLDERS = ("image_token", "video_token", "audio_token")


def count_embeddings(model: PreTrainedModel) -> int:
    """Return the number of token embeddings; token ids must be below it."""
    return len(model.get_input_embeddings().weight)


def check_vocabulary(folder: Path, tokenizer: Tokenizer, num_embeddings: int) -> None:
    """Raise a ValueError if a token, added ones included, has no embedding.

    Placeholders of images and sounds are let through; `check_token_ids` refuses a text with one.
    """
    vocabulary = tokenizer.get_vocab()
    placeholders = {str(getattr(tokenizer, name, None)) for name in _PLACEHOLDERS}
    without = [
        token
        for token, number in sorted(vocabulary.items(), key=lambda item: item[1])
        if number >= num_embeddings and token not in placeholders
    ]
    if not without:
        return
    remedy = "they do not belong together"
    if set(without) <= set(tokenizer.get_added_vocab()):
        remedy = (
            "load the model with AutoModel, call resize_token_embeddings"
            f"({max(vocabulary.values()) + 1}) and save it, or save the tokenizer without them"
        )
    raise ValueError(
        f"the tokenizer in {folder} has {len(vocabulary)} tokens and the model {num_embeddings} "
        f"embeddings, so that {len(without)} tokens have none: "
        f"{', '.join(map(repr, without[:3]))}{' ...' if len(without) > 3 else ''}; {remedy}"
    )


def check_token_ids(
    texts: Sequence[str],
    ids: TokenIds,
    lengths: Integers,
    num_embeddings: int,
    name_of: Callable[[int], object],
) -> None:
    """Raise a ValueError that names the text and the token if a token has no embedding.

    Args:
        texts: n texts.
        ids: their tokens, concatenated.
        lengths: int64 (n,), the number of tokens of each.
        num_embeddings: token ids must be below it.
        name_of: returns the token of an id.
    """
    if not ids.size or ids.max() < num_embeddings:
        return
    place = int(ids.argmax())
    text = texts[int(np.searchsorted(lengths.cumsum(), place, side="right"))]
    raise ValueError(
        f"the text {text[:60]!r} has the token {name_of(int(ids[place]))!r}, number {ids[place]}, "
        f"but the model has {num_embeddings} embeddings; give the token one (of a transformer by "
        "resize_token_embeddings), or leave it out of the text"
    )
