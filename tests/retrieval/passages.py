"""Passages in three languages, and queries that share words with them."""

import numpy as np

from hybrid_fast.data.formats.corpus import CorpusText

WORDS = "cat dog sea ship moon sun tree bird rain wind stone fire".split()
LANGUAGES = ("de", "en", "zh-Hant")


def draw_texts(num, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 5)) for _ in range(num)]


PASSAGES = [
    CorpusText(f"p{number}", LANGUAGES[number % 3], text)
    for number, text in enumerate(draw_texts(60))
]
TEXTS = {each.id: each.text for each in PASSAGES}
QUERIES = draw_texts(7, seed=1)
