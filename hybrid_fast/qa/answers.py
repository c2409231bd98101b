"""Exact match and F1 of answers, by the rules of SQuAD 1.1 and of MLQA.

Answers are normalised: lower case, no punctuation, no articles, single spaces. Exact match is 1 if
prediction and gold answer are equal then; F1 is the harmonic mean of precision and recall of their
tokens, each counted as often as it occurs, and 0 if they share none. Of several gold answers, the
best match counts.

Both official scripts lower case as Python does, whatever the language: İstanbul and istanbul differ
there, and so do STRASSE and Straße. Where the spelling of a language needs more (Turkish,
Azerbaijani, Crimean Tatar, Gagauz, Lithuanian, Greek, German) case is folded by its rules here.

Sources: Rajpurkar et al. 2016 (evaluate-v1.1.py); Lewis et al. 2020 (mlqa_evaluation_v1.py).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.languages import normalize_if_known, normalize_language
from hybrid_fast.retrieval.case_folding import WITH_OWN_RULES, fold_case

Rules = Literal["squad", "mlqa"]
RULES = ("squad", "mlqa")
MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")

_MLQA_ARTICLES = {
    # The official pattern removes it inside words too.
    "ar": re.compile("ال"),
    "de": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "en": re.compile(r"\b(a|an|the)\b"),
    "es": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(của|là|cái|chiếc|những)\b"),
}
# Characters that are a token each. MLQA has a rule for Chinese only; the others extend it.
_CHARACTER_TOKENS = {
    "zh": re.compile("([\u4e00-\u9fa5])"),
    "ja": re.compile("([\u3040-\u30ff\u3400-\u9fff])"),
    "th": re.compile("([\u0e00-\u0e7f])"),
}


class Score(NamedTuple):
    """Exact match and F1 of one answer, from 0 to 1."""

    exact_match: float
    f1: float


def score_answer(prediction: str, answers: Sequence[str], lang: str, rules: Rules) -> Score:
    """Score a predicted answer against the gold answers of its question.

    Args:
        prediction: the predicted text; it may be empty.
        answers: the gold answers.
        lang: language code of the gold answers; SQuAD's rules need it for case alone.
        rules: "squad" or "mlqa".

    Raises:
        TypeError: if the language is no text, or the answers are one.
        ValueError: if there is no gold answer, or the language or the rules are unknown.
    """
    if isinstance(answers, str):
        raise TypeError(f"answers is the text {answers!r}; give a list of texts")
    if not answers:
        raise ValueError("there is no gold answer; leave out questions without one")
    predicted = normalize_answer(prediction, lang, rules)
    gold = [normalize_answer(answer, lang, rules) for answer in answers]
    return Score(
        exact_match=float(predicted in gold),
        f1=max(_f1(predicted.split(), answer.split()) for answer in gold),
    )


def normalize_answer(text: str, lang: str, rules: Rules) -> str:
    """Return the form in which answers are compared, tokens separated by single spaces.

    By MLQA's rules only its own seven languages have articles.

    Raises:
        TypeError: if the language is no text.
        ValueError: if the language or the rules are unknown.
    """
    check_choice("rules", rules, RULES)
    lang = normalize_language(lang)
    text = _without_case(text, lang)
    if rules == "squad":
        text = "".join(character for character in text if character not in string.punctuation)
        return " ".join(_MLQA_ARTICLES["en"].sub(" ", text).split())
    text = "".join(character for character in text if not _is_punctuation(character))
    if lang in _MLQA_ARTICLES:
        text = _MLQA_ARTICLES[lang].sub(" ", text)
    if lang in _CHARACTER_TOKENS:
        text = _CHARACTER_TOKENS[lang].sub(r" \1 ", text)
    return " ".join(text.split())


def contains_answer(passage: str, answers: Sequence[str], lang: str) -> bool:
    """Return whether a passage contains the text of a gold answer, ignoring case.

    Args:
        passage: where to look.
        answers: the gold answers.
        lang: language code of the gold answers.
    """
    passage = _without_case(passage, lang)
    return any(_without_case(answer, lang) in passage for answer in answers)


def _without_case(text: str, lang: str) -> str:
    """Return a text in lower case, as the official scripts do, or as its language needs it."""
    return fold_case(text, lang) if normalize_if_known(lang) in WITH_OWN_RULES else text.lower()


def _f1(predicted: list[str], gold: list[str]) -> float:
    num_common = (Counter(predicted) & Counter(gold)).total()
    return 2 * num_common / (len(predicted) + len(gold)) if num_common else 0.0


@lru_cache(maxsize=65_536)
def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
