"""Names of languages."""

import pytest

from hybrid_fast.results.names import language_name


@pytest.mark.parametrize(
    ("code", "name"),
    [("zh", "Chinese"), ("pt-BR", "Brazilian Portuguese"), ("sr-Latn", "Serbian (Latin)")]
    + [(code, code) for code in ("xyz", "<script>", "", "../../x", "a b")],
)
def test_language_names_are_english_and_unknown_codes_stay(code, name):
    assert language_name(code) == name
