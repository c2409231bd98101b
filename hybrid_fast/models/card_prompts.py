"""Prompts of well-known encoders whose folders do not hold them.

Without its prompts an E5 or Qwen3-Embedding is several points worse, and nothing tells.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.json_files import read_optional

logger = logging.getLogger(__name__)
_CARD_BYTES = 200_000
_TITLE = re.compile(r"^#{1,3} (.*)$", re.MULTILINE)
_BASE_MODEL = re.compile(r"^base_model:[ \n]*(?:- *)?(\S+)", re.MULTILINE)


class CardPrompts(NamedTuple):
    """What a model card puts before each query and each passage."""

    query: str
    passage: str = ""


_WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_E5 = CardPrompts("query: ", "passage: ")
_INSTRUCT = CardPrompts(f"Instruct: {_WEB_SEARCH}\nQuery: ")
_QWEN3 = CardPrompts(f"Instruct: {_WEB_SEARCH}\nQuery:")  # no space: its card puts none
_SENTENCE = CardPrompts("Represent this sentence for searching relevant passages: ")
_BGE_ZH = CardPrompts("为这个句子生成表示以用于检索相关文章：")
_GEMMA2 = CardPrompts(f"<instruct>{_WEB_SEARCH}\n<query>")
_NOMIC = CardPrompts("search_query: ", "search_document: ")
_EMBEDDING_GEMMA = CardPrompts("task: search result | query: ", "title: none | text: ")

# The first pattern that a name holds decides; None: its card asks for no prompt.
_NAMES: tuple[tuple[str, CardPrompts | None], ...] = (
    (r"e5-mistral-7b-instruct|multilingual-e5-\w+-instruct", _INSTRUCT),
    (r"\be5-(small|base|large)", _E5),
    (r"bge-(small|base|large)-en", _SENTENCE),
    (r"bge-(small|base|large)-zh", _BGE_ZH),
    (r"bge-multilingual-gemma2", _GEMMA2),
    (r"bge-m3", None),
    (r"gte-qwen[\d.]*-", _INSTRUCT),
    (r"\bgte-", None),
    (r"qwen3-embedding", _QWEN3),
    (r"nomic-embed-text", _NOMIC),
    (r"arctic-embed-\w+-v2", CardPrompts("query: ")),
    (r"arctic-embed|mxbai-embed-large", _SENTENCE),
    (r"embeddinggemma", _EMBEDDING_GEMMA),
)
# Where no name is known: what a card tells to put before texts.
_CARD_TEXTS: tuple[tuple[str, CardPrompts], ...] = (
    (r"Instruct: \{\w+\}(\\n|\n)Query:\{", _QWEN3),
    (r"Instruct: \{\w+\}(\\n|\n)Query: ", _INSTRUCT),
    (r"[\"'`]query: [^\0]*[\"'`]passage: ", _E5),
    (r"[\"'`]search_query: [^\0]*[\"'`]search_document: ", _NOMIC),
    (r"Represent this sentence for searching relevant passages: ?", _SENTENCE),
    (r"为这个句子生成表示以用于检索相关文章：", _BGE_ZH),
)


def hint_at_prompts(name_or_path: str, folder: Path) -> None:
    """Log the prompts that the card of an encoder without prompts asks for, if any."""
    prompts = prompts_of_card(name_or_path, folder)
    if prompts is not None:
        passage = f" and passage_prompt={prompts.passage!r}" if prompts.passage else ""
        logger.warning(
            "%s has no prompts; the model card of its family asks for query_prompt=%r%s, and it "
            "may rank worse without. Give query_prompt='' if that is intended.",
            name_or_path,
            prompts.query,
            passage,
        )


def prompts_of_card(name_or_path: str, folder: Path) -> CardPrompts | None:
    """Return the prompts that the model card of an encoder asks for; None if it asks for none.

    The encoder is recognised by its name, by the name in config.json, by the title or base model of
    the card (README.md), or else by what the text of the card says.

    Args:
        name_or_path: what was loaded.
        folder: where it lies.
    """
    card = _read_card(folder / "README.md")
    parts = Path(name_or_path).parts
    names = ["/".join(parts[-2:]), *(part for part in parts if part.startswith("models--"))]
    names.append(str(read_optional(folder / "config.json").get("_name_or_path") or ""))
    names += [found[1] for found in (_BASE_MODEL.search(card), _TITLE.search(card)) if found]
    for name in names:
        for pattern, prompts in _NAMES:
            if re.search(pattern, name.strip().lower()):
                return prompts
    return next((prompts for pattern, prompts in _CARD_TEXTS if re.search(pattern, card)), None)


def _read_card(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_CARD_BYTES).decode(errors="replace")
