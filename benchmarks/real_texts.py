"""What a real encoder is measured and tested on: questions of TyDi QA GoldP, their passages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hybrid_fast.data import load_table

QUESTIONS = "tydiqa-goldp/train/{lang}.json.gz"  # in English, Korean and Swahili

HEAD = 80  # characters


def draw_tydi(data: Path, size: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return questions and their passages; no text comes twice, so all are negatives.

    Args:
        data: folder with the one of TyDi QA GoldP.
        size: how many pairs.
        seed: of the draw.
    """
    table = load_table(QUESTIONS, root=data, group_by="position")
    queries: list[str] = []
    passages: list[str] = []
    seen: set[str] = set()
    for row in np.random.default_rng(seed).permutation(len(table)):
        if len(queries) == size:
            break
        (query,), (passage,) = table.queries([row]), table.passages([row])
        if not {query, passage} & seen:
            seen |= {query, passage}
            queries.append(query)
            passages.append(passage)
    return queries, passages


def fill_up(queries: list[str], passages: list[str], size: int) -> tuple[list[str], list[str]]:
    """Return pairs and, until there are `size`, heads of their passages as queries of the rest."""
    texts = [passage for passage in passages if len(passage) > 2 * HEAD]
    cut = list({passage[:HEAD]: passage[HEAD:] for passage in texts}.items())
    more = cut[: max(size - len(queries), 0)]
    return queries + [head for head, _ in more], passages + [rest for _, rest in more]
