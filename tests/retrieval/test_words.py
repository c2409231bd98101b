"""Words: divided by ICU in languages with and without spaces, and a clear message without it."""

import sys

import pytest

from hybrid_fast.retrieval.words import split_words


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("Die Größe-Frage: 3.5 KM!", "de", ["die", "grösse", "frage", "3.5", "km"]),
        ("ประเทศไทยใช้สกุลเงินอะไร", "th", ["ประเทศไทย", "ใช้", "สกุล", "เงิน", "อะไร"]),
        ("日本の首都は東京です。", "ja", ["日本", "の", "首都", "は", "東京", "です"]),
        ("中国的首都是北京市。", "zh", ["中国", "的", "首都", "是", "北京市"]),
        ("대한민국의 수도는?", "ko", ["대한민국의", "수도는"]),
        ("भारत की राजधानी", "hi", ["भारत", "की", "राजधानी"]),
        ("ＡＢＣ ﬁn", "en", ["abc", "fin"]),
        ("a b", "no-such-language", ["a", "b"]),
        ("?! ...", "en", []),
        ("", "th", []),
    ],
)
def test_words(text, language, words):
    assert split_words(text, language) == words


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(ImportError, match=r"needs icu4py.*pip install 'hybrid_fast\[baselines\]'"):
        split_words("a", "en")
