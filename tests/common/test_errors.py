"""What failed later does not hide what is safe."""

import pytest

from hybrid_fast.common.errors import PartlyDoneError, describe, kept


def test_the_message_says_what_is_safe_and_what_failed():
    message = r"^the model is in m, but then .* failed: no disk$"
    with pytest.raises(PartlyDoneError, match=message):
        with kept("the model is in m"):
            raise OSError("no disk")


def test_an_inner_message_stays_as_it_is():
    with pytest.raises(PartlyDoneError, match=r"^inner$") as caught:
        with kept("outer"):
            raise PartlyDoneError("inner")
    assert caught.value.__cause__ is None


def test_nothing_happens_without_an_error_and_interruptions_pass():
    with kept("all"):
        pass
    with pytest.raises(KeyboardInterrupt):
        with kept("all"):
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("alpha is 2"), "alpha is 2"),
        (KeyError("cell"), "KeyError: 'cell'"),
        (RuntimeError("boom"), "RuntimeError: boom"),
        (MemoryError(), "MemoryError"),
        (OSError(), "OSError"),
    ],
)
def test_the_class_is_named_unless_the_message_was_written_for_users(error, text):
    assert describe(error) == text
