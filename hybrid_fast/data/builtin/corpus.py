"""The items of the built-in corpus, and their split into training and test."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from hashlib import blake2b
from typing import Literal

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.builtin.facts import Group, cldr_groups
from hybrid_fast.data.builtin.templates import LANGUAGES, Phrasings, phrasings
from hybrid_fast.data.table import AlignedTable

COLUMNS = ("group_id", "lang", "query", "passage", "source")
SPLITS = ("train", "test")
TEST_SHARE = 0.18


def load_builtin(split: Literal["train", "test"] = "train") -> AlignedTable:
    """Make the built-in corpus: parallel questions and answers from Unicode CLDR facts.

    Args:
        split: "train", or "test", whose questions are new and whose entities have other facts in
            "train".

    Raises:
        ValueError: there is no such split.
    """
    return AlignedTable.from_columns(builtin_items(split))


def builtin_items(split: str) -> dict[str, list[str]]:
    """Return the items of one split of the built-in corpus; they depend on babel's version alone.

    In training, each group has one item per language and phrasing of the question; in test, one
    item per language.

    Args:
        split: "train" or "test".

    Returns:
        The columns group_id, lang, query, passage and source ("builtin/<fact>"), of equal length.

    Raises:
        ValueError: if there is no such split.
    """
    check_choice("split", split, SPLITS)
    by_language = {language: phrasings(language) for language in LANGUAGES}
    rows = []
    for group in _groups_of_splits()[split]:
        for language in LANGUAGES:
            texts = _texts(group, language, by_language[language][group.fact])
            for query, passage in texts if split == "train" else texts[:1]:
                rows.append((group.group_id, language, query, passage, f"builtin/{group.fact}"))
    return dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def _texts(group: Group, language: str, ways: Phrasings) -> list[tuple[str, str]]:
    """Return a (query, passage) for each phrasing, in an order that depends on the group's id."""
    entity, answer = group.entity[language], group.answer[language]
    shift = _digest(group.group_id)
    pairs = []
    for turn in range(shift, shift + len(ways.questions)):
        question = ways.questions[turn % len(ways.questions)]
        statement = ways.answers[turn % len(ways.answers)]
        query = question.format(entity=entity)
        passage = statement.format(entity=entity, answer=answer)
        pairs.append((_capitalize(query), _capitalize(passage)))
    return pairs


@cache
def _groups_of_splits() -> dict[str, list[Group]]:
    """Split the groups; the group with the largest digest of each entity is always for training."""
    by_entity = defaultdict(list)
    for group in cldr_groups():
        entity, _, _ = group.group_id.rpartition("/")
        by_entity[entity].append(group)
    splits: dict[str, list[Group]] = {split: [] for split in SPLITS}
    for groups in by_entity.values():
        *others, last = sorted(groups, key=lambda group: _digest(group.group_id))
        for group in others:
            is_test = _digest(group.group_id) < TEST_SHARE * 2**64
            splits["test" if is_test else "train"].append(group)
        splits["train"].append(last)
    return splits


def _digest(group_id: str) -> int:
    return int.from_bytes(blake2b(group_id.encode(), digest_size=8).digest())


def _capitalize(text: str) -> str:
    return text[0].upper() + text[1:]
