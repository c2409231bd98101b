"""Language codes: each spelling has one BCP-47 form; what is none is refused clearly."""

import sys
from types import ModuleType

import iso639
import language_codes
import pytest

from hybrid_fast.data import languages
from hybrid_fast.data.languages import (
    codes_meant,
    is_spelling_of,
    normalize_language,
    unite_codes,
    warn_of_merged_files,
    warn_of_merged_languages,
)


@pytest.mark.parametrize(
    ("code", "short", "full"),
    [
        ("en", "en", "en"),
        ("zh_cn", "zh", "zh-CN"),
        ("zh-Hant-TW", "zh", "zh-Hant-TW"),
        ("ZH_hant_tw", "zh", "zh-Hant-TW"),
        ("pt-br", "pt", "pt-BR"),
        ("es-419", "es", "es-419"),
        ("eng_Latn", "en", "en-Latn"),
        ("zho", "zh", "zh"),
        ("cmn", "zh", "cmn"),
        ("cmn_Hans", "zh", "cmn-Hans"),
        ("zh-yue", "yue", "yue"),
        ("no", "no", "no"),
        ("nb", "no", "nb"),
        ("nor", "no", "no"),
        ("nob_Latn", "no", "nb-Latn"),
        ("nno_Latn", "nn", "nn-Latn"),
        ("prs_Arab", "fa", "prs-Arab"),
        ("pes", "fa", "pes"),
        ("srp-Cyrl", "sr", "sr-Cyrl"),
        ("twi", "ak", "tw"),
        ("ger", "de", "de"),
        ("scc", "sr", "sr"),
        ("cat_Latn_vale1252", "ca", "ca-Latn-vale1252"),
        ("be-x-old", "be", "be-x-old"),
        ("en-uk", "en", "en-GB"),
        ("enn", "enn", "enn"),
        ("iw", "he", "he"),
        ("in", "id", "id"),
        ("sh", "sr", "sr-Latn"),
        ("ca-valencia", "ca", "ca-valencia"),
        ("de-1996", "de", "de-1996"),
        (" th ", "th", "th"),
        ("yo", "yo", "yo"),
    ],
)
def test_normal_form(code, short, full):
    assert normalize_language(code) == short
    assert normalize_language(code, keep_variants=True) == full


@pytest.mark.parametrize("code", ["ar", "bn", "de", "el", "fi", "hi", "ja", "ko", "sw", "te", "tr"])
def test_normal_form_is_fixed(code):
    assert normalize_language(normalize_language(code), keep_variants=True) == code


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("finnish", r"unknown language 'finnish'; did you mean 'fi' \(Finnish\)"),
        ("germann", r"did you mean 'de' \(German\)"),
        ("eng1", r"unknown language 'eng1'; did you mean .*'en' \(English\)"),
        ("", "unknown language ''; give a BCP-47 code"),
        ("und", "unknown language 'und'"),
        ("q1w2", "give a BCP-47 code such as 'en'"),
        ("en-bbe", "'bbe' in the language code 'en-bbe' is not a script, region or variant"),
        ("en-", "'' in the language code 'en-'"),
        ("mul", "unknown language 'mul'"),
        ("simple", "unknown language 'simple'"),
        ("eng_Latin", "'Latin' in the language code .*; did you mean 'Latn'"),
        ("zho-Hanss", "'Hanss' in the language code .*; did you mean 'Hans'"),
        ("en-x", "'en-x': 'x' needs subtags"),
        ("python-Code", "unknown language 'python-Code'"),
    ],
)
def test_unknown_code(code, message):
    with pytest.raises(ValueError, match=message):
        normalize_language(code)


def test_code_must_be_text():
    with pytest.raises(TypeError, match=r"must be text, got 7 \(int\)"):
        normalize_language(7)


KNOWN = [
    *language_codes.FLORES_200,
    *language_codes.FLORES_PLUS,
    *language_codes.BELEBELE_ROMANISED,
    *language_codes.NLLB_ONLY,
    *language_codes.MIRACL,
    *language_codes.TATOEBA,
    *language_codes.MTEB,
    *language_codes.ISO_639_2,
]


def test_codes_of_published_data_sets_have_both_forms():
    assert len(language_codes.FLORES_200) == 204
    for code in KNOWN:
        full = normalize_language(code, keep_variants=True)
        assert normalize_language(full, keep_variants=True) == full
        assert normalize_language(full) == normalize_language(code)
        assert normalize_language(normalize_language(code)) == normalize_language(code)


def test_variants_keep_all_of_flores_apart():
    codes = [*language_codes.FLORES_200, *language_codes.FLORES_PLUS]
    assert len({normalize_language(code, keep_variants=True) for code in codes}) == len(codes)


def test_every_language_of_iso_639_3_has_a_form_of_its_own():
    codes = {each.part3 for each in iso639.ALL_LANGUAGES if each.status == "A"}
    codes -= {"mis", "mul", "und", "zxx"}
    full = {normalize_language(code, keep_variants=True) for code in codes}
    assert len(full) == len(codes) > 7900
    for each in iso639.ALL_LANGUAGES:
        for code in (each.part1, each.part2b, each.part2t):
            if code and each.part3 in codes:
                assert normalize_language(code) == normalize_language(each.part3)


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_merged_codes_are_named_once_with_their_counts(caplog):
    codes = {
        "zh": {"zho_Hans": 1997, "zho_Hant": 2},
        "en": {"eng": 3, "en": 4},
        "fa": {"pes": 1, "prs": 1},
    }
    warn_of_merged_languages("flores", codes)
    assert messages(caplog) == [
        "flores: different codes became one language: 'pes' (1 rows) and 'prs' (1 rows) are now "
        "'fa'; 'zho_Hans' (1,997 rows) and 'zho_Hant' (2 rows) are now 'zh'; keep_variants=True "
        "keeps them apart"
    ]


def test_merged_files_are_counted_as_files(caplog):
    warn_of_merged_files("clef", ["zho_Hans", "zho_Hans", "zho_Hant", "de", "deu"])
    assert messages(caplog) == [
        "clef: different codes became one language: 'zho_Hans' (2 files) and 'zho_Hant' (1 files) "
        "are now 'zh'; to keep them apart, read each from a folder of its own"
    ]


def test_many_merged_codes_take_one_short_line(caplog):
    codes = {f"l{n}": {"zho_Hans": 1, "zho_Hant": 1} for n in range(20)}
    warn_of_merged_languages("all", codes)
    assert len(messages(caplog)) == 1
    assert "and so on, 20 languages in all" in messages(caplog)[0]
    assert messages(caplog)[0].count("Hans") == 8


def test_across_sources_the_usual_script_makes_no_difference(caplog):
    same = unite_codes([{"de": {"deu_Latn": 5}}, {"de": {"de": 5}}])
    warn_of_merged_languages("both", same, alike=True)
    assert messages(caplog) == []
    other = unite_codes([{"zh": {"zho_Hant": 5}}, {"zh": {"zh": 6}}, {"zh": {"zh": 7}}])
    warn_of_merged_languages("both", other, alike=True)
    assert "'zh' (13 rows) and 'zho_Hant' (5 rows) are now 'zh'" in messages(caplog)[0]


def test_what_one_source_has_merged_is_not_told_again():
    merged = {"zh": {"zho_Hant": 5, "zho_Hans": 5}, "de": {"de": 1}}
    assert unite_codes([merged, {"zh": {"zh": 1}, "de": {"de": 2}}]) == {"de": {"de": 3}}


def test_other_spellings_of_a_language_of_a_table():
    assert is_spelling_of("deu_Latn", "de")
    assert is_spelling_of("zho_Hant", "zh-Hant")
    assert not is_spelling_of("fr", "de")
    assert not is_spelling_of("xyzzy", "de")


@pytest.mark.parametrize(
    ("code", "known"),
    [
        *[("arb_Arab", "ar"), ("swh_Latn", "sw"), ("cmn", "zh"), ("pes_Arab", "fa"), ("npi", "ne")],
        *[("azj", "az"), ("khk", "mn"), ("lvs", "lv"), ("zsm", "ms"), ("uzn", "uz"), ("nob", "no")],
        *[("DE", "de"), ("zh-Hant", "zh"), ("de", "deu"), ("xyzzy", "xyzzy")],
    ],
)
def test_a_code_stands_for_the_language_that_data_have(code, known):
    assert codes_meant(code, ["en", known]) == [known]
    assert codes_meant(code, ["en"]) == []


def test_a_code_that_data_have_stands_for_itself_alone():
    known = ["zho_Hans", "zho_Hant", "yue"]
    assert codes_meant("zho_Hant", known) == ["zho_Hant"]
    assert codes_meant("zh", known) == ["zho_Hans", "zho_Hant"]
    with pytest.raises(TypeError, match="a language code must be text, got 5"):
        codes_meant(5, known)


def test_another_package_of_the_same_module_name_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "iso639", ModuleType("iso639"))
    monkeypatch.setattr(languages, "_iso_languages", languages._iso_languages.__wrapped__)
    assert normalize_language.__wrapped__("en") == "en"
    with pytest.raises(ImportError, match="install python-iso639 again"):
        normalize_language.__wrapped__("quy")
