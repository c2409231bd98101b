"""What is let pass is counted, one line a kind with the place of the first; strict refuses it."""

import pytest

from hybrid_fast.data.formats.tolerance import reported


def test_one_line_a_kind(caplog):
    with reported("a.tsv") as tolerance:
        for line in (3, 7):
            tolerance.allow("empty lines, left out", f"a.tsv:{line}")
        tolerance.allow("odd grades", "a.tsv:9: grade x", 4)
        tolerance.allow("nothing", "a.tsv:1", 0)
    assert caplog.messages == [
        "a.tsv: 2 empty lines, left out (the first at 3)",
        "a.tsv: 4 odd grades (the first at 9: grade x)",
    ]


def test_strict(caplog):
    with (
        reported("a.tsv", strict=True) as tolerance,
        pytest.raises(ValueError, match=r"a\.tsv:3: strict=True does not allow empty lines"),
    ):
        tolerance.allow("empty lines", "a.tsv:3")
    assert not caplog.messages
