"""An extractive reader: it answers a question with a span of a passage.

A reader is any model that `AutoModelForQuestionAnswering` loads. The score of a span is the sum of
the logits of its first and its last token. All spans of at most `max_answer_length` tokens, in all
windows of all passages of a question, compete: logits are not normalised within a window or
passage, so that they are comparable (Chen et al. 2017, section 3.2). "No answer" is never
predicted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import AutoModelForQuestionAnswering, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast.models.backbones.architectures import position_limit
from hybrid_fast.models.folders.finding import find_folder
from hybrid_fast.models.folders.loading import load_pretrained
from hybrid_fast.models.texts import check_strings
from hybrid_fast.qa.windows import (
    Window,
    WindowSizes,
    make_windows,
    pad_windows,
)

MAX_ANSWER_LENGTH = 30
_PAIRS_PER_CHUNK = 2_048


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a passage.

    Attributes:
        text: `passage[start:end]`, never blank.
        score: sum of the logits of its ends; higher is better.
        start: first character in the passage.
        end: one past its last character.
        passage: position of the passage among those that were read.
    """

    text: str
    score: float
    start: int
    end: int
    passage: int = 0


class Reader:
    """A question-answering model and its tokenizer; make one with `from_pretrained`.

    Args:
        model: its output has `start_logits` and `end_logits`.
        tokenizer: a fast one, with a padding token.
        sizes: sizes of the windows.
        max_answer_length: the most tokens of an answer.
        name_or_path: where it was loaded from, for results.

    Raises:
        ValueError: a tokenizer that is not fast or cannot pad, or a length below 1.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        sizes: WindowSizes,
        max_answer_length: int = MAX_ANSWER_LENGTH,
        name_or_path: str = "",
    ) -> None:
        check_tokenizer(tokenizer)
        if max_answer_length < 1:
            raise ValueError(f"max_answer_length is {max_answer_length}; it must be at least 1")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.sizes = sizes
        self.max_answer_length = max_answer_length
        self.name_or_path = name_or_path

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_name: str | Path,
        *,
        max_length: int | None = None,
        doc_stride: int | None = None,
        max_answer_length: int = MAX_ANSWER_LENGTH,
    ) -> Reader:
        """Load a reader, onto a GPU if there is one.

        Args:
            path_or_hub_name: a folder, such as one that `train_reader` wrote, or a hub name.
            max_length: tokens of a window; default 384, or fewer if the model takes fewer.
            doc_stride: tokens that neighbouring windows share; default a third of max_length, at
                most 128.
            max_answer_length: the most tokens of an answer.

        Raises:
            FileNotFoundError: no such folder or hub model, or a file is missing in it.
            ValueError: it is not a reader, or does not take windows of this size.
        """
        folder = find_folder(path_or_hub_name, None)
        _check_is_reader(folder)
        model, tokenizer = load_pretrained(folder, AutoModelForQuestionAnswering)
        check_tokenizer(tokenizer)
        sizes = WindowSizes.choose(tokenizer, position_limit(model), max_length, doc_stride)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(device), tokenizer, sizes, max_answer_length, str(path_or_hub_name))

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[str]],
        n_best: int = 1,
        batch_size: int = 32,
    ) -> list[list[Span]]:
        """Return the best spans for each question over all of its passages.

        Args:
            questions: n texts.
            passages: n lists of texts.
            n_best: the most spans of a question.
            batch_size: number of windows at a time, of similar length.

        Returns:
            n lists, best span first; equal scores by passage, start and end. Empty where the
            passages have no token.

        Raises:
            TypeError: a single text where a list is needed.
            ValueError: lists of different lengths, a blank question, or a number below 1.
        """
        questions = check_strings(questions)
        if len(questions) != len(passages):
            raise ValueError(
                f"{len(questions)} questions but {len(passages)} lists of passages; give one each"
            )
        _check_questions(questions)
        lists = [check_strings(some) for some in passages]
        repeated = chain.from_iterable(
            [question] * len(some) for question, some in zip(questions, lists, strict=True)
        )
        of_pairs = iter(
            self.read_pairs(list(repeated), list(chain(*lists)), n_best, batch_size=batch_size)
        )
        return [merge_spans([next(of_pairs) for _ in some], n_best) for some in lists]

    def read_pairs(
        self,
        questions: Sequence[str],
        passages: Sequence[str],
        n_best: int = 1,
        *,
        batch_size: int = 32,
        show_progress: bool = False,
    ) -> list[list[Span]]:
        """Return the best spans of `passages[i]` for `questions[i]`; see `read`.

        Args:
            questions: n texts.
            passages: n texts.
            n_best: the most spans of a pair.
            batch_size: number of windows at a time, of similar length.
            show_progress: whether to show a progress bar on a terminal after two seconds.
        """
        for name, value in (("n_best", n_best), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        questions, passages = check_strings(questions), check_strings(passages)
        _check_questions(questions)
        best: list[list[Span]] = []
        with tqdm(
            desc="read",
            total=len(questions),
            unit="passage",
            delay=2,
            leave=False,
            disable=None if show_progress else True,
        ) as progress:
            for start in range(0, len(questions), _PAIRS_PER_CHUNK):
                part = slice(start, start + _PAIRS_PER_CHUNK)
                best += self._read_chunk(questions[part], passages[part], n_best, batch_size)
                progress.update(len(best) - progress.n)
        return best

    def score_pairs(
        self, questions: Sequence[str], passages: Sequence[str], batch_size: int = 32
    ) -> np.ndarray:
        """Score `passages[i]` for `questions[i]` by its best span; a `Retriever` can rerank by it.

        Args:
            questions: n texts.
            passages: n texts.
            batch_size: number of windows at a time, of similar length.

        Returns:
            float32 (n,), the lowest number where a passage has no token.
        """
        spans = self.read_pairs(questions, passages, batch_size=batch_size)
        lowest = np.finfo(np.float32).min
        return np.array([best[0].score if best else lowest for best in spans], np.float32)

    def _read_chunk(
        self, questions: Sequence[str], passages: Sequence[str], n_best: int, batch_size: int
    ) -> list[list[Span]]:
        windows = make_windows(self.tokenizer, questions, passages, self.sizes)
        windows.sort(key=len, reverse=True)
        found: list[dict[tuple[int, int], float]] = [{} for _ in questions]
        for first in range(0, len(windows), batch_size):
            batch = windows[first : first + batch_size]
            for window, spans in zip(batch, self._best_spans(batch, n_best), strict=True):
                passage, best = passages[window.pair], found[window.pair]
                for score, first_token, last_token in spans:
                    start, end = window.offsets[first_token, 0], window.offsets[last_token, 1]
                    place = _without_space(passage, int(start), int(end))
                    best[place] = max(score, best.get(place, score))
        return [
            merge_spans([_spans(best, passage)], n_best)
            for best, passage in zip(found, passages, strict=True)
        ]

    @torch.inference_mode()
    def _best_spans(
        self, windows: Sequence[Window], n_best: int
    ) -> list[list[tuple[float, int, int]]]:
        """Return (score, first token, last token) of the best spans of each window."""
        features = pad_windows(windows, self.tokenizer)
        output = self.model(
            **{name: tensor.to(self.model.device) for name, tensor in features.items()}
        )
        start_logits = output.start_logits.float().cpu()
        end_logits = output.end_logits.float().cpu()
        allowed = torch.zeros(start_logits.shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            allowed[row, : len(window)] = torch.from_numpy(window.offsets[:, 0] >= 0)
        if not (start_logits + end_logits)[allowed].isfinite().all():
            raise ValueError(
                f"the reader {self.name_or_path} returns logits that are NaN or infinite; its "
                "training may have diverged"
            )
        scores, first, last = best_spans(
            start_logits, end_logits, allowed, self.max_answer_length, n_best
        )
        return [
            [triple for triple in zip(*rows, strict=True) if triple[0] > -torch.inf]
            for rows in zip(scores.tolist(), first.tolist(), last.tolist(), strict=True)
        ]


def best_spans(
    start_logits: Tensor, end_logits: Tensor, allowed: Tensor, max_length: int, n_best: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the spans of highest `start_logits[first] + end_logits[last]`.

    Args:
        start_logits: float32 (n, L).
        end_logits: float32 (n, L).
        allowed: bool (n, L), the tokens at which a span may start or end.
        max_length: the most tokens of a span, at least 1.
        n_best: the most spans per row.

    Returns:
        Scores, first tokens and last tokens: (n, k) each, best first, k at most n_best. Scores are
        -inf where a row has fewer spans.
    """
    num_tokens = start_logits.shape[1]
    max_length = min(max_length, num_tokens)
    starts = start_logits.masked_fill(~allowed, -torch.inf)
    ends = end_logits.masked_fill(~allowed, -torch.inf)
    ends = torch.nn.functional.pad(ends, (0, max_length - 1), value=-torch.inf)
    # [n, first token, length - 1]
    scores = starts[:, :, None] + ends.unfold(1, max_length, 1)
    best, places = scores.flatten(1).topk(min(n_best, num_tokens * max_length))
    first = places // max_length
    return best, first, first + places % max_length


def merge_spans(lists: Sequence[Sequence[Span]], n_best: int) -> list[Span]:
    """Return the best spans of several passages, with the number of their passage."""
    spans = [replace(span, passage=number) for number, some in enumerate(lists) for span in some]
    spans.sort(key=lambda span: (-span.score, span.passage, span.start, span.end))
    return spans[:n_best]


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Raise ValueError unless a tokenizer is fast, can pad, and takes pairs of texts."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} is not a fast tokenizer, so it cannot locate an answer in "
            "its passage; save the model with a fast one (tokenizer.json)"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token; set one and save it with the model")
    if not {0, 1} <= set(tokenizer(["question"], ["passage"]).sequence_ids(0)):
        raise ValueError(
            "the tokenizer has no template for a pair of texts, question and passage; give its "
            "post-processor one and save it with the model"
        )


def _check_questions(questions: Sequence[str]) -> None:
    for number, question in enumerate(questions):
        if not question.strip():
            raise ValueError(f"question {number} is empty; leave it out")


def _check_is_reader(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no config.json; give the folder of a saved reader")
    try:
        names = json.loads(path.read_text(encoding="utf-8")).get("architectures") or []
    except (AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not any("QuestionAnswering" in str(name) for name in names):
        found = ", ".join(map(str, names)) or "model without a name"
        raise ValueError(
            f"{folder} is not a reader but a {found}; train a reader from it with: "
            "hybrid-fast train-reader"
        )


def _without_space(passage: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the white space that some tokenizers include in tokens at its ends."""
    text = passage[start:end]
    return start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))


def _spans(scores: dict[tuple[int, int], float], passage: str) -> list[Span]:
    return [Span(passage[start:end], score, start, end) for (start, end), score in scores.items()]
