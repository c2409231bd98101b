"""Options of a call travel as integers, and come back for messages."""

from __future__ import annotations

import pytest
import torch

from hybrid_fast.ops.agreement import _decode, _encode


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("dtype", torch.bfloat16),
        ("device", "cuda"),
        ("device", "npu"),
        ("reduction", "sum"),
        ("precision", None),
        ("precision", "bf16"),
        ("backend", None),
        ("backend", "cpu"),
        ("margin", None),
        ("margin", -0.1),
        ("temperature", 0.05),
        ("embedding dimension", 768),
    ],
)
def test_an_option_survives_the_exchange(name, option):
    code = _encode(name, option)
    assert -(2**63) <= code < 2**63
    assert _decode(name, code) == option
