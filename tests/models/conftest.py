"""Tiny encoders for the tests of this folder."""

from model_folders import (  # noqa: F401
    bert_folder,
    one_thread,
    qwen_folder,
    texts,
    xlm_roberta_folder,
)
