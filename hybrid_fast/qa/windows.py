"""Question and passage as token windows; a passage longer than a window is read in several.

Neighbouring windows of a passage share `doc_stride` tokens, so that an answer up to that length is
whole in one of them (Devlin et al. 2019, section 4.2; doc_stride means what it does in
transformers' run_qa: the overlap of windows, not their distance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase as Tokenizer

DEFAULT_MAX_LENGTH = 384


@dataclass(frozen=True)
class WindowSizes:
    """Sizes in tokens.

    Attributes:
        max_length: length of a window, question and special tokens included.
        doc_stride: tokens of the passage that neighbouring windows share.
        max_question_length: longer questions are truncated.
    """

    max_length: int
    doc_stride: int
    max_question_length: int

    @classmethod
    def choose(
        cls, tokenizer: Tokenizer, limit: int, max_length: int | None, doc_stride: int | None
    ) -> WindowSizes:
        """Return the sizes given, else 384 / 128 / 64, or less if the model takes less.

        Args:
            tokenizer: the tokenizer of the windows.
            limit: the most tokens that the model takes.
            max_length: length of a window.
            doc_stride: overlap of windows; default a third of max_length, at most 128.

        Raises:
            ValueError: the model does not take so many tokens, or none is left for the passage.
        """
        longest = int(min(limit, tokenizer.model_max_length))
        length = min(DEFAULT_MAX_LENGTH, longest) if max_length is None else max_length
        if not 1 <= length <= longest:
            raise ValueError(f"max_length is {length}; the model takes from 1 to {longest} tokens")
        question = min(64, length // 3)
        room = length - question - tokenizer.num_special_tokens_to_add(pair=True)
        stride = min(128, length // 3) if doc_stride is None else doc_stride
        if question < 1 or not 0 <= stride < room:
            raise ValueError(
                f"doc_stride is {stride} and max_length {length}: beside the question, a window "
                f"has room for {max(room, 0)} tokens of the passage, and doc_stride must be less; "
                "raise max_length or lower doc_stride"
            )
        return cls(length, stride, question)


@dataclass(frozen=True, eq=False)
class Window:
    """A question and a part of a passage.

    Attributes:
        pair: position of its pair of question and passage.
        features: `input_ids`, and `token_type_ids` for models that take them: int64 (num_tokens,).
        offsets: int64 (num_tokens, 2), [start, end) of each token in the passage; (-1, -1) for
            tokens that are not the passage's or are white space only.
    """

    pair: int
    features: dict[str, Tensor]
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)


def make_windows(
    tokenizer: Tokenizer, questions: Sequence[str], passages: Sequence[str], sizes: WindowSizes
) -> list[Window]:
    """Return the windows of all pairs (questions[i], passages[i]), in order.

    Args:
        tokenizer: a fast one.
        questions: n texts, none empty.
        passages: n texts.
        sizes: sizes of the windows.
    """
    if not questions:
        return []
    shortened = {
        text: _cut(tokenizer, text, sizes.max_question_length) for text in dict.fromkeys(questions)
    }
    batch = tokenizer(
        [shortened[question] for question in questions],
        list(passages),
        truncation="only_second",
        max_length=sizes.max_length,
        stride=sizes.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    names = [name for name in ("input_ids", "token_type_ids") if name in batch]
    windows = []
    for row, pair in enumerate(batch["overflow_to_sample_mapping"]):
        spans = zip(batch.sequence_ids(row), batch["offset_mapping"][row], strict=True)
        offsets = [
            span if part == 1 and passages[pair][slice(*span)].strip() else (-1, -1)
            for part, span in spans
        ]
        features = {name: torch.tensor(batch[name][row]) for name in names}
        windows.append(Window(pair, features, np.array(offsets, dtype=np.int64)))
    return windows


def pad_windows(windows: Sequence[Window], tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Return the inputs of a model for some windows, each (n, longest), padded on the right."""
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    batch = {
        name: pad_sequence(
            [window.features[name] for window in windows],
            batch_first=True,
            padding_value=padding[name],
        )
        for name in windows[0].features
    }
    lengths = torch.tensor([len(window) for window in windows])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return {**batch, "attention_mask": mask.long()}


def _cut(tokenizer: Tokenizer, question: str, most: int) -> str:
    """Return the longest prefix of a question that has at most `most` tokens."""
    for keep in range(most, 0, -1):
        encoding = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        if len(encoding["input_ids"]) <= most:
            break
        # A part of a word may have more tokens alone than within the word.
        question = question[: encoding["offset_mapping"][keep - 1][1]]
    return question
