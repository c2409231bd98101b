"""Models of a query and a text made of tiny encoders: readers and cross-encoders."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)


def as_reader(folder: Path, target: Path) -> Path:
    """Save the encoder of a folder with random question-answering weights that tell spans apart."""
    torch.manual_seed(1)
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    torch.nn.init.normal_(model.qa_outputs.weight)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target


def as_cross_encoder(folder: Path, target: Path, num_labels: int = 1) -> Path:
    """Save the encoder of a folder with a random head that scores pairs."""
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target
