"""Case is folded by the rules of the language, whatever its code looks like."""

import pytest

from hybrid_fast.retrieval.case_folding import WITH_OWN_RULES, fold_case


@pytest.mark.parametrize(
    ("language", "spellings"),
    [
        ("tr", ["İSTANBUL", "İstanbul", "istanbul", "i̇stanbul", "I\u0307stanbul"]),
        ("tr", ["ISPARTA", "Isparta", "ısparta"]),
        ("az", ["İSMAYIL", "İsmayıl", "ismayıl"]),
        ("crh", ["QIRIM", "Qırım", "qırım"]),
        ("gag", ["İLK", "İlk", "ilk"]),
        ("lt", ["RÌMAS", "Ri\u0307\u0300mas", "rìmas"]),
        ("lt", ["Į\u0307\u0301", "į\u0301", "Į\u0301"]),
        ("el", ["ΝΌΜΟΣ", "Νόμος", "νόμοσ"]),
        ("de", ["STRASSE", "Straße", "STRAẞE", "strasse"]),
        ("en", ["ISTANBUL", "Istanbul", "istanbul"]),
    ],
)
def test_spellings_that_differ_in_case_alone_are_equal(language, spellings):
    assert len({fold_case(text, language) for text in spellings}) == 1


def test_letters_that_differ_stay_apart():
    assert fold_case("ISPARTA", "tr") != fold_case("isparta", "tr")
    assert fold_case("ISPARTA", "en") == fold_case("isparta", "en")
    assert fold_case("İl", "tr") != fold_case("ıl", "tr")


@pytest.mark.parametrize("code", ["tr", "TR", "tur", "tr_TR", "tr-Latn", "tr-Latn-TR"])
def test_any_spelling_of_the_code_gives_its_rules(code):
    assert fold_case("IĞDIR", code) == "ığdır"


def test_an_unknown_language_has_the_general_rules():
    assert fold_case("IßΣ", "no-such-language") == "issσ"


def test_every_language_with_rules_of_its_own_differs_from_plain_lower_case():
    differing = "İßςi\u0307\u0300"
    for language in WITH_OWN_RULES:
        assert fold_case(differing, language) != differing.lower()
