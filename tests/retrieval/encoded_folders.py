"""Folders of encoded corpora, made without a model."""

from __future__ import annotations

import json

from store_cases import DIMENSION, draw_rows, made_info

from hybrid_fast.retrieval.corpora.encoded import MANIFEST, Manifest, write_shard


def write_corpus(folder, sizes=(30, 1, 33), first=0, dtype="float32", texts=True, **info):
    """Write shards of random vectors in three languages, with ids "doc 0", "doc 1", ..."""
    folder.mkdir(parents=True)
    shards, languages = [], {}
    for number, size in enumerate(sizes):
        rows = draw_rows(size, first, seed=100 + first, texts=texts)
        shards.append(write_shard(folder / f"shard-{number:05}.parquet", rows, dtype))
        for language in rows.languages:
            languages[language] = languages.get(language, 0) + 1
        first += size
    made = made_info(**info)
    manifest = Manifest("tiny corpus", made, dtype, texts, languages, tuple(shards), {})
    (folder / MANIFEST).write_text(json.dumps(manifest.to_dict()))
    assert made.dimension == DIMENSION
    return folder
