"""Tiny encoders and settings for the tests of this folder."""

import pytest
from model_folders import (  # noqa: F401
    bert_folder,
    one_thread,
    qwen_folder,
    texts,
    xlm_roberta_folder,
)

from hybrid_fast.training import token_tables


@pytest.fixture
def every_table_is_large(monkeypatch):
    """So that tables are trained as large ones are: see LazyAdamW."""
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)
