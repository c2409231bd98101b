"""Float32 products by ways that a test names, however small they are."""

from __future__ import annotations

import pytest

from hybrid_fast.cpu import compat, products, ways

LACKING = pytest.mark.skipif(not compat.has_onednn_product(), reason="torch has no oneDNN here")
WAYS = ["torch", pytest.param("onednn", marks=LACKING), "core"]


def compute_by(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let HYBRID_FAST_WAYS name the way of every product from here on."""
    monkeypatch.setenv("HYBRID_FAST_WAYS", named)
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setattr(products, "_FEWEST", 1)
