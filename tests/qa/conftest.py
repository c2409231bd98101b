"""Tiny encoders and readers, and SQuAD-shaped files, made here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folders import (  # noqa: F401
    SIZES,
    bert_folder,
    one_thread,
    qwen_folder,
    saved,
    xlm_roberta_folder,
)
from pair_models import as_reader
from transformers import (
    AutoTokenizer,
    ModernBertConfig,
    ModernBertModel,
)


@pytest.fixture(scope="session")
def modern_bert_folder(bert_folder, tmp_path_factory) -> Path:  # noqa: F811
    """ModernBERT: its question-answering head has a layer of its own before the logits."""
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=300, pad_token_id=0, **SIZES
    )
    return saved(ModernBertModel, config, tokenizer, tmp_path_factory.mktemp("modern_bert"))


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
