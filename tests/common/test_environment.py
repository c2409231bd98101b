"""Numbers in environment variables."""

import pytest

from hybrid_fast.common.environment import whole_number


@pytest.mark.parametrize(("text", "number"), [(None, 7), ("", 7), (" ", 7), ("0", 0), (" 12 ", 12)])
def test_a_number_or_the_default(monkeypatch, text, number):
    if text is not None:
        monkeypatch.setenv("WORLD_SIZE", text)
    assert whole_number("WORLD_SIZE", 7) == number


@pytest.mark.parametrize("text", ["two", "-1", "1.5", "0x2", "²", "1_0", "0"])
def test_what_is_no_number_is_named(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(ValueError, match=f"WORLD_SIZE is '{text}'; .* of at least 1, or not set"):
        whole_number("WORLD_SIZE", 1, least=1)
