"""Encoders that were trained with prompts and come without them: the hint names their card's."""

import logging
import shutil

import pytest

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.card_prompts import prompts_of_card

TASK = "Given a web search query, retrieve relevant passages that answer the query"


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("intfloat/multilingual-e5-small", ("query: ", "passage: ")),
        ("intfloat/e5-base-v2", ("query: ", "passage: ")),
        ("intfloat/multilingual-e5-large-instruct", (f"Instruct: {TASK}\nQuery: ", "")),
        ("intfloat/e5-mistral-7b-instruct", (f"Instruct: {TASK}\nQuery: ", "")),
        (
            "BAAI/bge-small-en-v1.5",
            ("Represent this sentence for searching relevant passages: ", ""),
        ),
        ("BAAI/bge-large-zh-v1.5", ("为这个句子生成表示以用于检索相关文章：", "")),
        ("BAAI/bge-m3", None),
        ("thenlper/gte-base", None),
        ("Alibaba-NLP/gte-multilingual-base", None),
        ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", (f"Instruct: {TASK}\nQuery: ", "")),
        ("Qwen/Qwen3-Embedding-0.6B", (f"Instruct: {TASK}\nQuery:", "")),
        ("nomic-ai/nomic-embed-text-v1.5", ("search_query: ", "search_document: ")),
        ("Snowflake/snowflake-arctic-embed-m-v2.0", ("query: ", "")),
        ("FacebookAI/xlm-roberta-base", None),
        ("/data/runs/multilingual-e5-small/checkpoint-500", ("query: ", "passage: ")),
        ("/cache/models--intfloat--e5-small/snapshots/0a1b", ("query: ", "passage: ")),
        ("/data/core5-small-talk/xlmr", None),
    ],
)
def test_prompts_by_name(tmp_path, name, prompts):
    assert prompts_of_card(name, tmp_path) == prompts


@pytest.mark.parametrize(
    ("card", "prompts"),
    [
        ("---\nbase_model: intfloat/multilingual-e5-base\n---\n", ("query: ", "passage: ")),
        ("---\nbase_model:\n- intfloat/e5-base\ntags: []\n---\n", ("query: ", "passage: ")),
        ("---\nlicense: mit\n---\n## Multilingual-E5-small\n", ("query: ", "passage: ")),
        ("# Ours\n## Compared with e5-base\n", None),
        ('Each text should start with "query: " or "passage: ".', ("query: ", "passage: ")),
        ("return f'Instruct: {task}\\nQuery:{query}'", (f"Instruct: {TASK}\nQuery:", "")),
        ("return f'Instruct: {task}\\nQuery: {query}'", (f"Instruct: {TASK}\nQuery: ", "")),
        ("# bge-m3\nOthers use: Represent this sentence for searching relevant passages:", None),
        ("# Our encoder\nIt needs no instruction.", None),
    ],
)
def test_prompts_by_the_card(tmp_path, card, prompts):
    (tmp_path / "README.md").write_text(card)
    assert prompts_of_card("ours", tmp_path) == prompts


def test_prompts_by_the_configuration(tmp_path):
    (tmp_path / "config.json").write_text('{"_name_or_path": "intfloat/e5-large"}')
    assert prompts_of_card("ours", tmp_path) == ("query: ", "passage: ")


@pytest.mark.parametrize(
    ("options", "is_hinted"),
    [({}, True), ({"query_prompt": ""}, False), ({"passage_prompt": "passage: "}, False)],
)
def test_the_hint(bert_folder, tmp_path, caplog, options, is_hinted):
    folder = shutil.copytree(bert_folder, tmp_path / "multilingual-e5-small")
    BiEncoder.from_pretrained(folder, **options)
    hints = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(hints) == is_hinted
    assert all("query_prompt='query: ' and passage_prompt='passage: '" in hint for hint in hints)


def test_no_hint_where_the_folder_has_prompts(bert_folder, tmp_path, caplog):
    model = BiEncoder.from_pretrained(bert_folder, query_prompt="query: ")
    model.save_pretrained(tmp_path / "e5-small")
    BiEncoder.from_pretrained(tmp_path / "e5-small")
    assert "model card" not in caplog.text
