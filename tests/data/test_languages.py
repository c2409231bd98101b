"""Language codes: each spelling has one BCP-47 form; what is none is refused clearly."""

import pytest

from hybrid_fast.data.languages import normalize_language


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
        ("cmn", "zh", "zh"),
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
        ("enn", r"unknown language 'enn'; did you mean .*'en' \(English\)"),
        ("", "unknown language ''; give a BCP-47 code"),
        ("und", "unknown language 'und'"),
        ("q1w2", "give a BCP-47 code such as 'en'"),
        ("en-bbe", "'bbe' in the language code 'en-bbe' is not a script, region or variant"),
        ("en-", "'' in the language code 'en-'"),
    ],
)
def test_unknown_code(code, message):
    with pytest.raises(ValueError, match=message):
        normalize_language(code)


def test_code_must_be_text():
    with pytest.raises(TypeError, match=r"must be text, got 7 \(int\)"):
        normalize_language(7)
