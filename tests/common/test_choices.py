"""Choices: what is refused, and the hint at what was probably meant."""

import pytest

from hybrid_fast.common.choices import check_choice, nearest

KINDS = ("mono", "cross", "hybrid")


def test_a_known_name_is_returned():
    assert check_choice("kind", "cross", KINDS) == "cross"
    assert check_choice("kind", "cross", dict.fromkeys(KINDS, 1)) == "cross"


@pytest.mark.parametrize(
    ("value", "hint"),
    [("hybird", "; did you mean 'hybrid'?"), ("x", ""), (None, ""), (["mono"], "..."), (3, "")],
)
def test_another_value_is_refused_with_the_nearest_name(value, hint):
    with pytest.raises(ValueError, match="it must be one of") as caught:
        check_choice("kind", value, KINDS)
    if hint == "...":
        hint = nearest(str(value), KINDS)
    message = f"kind is {value!r}; it must be one of 'mono', 'cross', 'hybrid'{hint}"
    assert str(caught.value) == message


def test_the_nearest_name():
    assert nearest("monno", iter(KINDS)) == "; did you mean 'mono'?"
    assert nearest("zebra", KINDS) == nearest("", KINDS) == nearest("mono", []) == ""


def test_names_that_are_no_text():
    assert nearest(1, ["one", None, 11]) == "; did you mean 11?"
    assert nearest("colums", ["columns", 3]) == "; did you mean 'columns'?"
