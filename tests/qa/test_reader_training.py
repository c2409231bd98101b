"""A reader trains: it learns two questions by heart, and saves what transformers loads."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import run_ranks
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, TrainerCallback

from hybrid_fast.common.errors import PartlyDoneError
from hybrid_fast.models import BiEncoder
from hybrid_fast.qa import (
    Reader,
    ReaderTraining,
    evaluate_reader,
    load_questions,
    train_reader,
)
from hybrid_fast.qa.training import answer_tokens, make_examples
from hybrid_fast.qa.windows import Window, WindowSizes
from hybrid_fast.training.termination import leave_process_group

CONTEXT = (
    "The river begins in the mountains and ends in the sea. "
    "Der Fluss beginnt in den Bergen und endet 1250 km weiter im Meer."
)
OPTIONS = ReaderTraining(
    max_steps=60, learning_rate=5e-3, batch_size=4, max_length=24, doc_stride=5
)


@pytest.fixture
def data(write):
    questions = {
        "a": ("Where does the river begin?", ["in the mountains"]),
        "b": ("Where ends the river?", ["the sea"]),
    }
    return load_questions([write("en.json", (CONTEXT, questions))], lang="en")


@pytest.mark.parametrize("folder", ["bert_folder", "xlm_roberta_folder", "modern_bert_folder"])
def test_two_questions_are_learnt_by_heart(folder, data, tmp_path, request):
    BiEncoder.from_pretrained(request.getfixturevalue(folder)).save_pretrained(tmp_path / "encoder")
    options = OPTIONS
    if folder == "xlm_roberta_folder":  # smaller tokens
        options = ReaderTraining(
            max_steps=80, learning_rate=5e-3, batch_size=4, max_length=64, doc_stride=15
        )
    train_reader(tmp_path / "encoder", data, tmp_path / "reader", options)
    reader = Reader.from_pretrained(tmp_path / "reader")
    assert reader.sizes.max_length == options.max_length
    scores = evaluate_reader(reader, data).scores["gold"]
    assert scores["exact_match"]["en"] == scores["f1"]["en"] == 100


def test_the_folder_loads_in_transformers(bert_folder, data, tmp_path):
    train_reader(bert_folder, data, tmp_path / "reader", OPTIONS)
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "reader").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reader")
    assert tokenizer.backend_tokenizer.truncation is None
    question, passage = data.questions[0].text, CONTEXT[:54]
    inputs = tokenizer(question, passage, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    [[span]] = Reader.from_pretrained(tmp_path / "reader").read([question], [[passage]])
    assert span.text == "in the mountains"
    first = inputs.char_to_token(span.start, sequence_index=1)
    last = inputs.char_to_token(span.end - 1, sequence_index=1)
    score = output.start_logits[0, first] + output.end_logits[0, last]
    assert score.item() == pytest.approx(span.score, abs=1e-4)


def test_a_failure_after_the_last_step_keeps_the_reader_and_one_before_does_not(
    bert_folder, data, tmp_path
):
    class Fails(TrainerCallback):
        def __init__(self, event):
            setattr(self, event, self.fail)

        def fail(self, *_, **__):
            raise OSError("no space left")

    options = ReaderTraining(max_steps=2, max_length=24, doc_stride=5)
    with pytest.raises(OSError, match=r"^no space left$"):
        train_reader(bert_folder, data, tmp_path / "early", options, [Fails("on_step_end")])
    assert not (tmp_path / "early").exists()
    with pytest.raises(PartlyDoneError, match=rf"reader is in {tmp_path / 'late'}, .* left$"):
        train_reader(bert_folder, data, tmp_path / "late", options, [Fails("on_train_end")])
    assert Reader.from_pretrained(tmp_path / "late").sizes.max_length == 24


def test_a_folder_that_cannot_be_written_is_told_before_training(bert_folder, data, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"file is a file; choose another folder$"):
        train_reader(bert_folder, data, tmp_path / "file" / "reader", OPTIONS)


def test_equal_seeds_give_equal_readers(bert_folder, data, tmp_path):
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = ReaderTraining(max_steps=3, max_length=24, seed=seed)
        train_reader(bert_folder, data, tmp_path / name, options)
        weights.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["qa_outputs.weight"], weights[2]["qa_outputs.weight"])


def train_on_ranks(rank: int, world_size: int, encoder: Path, file: Path, folder: Path) -> None:
    torch.accelerator.is_available = lambda: False  # in another process there is no fixture
    options = ReaderTraining(max_steps=3, max_length=24, batch_size=1)
    train_reader(encoder, load_questions([file], lang="en"), folder, options)
    leave_process_group()


def test_processes_of_a_launcher_train_one_reader_on_the_cpu(bert_folder, data, tmp_path):
    run_ranks(train_on_ranks, 2, bert_folder, tmp_path / "en.json", tmp_path / "two")
    read = Reader.from_pretrained(tmp_path / "two")
    assert read.read(["Where ends the river?"], [[CONTEXT]])[0][0].text in CONTEXT
    assert {path.name for path in tmp_path.iterdir()} == {"en.json", "two"}


def test_examples_point_at_the_answer_where_the_window_holds_it(bert_folder, data):
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    examples = make_examples(tokenizer, data, WindowSizes(16, 2, 8))
    found = []
    for example in examples:
        window = example["window"]
        first, last = example["start_positions"], example["end_positions"]
        if first:
            start, end = window.offsets[first, 0], window.offsets[last, 1]
            found.append((window.pair, CONTEXT[start:end], int(start)))
        else:
            assert (first, last) == (0, 0)
    assert {(0, "in the mountains", 17), (1, "the sea", 46)} == set(found)
    assert len(examples) > len(found)


@pytest.mark.parametrize(
    ("span", "tokens"),
    [
        ((4, 7), (2, 2)),
        ((4, 12), (2, 3)),
        ((5, 6), (2, 2)),  # a part of a token: the whole token
        ((5, 9), (2, 3)),
        ((13, 15), (5, 5)),
        ((7, 8), (0, 0)),  # nothing but the space between two tokens
        ((3, 7), (0, 0)),  # begins before the window
        ((13, 16), (0, 0)),  # ends after it
    ],
)
def test_tokens_of_an_answer(span, tokens):
    """A question token, "[SEP]", then tokens at 4-7, 8-12, white space, 13-15."""
    offsets = np.array([[-1, -1], [-1, -1], [4, 7], [8, 12], [-1, -1], [13, 15], [-1, -1]])
    assert answer_tokens(Window(0, {}, offsets), *span) == tokens


def test_a_window_without_the_passage_holds_no_answer():
    assert answer_tokens(Window(0, {}, np.full((3, 2), -1)), 0, 2) == (0, 0)


def test_bad_input_is_named(bert_folder, qwen_folder, data, tmp_path):
    BiEncoder.static([CONTEXT], 8, 50).save_pretrained(tmp_path / "static")
    target = tmp_path / "reader"
    with pytest.raises(ValueError, match=r"is a static encoder.*a reader needs a transformer"):
        train_reader(tmp_path / "static", data, target)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        train_reader(str(tmp_path / "no" / "such" / "folder"), data, target)
    with pytest.raises(ValueError, match="max_length is 500; the model takes from 1 to 300"):
        train_reader(bert_folder, data, target, ReaderTraining(max_length=500))
    mute = shutil.copytree(qwen_folder, tmp_path / "mute")  # a tokenizer that drops all words
    shutil.copy(bert_folder / "tokenizer.json", mute)
    with pytest.raises(ValueError, match="no template for a pair of texts"):
        train_reader(mute, data, target)
    broken = shutil.copytree(bert_folder, tmp_path / "broken")
    (broken / "tokenizer.json").unlink()
    with pytest.raises((ValueError, FileNotFoundError)):
        train_reader(broken, data, target)
    with pytest.raises(ValueError, match=r"training diverged.*lower learning_rate"):
        train_reader(bert_folder, data, target, ReaderTraining(max_steps=9, learning_rate=1e30))
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0; a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ReaderTraining(**options)
