"""Tiny encoders and settings for the tests of this folder."""

import gc

import pytest
from model_folders import (  # noqa: F401
    bert_folder,
    one_thread,
    qwen_folder,
    texts,
    xlm_roberta_folder,
)

from hybrid_fast.training import token_tables


@pytest.fixture(autouse=True, scope="session")
def libraries_are_no_garbage():
    """Every training collects garbage, and would search all that was imported for it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def every_table_is_large(monkeypatch):
    """So that tables are trained as large ones are: see LazyAdamW."""
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)
