"""How many rows files have, exactly where they are small and about where they are large."""

from __future__ import annotations

from operator import length_hint

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_fast.common.files import complete_file
from hybrid_fast.data.formats import corpus_size
from hybrid_fast.data.formats.corpus import open_corpus
from hybrid_fast.data.formats.corpus_size import estimate_rows

LINE = '{"_id": "%d", "lang": "de", "text": "%s"}\n'


def write(path, num_lines, end="\n", words="some words"):
    with complete_file(path) as file:
        file.write("".join(LINE % (n, words) for n in range(num_lines))[:-1] + end)
    return path


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_small_files_are_counted(tmp_path, ending, end):
    paths = [write(tmp_path / f"{n}.jsonl{ending}", n, end) for n in (1, 300)]
    pq.write_table(pa.table({"text": ["a"] * 7}), tmp_path / "c.parquet")
    assert estimate_rows([*paths, tmp_path / "c.parquet"]) == 308
    assert length_hint(open_corpus(paths[1])) == 300


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_large_files_are_estimated_from_their_start(tmp_path, monkeypatch, ending):
    words = np.random.default_rng(0).bytes(2_000_000).hex()  # which compress to a half
    paths = [tmp_path / f"{n}.jsonl{ending}" for n in range(2)]
    for path in paths:
        with complete_file(path) as file:
            file.writelines(LINE % (n, words[1000 * n :][:1000]) for n in range(4000))
    monkeypatch.setattr(corpus_size, "_BUDGET", paths[0].stat().st_size // 2)
    monkeypatch.setattr(corpus_size, "_CHUNK", 2**16)
    assert estimate_rows(paths) == pytest.approx(8000, rel=0.1)


def test_what_does_not_show_it(tmp_path):
    (tmp_path / "c.json").write_text("[]")
    (tmp_path / "c.jsonl.gz").write_bytes(b"damaged")
    assert estimate_rows([tmp_path / "c.json"]) is None
    assert length_hint(open_corpus(tmp_path / "c.jsonl.gz"), 5) == 5
