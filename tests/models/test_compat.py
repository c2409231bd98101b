"""What is taken from the inside of transformers: read where it is, done without where it is not."""

from types import SimpleNamespace

import pytest

from hybrid_fast.models.compat import uses_flash_attention


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"_attn_implementation": "flash_attention_2"}, True),
        ({"_attn_implementation": "kernels-community/flash-attn2"}, True),
        ({"_attn_implementation": "sdpa"}, False),
        ({"_attn_implementation": None}, False),
        ({}, False),
    ],
)
def test_flash_attention_is_found_and_its_absence_is_the_padded_way(config, expected):
    assert uses_flash_attention(SimpleNamespace(config=SimpleNamespace(**config))) is expected
