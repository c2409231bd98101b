"""Tiny encoders and readers, and SQuAD-shaped files, made here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model_folders import bert_folder, one_thread, xlm_roberta_folder  # noqa: F401
from transformers import AutoModelForQuestionAnswering, AutoTokenizer


def as_reader(folder: Path, target: Path) -> Path:
    """Save the encoder of a folder with random question-answering weights that tell spans apart."""
    torch.manual_seed(1)
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    torch.nn.init.normal_(model.qa_outputs.weight)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target


@pytest.fixture(scope="session")
def bert_reader_folder(bert_folder, tmp_path_factory) -> Path:  # noqa: F811
    return as_reader(bert_folder, tmp_path_factory.mktemp("bert_reader"))


@pytest.fixture(scope="session")
def xlm_roberta_reader_folder(xlm_roberta_folder, tmp_path_factory) -> Path:  # noqa: F811
    return as_reader(xlm_roberta_folder, tmp_path_factory.mktemp("xlmr_reader"))


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Write a file of paragraphs (context, {question id: (question, answer texts)})."""

    def write_file(name: str, *paragraphs: tuple[str, dict[str, tuple[str, list[str]]]]) -> Path:
        content = [
            {
                "context": context,
                "qas": [
                    {
                        "id": question_id,
                        "question": question,
                        "answers": [
                            {"text": text, "answer_start": max(context.find(text), 0)}
                            for text in answers
                        ],
                    }
                    for question_id, (question, answers) in questions.items()
                ],
            }
            for context, questions in paragraphs
        ]
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"data": [{"paragraphs": content}]}), encoding="utf-8")
        return path

    return write_file
