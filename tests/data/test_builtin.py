"""The built-in corpus is complete, unambiguous, split without leaks and cleanly written.

The texts follow from CLDR, whose names change from release to release, so their structure is
checked rather than their wording; a few facts that will not change are spelt out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

from hybrid_fast.data.builtin import COLUMNS, LANGUAGES, SPLITS, builtin_items
from hybrid_fast.data.builtin.facts import FACTS
from hybrid_fast.data.builtin.names import names
from hybrid_fast.data.builtin.templates import number_words, phrasings

OWN_DATA = Path(__file__).parents[2] / "recipes" / "own_data.jsonl"
XQUAD_R_LANGUAGES = {"ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"}
SCRIPTS = {
    "ar": ("ARABIC",),
    "el": ("GREEK",),
    "hi": ("DEVANAGARI",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    "ko": ("HANGUL",),
    "ru": ("CYRILLIC",),
    "th": ("THAI",),
    "zh": ("CJK",),
}


@pytest.fixture(scope="module", params=SPLITS)
def rows(request):
    return rows_of(request.param)


@cache
def rows_of(split):
    columns = builtin_items(split).values()
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def group_ids(split):
    return {row["group_id"] for row in rows_of(split)}


def test_the_columns_are_named_and_of_equal_length():
    for split in SPLITS:
        items = builtin_items(split)
        assert tuple(items) == COLUMNS
        assert len({len(column) for column in items.values()}) == 1


def test_it_covers_the_languages_of_xquad_r():
    assert set(LANGUAGES) >= XQUAD_R_LANGUAGES
    assert list(LANGUAGES) == sorted(LANGUAGES)


def test_it_has_the_intended_size():
    train, test = group_ids("train"), group_ids("test")
    assert 1400 <= len(train) <= 2200
    assert 200 <= len(test) <= 400
    assert 0.14 <= len(test) / (len(train) + len(test)) <= 0.20


def test_every_group_has_every_language_with_the_same_number_of_items(rows):
    counts = defaultdict(Counter)
    for row in rows:
        counts[row["group_id"]][row["lang"]] += 1
    for group, of_group in counts.items():
        assert set(of_group) == set(LANGUAGES), group
        assert len(set(of_group.values())) == 1, group


def test_training_offers_three_phrasings_and_test_one_item():
    for split, expected in (("train", 3), ("test", 1)):
        items = Counter((row["group_id"], row["lang"]) for row in rows_of(split))
        assert set(items.values()) == {expected}


def test_alternatives_differ_in_query_and_passage():
    alternatives = defaultdict(list)
    for row in rows_of("train"):
        alternatives[row["group_id"], row["lang"]].append((row["query"], row["passage"]))
    for key, pairs in alternatives.items():
        assert len({query for query, _ in pairs}) == len(pairs), key
        assert len({passage for _, passage in pairs}) >= 2, key


def test_test_questions_are_new_but_their_entities_were_seen():
    train, test = group_ids("train"), group_ids("test")
    assert not train & test
    seen = {group.rpartition("/")[0] for group in train}
    assert {group.rpartition("/")[0] for group in test} <= seen


def test_both_splits_ask_for_every_fact():
    facts = {fact.name for fact in FACTS}
    for split in SPLITS:
        assert {group.rpartition("/")[2] for group in group_ids(split)} == facts


def test_the_source_names_the_fact(rows):
    for row in rows:
        assert row["source"] == "builtin/" + row["group_id"].rpartition("/")[2]


def test_no_text_belongs_to_two_groups_of_either_split():
    for column in ("query", "passage"):
        owners = defaultdict(set)
        for split in SPLITS:
            for row in rows_of(split):
                owners[row["lang"], row[column]].add(row["group_id"])
        assert not {text: ids for text, ids in owners.items() if len(ids) > 1}


def test_no_passage_is_common_to_two_languages():
    languages = defaultdict(set)
    for row in rows_of("train") + rows_of("test"):
        languages[row["passage"]].add(row["lang"])
    assert max(len(found) for found in languages.values()) == 1


def test_query_and_passage_share_the_entity_but_differ(rows):
    for row in rows:
        kind, _, code = row["group_id"].rpartition("/")[0].partition(":")
        entity = names(kind)[code][row["lang"]]
        assert row["query"] != row["passage"]
        assert entity.casefold() in row["query"].casefold()
        assert entity.casefold() in row["passage"].casefold()


def test_texts_are_clean_sentences(rows):
    for row in rows:
        for text in (row["query"], row["passage"]):
            assert text == " ".join(text.split())
            assert not set(text) & set("{}[]0123456789")
            assert not text[0].islower()
            assert unicodedata.is_normalized("NFC", text) or row["lang"] == "hi"


@pytest.mark.parametrize("language", sorted(SCRIPTS))
def test_texts_are_in_the_script_of_their_language(language):
    for row in rows_of("test"):
        if row["lang"] == language:
            for text in (row["query"], row["passage"]):
                letters = [c for c in text if unicodedata.category(c)[0] in "LM"]
                native = [c for c in letters if unicodedata.name(c).split()[0] in SCRIPTS[language]]
                assert len(native) >= 0.8 * len(letters), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_templates_have_every_fact_and_exactly_their_placeholders(language):
    assert set(phrasings(language)) == {fact.name for fact in FACTS}
    for fact, (questions, answers) in phrasings(language).items():
        assert len(set(questions)) == len(questions) == 3, fact
        assert len(set(answers)) == len(answers) == 2, fact
        assert all(placeholders(text) == ["entity"] for text in questions), fact
        assert all(sorted(placeholders(text)) == ["answer", "entity"] for text in answers), fact


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_facts_share_a_phrasing(language):
    texts = [text for way in phrasings(language).values() for text in way.questions + way.answers]
    assert len(set(texts)) == len(texts)
    assert len(set(number_words(language).values())) == 3


def placeholders(text):
    return [field for _, field, _, _ in Formatter().parse(text) if field is not None]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("territory:JP/currency", {"en": "Japanese Yen", "de": "Japanischer Yen", "ja": "円"}),
        ("territory:BR/official_languages", {"en": "Portuguese", "ru": "португальский"}),
        ("territory:US/first_weekday", {"en": "Sunday", "fr": "dimanche", "zh": "星期日"}),
        ("territory:PL/time_zone", {"en": "Central European Standard Time"}),
        ("language:hi/script", {"en": "Devanagari", "hi": "देवनागरी"}),
        ("language:fi/spoken_in", {"en": "Finland", "es": "Finlandia", "el": "Φινλανδία"}),
        ("currency:CHF/used_in", {"de": "Liechtenstein", "fr": "Suisse", "ko": "스위스"}),
        ("currency:KWD/decimals", {"en": "three", "ar": "ثلاثة", "th": "สาม"}),
        ("currency:JPY/decimals", {"en": "zero", "tr": "sıfır", "vi": "không"}),
        ("city:Europe/Paris/country", {"en": "France", "th": "ฝรั่งเศส", "vi": "Pháp"}),
        ("city:Asia/Tokyo/local_time", {"en": "Japan Standard Time", "ko": "일본 표준시"}),
    ],
)
def test_known_facts_are_told(group, expected):
    passages = defaultdict(list)
    for split in SPLITS:
        for row in rows_of(split):
            if row["group_id"] == group:
                passages[row["lang"]].append(row["passage"])
    for language, answer in expected.items():
        assert passages[language]
        assert all(answer in passage for passage in passages[language])


def test_cities_whose_time_zone_was_renamed_are_there():
    cities = {texts["hi"] for texts in names("city").values()}
    assert cities >= {"कोलकाता", "कीव", "रंगून", "ब्यूनस आयरस"}


def test_the_split_and_texts_do_not_depend_on_the_process():
    program = (
        "import json; from hybrid_fast.data.builtin import builtin_items as items;"
        "print(json.dumps([items('train'), items('test')]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    run = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, capture_output=True, check=True
    )
    assert json.loads(run.stdout) == [builtin_items("train"), builtin_items("test")]


@pytest.mark.parametrize("split", ["dev", "Train", "", None])
def test_an_unknown_split_is_an_error(split):
    with pytest.raises(ValueError, match=r"split is .*; it must be one of 'train', 'test'"):
        builtin_items(split)


def test_the_sample_of_own_data_has_nothing_of_the_test():
    tested = builtin_items("test")
    sample = [json.loads(line) for line in OWN_DATA.read_text("utf-8").splitlines()]
    assert sample
    assert not {*tested["query"]} & {row["question"] for row in sample}
    assert not {*tested["passage"]} & {row["answer"] for row in sample}
