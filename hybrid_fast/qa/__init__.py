"""Extractive question answering: readers, their training, and exact match and F1."""

from hybrid_fast.qa.answers import Score, normalize_answer, score_answer
from hybrid_fast.qa.questions import ReadingData, ReadingQuestion, load_questions
from hybrid_fast.qa.reader import Reader, Span
from hybrid_fast.qa.scoring import ReadingResults, evaluate_reader
from hybrid_fast.qa.terminal import print_reading
from hybrid_fast.qa.training import ReaderTraining, train_reader

__all__ = [
    "Reader",
    "ReaderTraining",
    "ReadingData",
    "ReadingQuestion",
    "ReadingResults",
    "Score",
    "Span",
    "evaluate_reader",
    "load_questions",
    "normalize_answer",
    "print_reading",
    "score_answer",
    "train_reader",
]
