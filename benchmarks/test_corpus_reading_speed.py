"""Reading a corpus: a hundred thousand passages of TyDi QA as ids, languages and checked texts.

Baselines: what parses the format alone, as plainly as Python lets it: json a line, rows of Parquet
by pyarrow, csv. Beyond that ours checks places, languages and unique ids.
"""

from __future__ import annotations

import csv
import json
from collections import deque

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_texts import draw_tydi
from side_by_side import side_by_side

from hybrid_fast import open_corpus
from hybrid_fast.retrieval import TextsById

pytestmark = pytest.mark.full
NUM_ROWS = 100_000
ROUNDS_S = 12


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory):
    """One corpus in three formats."""
    _, passages = draw_tydi(shared_data, 5000)
    rows = [
        {"_id": f"{n}#0", "title": "", "text": passages[n % len(passages)], "lang": "en"}
        for n in range(NUM_ROWS)
    ]
    made = tmp_path_factory.mktemp("corpus")
    (made / "a.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    pq.write_table(pa.Table.from_pylist(rows), made / "a.parquet")
    with (made / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return made


def plain_jsonl(path):
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def plain_parquet(path):
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1024):
            yield from batch.to_pylist()


def plain_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@pytest.mark.parametrize("plain", [plain_jsonl, plain_parquet, plain_csv])
def test_reading(benchmark, headline, folder, plain):
    format = plain.__name__.removeprefix("plain_")
    path = folder / f"a.{format}"
    assert sum(len(text.text) for text in open_corpus(path)) == sum(
        len(row["text"].strip()) for row in plain(path)
    )
    ways = {
        "ours": lambda: deque(open_corpus(path), maxlen=0),
        "the format alone": lambda: deque(plain(path), maxlen=0),
    }
    seconds = side_by_side(benchmark, ways, ROUNDS_S)
    headline("corpus", f"{format}, {NUM_ROWS:,} rows", "s", seconds.pop("ours"), seconds)


def test_texts_by_id(benchmark, headline, folder):
    texts = TextsById(open_corpus(folder / "a.jsonl"), folder)
    ids = [f"{n * 7919 % NUM_ROWS}#0" for n in range(NUM_ROWS)]
    assert None not in texts.texts(ids)
    known = {text.id: text.text for text in open_corpus(folder / "a.jsonl")}
    ways = {"ours": lambda: texts.texts(ids), "a dict": lambda: [known.get(each) for each in ids]}
    seconds = side_by_side(benchmark, ways, ROUNDS_S)
    headline("corpus", f"{NUM_ROWS:,} texts by id", "s", seconds.pop("ours"), seconds)
