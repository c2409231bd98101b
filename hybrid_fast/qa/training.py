"""Training of a reader from an encoder, on transformers' Trainer.

Each token gets two logits, for being the first and the last token of the answer, trained with
cross-entropy over the window; the target of a window without the whole answer is its first token
(Devlin et al. 2019).
"""

from __future__ import annotations

import math
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForQuestionAnswering,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast.common.errors import kept
from hybrid_fast.common.files import check_writable, complete_folder
from hybrid_fast.models.backbones.architectures import position_limit
from hybrid_fast.models.folders.finding import WEIGHT_FILES, find_folder
from hybrid_fast.models.folders.layout import read_layout
from hybrid_fast.models.folders.loading import load_pretrained, lowercase_first
from hybrid_fast.qa.questions import ReadingData
from hybrid_fast.qa.reader import check_tokenizer
from hybrid_fast.qa.windows import (
    Window,
    WindowSizes,
    make_windows,
    pad_windows,
)
from hybrid_fast.training.devices import check_joined, join_ranks, trains_on_cpu


@dataclass(frozen=True, kw_only=True)
class ReaderTraining:
    """Options of the training of a reader.

    Attributes:
        epochs: passes over the windows of the data.
        max_steps: number of steps; replaces epochs if given.
        learning_rate: the peak, reached after a tenth of the steps; from there it falls to 0.
        batch_size: windows per step and process.
        max_length: tokens of a window; default 384, or fewer if the model takes fewer.
        doc_stride: tokens that neighbouring windows share; default a third of max_length, at most
            128.
        seed: seed of new parameters, dropout and order.
    """

    epochs: float = 2.0
    max_steps: int | None = None
    learning_rate: float = 3e-5
    batch_size: int = 16
    max_length: int | None = None
    doc_stride: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range."""
        for name, least in (("max_steps", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        for name in ("epochs", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a number above 0 is needed")


def train_reader(
    encoder: str | Path,
    data: ReadingData,
    folder: str | Path,
    options: ReaderTraining | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> float:
    """Train a reader from an encoder and save it.

    Args:
        encoder: a folder or hub name of a transformer BiEncoder, a SentenceTransformer, or any
            model that AutoModel loads.
        data: see `load_questions`; the first gold answer of a question is the target.
        folder: appears complete or not at all; AutoModelForQuestionAnswering loads it.
        options: options of the training.
        callbacks: callbacks of transformers' Trainer.

    Returns:
        The mean loss over all steps.

    Raises:
        FileNotFoundError: no such folder or hub model, or a file is missing in it.
        NotADirectoryError: `folder` is a file.
        PermissionError: it cannot be written.
        ValueError: a static encoder, an architecture without a question-answering head, sizes that
            the model does not take, or training that diverges.
        PartlyDoneError: a callback failed after the last step; the reader is saved.
    """
    options = options or ReaderTraining()
    check_writable(Path(folder))
    source = find_folder(encoder, None)
    layout = read_layout(source)
    if layout.static:
        raise ValueError(
            f"{source} is a static encoder, whose tokens do not attend to one another; a reader "
            "needs a transformer"
        )
    set_seed(options.seed)
    model, tokenizer = load_pretrained(
        layout.weights_folder, AutoModelForQuestionAnswering, new_head=True, dtype=torch.float32
    )
    check_tokenizer(tokenizer)
    if layout.lowercase:
        lowercase_first(tokenizer)
    tokenizer.padding_side = "right"
    sizes = WindowSizes.choose(
        tokenizer, position_limit(model), options.max_length, options.doc_stride
    )
    with tempfile.TemporaryDirectory() as unused:
        trainer = Trainer(
            model=model,
            args=_arguments(options, unused),
            train_dataset=make_examples(tokenizer, data, sizes),
            data_collator=partial(collate, tokenizer=tokenizer),
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)
        loss, failure = _train(trainer)
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise ValueError(
            "training diverged: weights are NaN or infinite; lower learning_rate, which is "
            f"{options.learning_rate}"
        )
    if trainer.is_world_process_zero():
        _save(model, tokenizer, sizes, folder)
    if failure is not None:
        with kept(f"the trained reader is in {folder}"):
            raise failure
    return loss


def _train(trainer: Trainer) -> tuple[float, Exception | None]:
    """Return the mean loss, and what failed after the last step, if anything did."""
    try:
        return float(trainer.train().training_loss), None
    except Exception as error:
        if not 0 < trainer.state.max_steps <= trainer.state.global_step:
            raise
        return math.nan, error


def _save(
    model: PreTrainedModel, tokenizer: Tokenizer, sizes: WindowSizes, folder: str | Path
) -> None:
    # A reader reads windows of the length it was trained on.
    tokenizer.model_max_length = sizes.max_length
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    with complete_folder(folder, stale=WEIGHT_FILES) as staged:
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)


def make_examples(
    tokenizer: Tokenizer, data: ReadingData, sizes: WindowSizes
) -> list[dict[str, Any]]:
    """Return all windows of all questions, with the tokens of their answers.

    Returns:
        Dicts of `window`, `start_positions`, `end_positions`, and `input_ids`, from which the
        Trainer takes the length. Both positions are 0 if the window lacks the answer.
    """
    windows = make_windows(
        tokenizer,
        [question.text for question in data.questions],
        [data.passages[question.passage_row].text for question in data.questions],
        sizes,
    )
    examples = []
    for window in windows:
        start, text = data.questions[window.pair].answers[0]
        first, last = answer_tokens(window, start, start + len(text))
        examples.append(
            {
                "window": window,
                "start_positions": first,
                "end_positions": last,
                "input_ids": window.features["input_ids"],
            }
        )
    return examples


def answer_tokens(window: Window, start: int, end: int) -> tuple[int, int]:
    """Return the first and the last token of the characters [start, end) of the passage.

    (0, 0) unless the tokens of the window cover both `start` and `end`.
    """
    tokens = [number for number, offset in enumerate(window.offsets[:, 0]) if offset >= 0]
    if not tokens:
        return 0, 0
    starts, ends = window.offsets[tokens].T.tolist()
    if starts[0] > start or ends[-1] < end:
        return 0, 0
    # The first token that ends after `start`, and the last that starts before `end`.
    first, last = bisect_right(ends, start), bisect_left(starts, end) - 1
    return (tokens[first], tokens[last]) if first <= last else (0, 0)


def collate(examples: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Return a batch for the model: padded windows, and positions int64 (n,)."""
    batch = pad_windows([example["window"] for example in examples], tokenizer)
    for name in ("start_positions", "end_positions"):
        batch[name] = torch.tensor([example[name] for example in examples])
    return batch


def _arguments(options: ReaderTraining, folder: str) -> TrainingArguments:
    on_cpu = trains_on_cpu()
    join_ranks(on_cpu=on_cpu)
    args = TrainingArguments(
        use_cpu=on_cpu,
        output_dir=folder,
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.batch_size,
        warmup_steps=0.1,
        train_sampling_strategy="group_by_length",
        seed=options.seed,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    check_joined(args.world_size, args.device)
    return args
