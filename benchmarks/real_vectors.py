"""Real vectors, repeated with noise to any size: for stores, quantisation and mining.

    python benchmarks/real_vectors.py FOLDER    # encodes them once: a quarter of an hour

FOLDER gets passages.npy, queries.npy (float32, (n, D)) and the language of each passage and query
in passages.json and queries.json: lists of [text, language]. Texts are those of NTREX, XNLI (test),
a quarter of the Bible's verses, and the questions of MKQA, in `../shared/data`; the encoder is that
of HYBRID_FAST_REAL_ENCODER. Benchmarks read the folder that HYBRID_FAST_VECTORS names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import ROOT, commit, today, versions

from hybrid_fast.cpu import processor
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.corpora.encoded import (
    MANIFEST,
    EncodedCorpus,
    Manifest,
    shard_file,
    write_shard,
)
from hybrid_fast.retrieval.fingerprint import Fingerprint
from hybrid_fast.retrieval.stores import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

DATA = ROOT.parent / "shared" / "data"
NUM_PASSAGES, NUM_QUERIES = 150_000, 12_000
SHORTEST, LONGEST = 10, 400  # characters of a passage
# Length of the noise of a copy, its vector having length 1: a cosine of .94 to what it copies.
NOISE = 0.35
BLOCK = 4096


@dataclass(frozen=True)
class RealVectors:
    """Vectors of real texts, and as many more as are asked for.

    Attributes:
        passages: float32 (n, D), of norm 1, in random order.
        languages: of each.
        queries: float32 (m, D), of norm 1.
    """

    passages: np.ndarray
    languages: np.ndarray
    queries: np.ndarray

    @classmethod
    def load(cls) -> RealVectors:
        """Read the folder that HYBRID_FAST_VECTORS names.

        Raises:
            FileNotFoundError: it names none.
        """
        folder = Path(os.environ.get("HYBRID_FAST_VECTORS", ""))
        if not (folder / "passages.npy").is_file():
            raise FileNotFoundError(
                "HYBRID_FAST_VECTORS names no folder with passages.npy; make one by python "
                "benchmarks/real_vectors.py FOLDER"
            )
        with open(folder / "passages.json", encoding="utf-8") as file:
            languages = np.array([language for _, language in json.load(file)])
        matrices = (np.load(folder / f"{name}.npy") for name in ("passages", "queries"))
        passages, queries = (unit(matrix) for matrix in matrices)
        order = np.random.default_rng(0).permutation(len(passages))  # few rows have all languages
        return cls(passages[order], languages[order], queries)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return some of endlessly many passages: the real ones, then copies with noise.

        Returns:
            float32 (stop - start, D), of norm 1; the same whatever else is asked for.
        """
        found = np.empty((stop - start, self.passages.shape[1]), np.float32)
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first = max(start, block * BLOCK)
            last = min(stop, (block + 1) * BLOCK)
            inner = slice(first - block * BLOCK, last - block * BLOCK)
            found[first - start : last - start] = self._block(block)[inner]
        return found

    def languages_of(self, start: int, stop: int) -> list[str]:
        """Return the languages of the same."""
        return self.languages[np.arange(start, stop) % len(self.languages)].tolist()

    def _block(self, block: int) -> np.ndarray:
        rows = np.arange(block * BLOCK, (block + 1) * BLOCK)
        vectors = self.passages[rows % len(self.passages)]
        noise = np.random.default_rng([0, block]).standard_normal(vectors.shape, np.float32)
        noise *= NOISE / vectors.shape[1] ** 0.5
        are_copies = rows >= len(self.passages)
        vectors[are_copies] = unit(vectors[are_copies] + noise[are_copies])
        return vectors

    def write_corpus(self, folder: Path, size: int, shard_rows: int = 65_536) -> EncodedCorpus:
        """Write passages as an encoded corpus, ids being their numbers."""
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, size, shard_rows)
        shards = []
        for number, start in enumerate(starts):
            stop = min(start + shard_rows, size)
            ids = [str(row) for row in range(start, stop)]
            rows = Rows(ids, self.languages_of(start, stop), self.rows(start, stop))
            shards.append(write_shard(folder / shard_file(number), rows, "float32"))
        names, counts = np.unique(self.languages_of(0, size), return_counts=True)
        languages = dict(zip(names.tolist(), counts.tolist(), strict=True))
        info = vector_info(self.passages.shape[1])
        manifest = Manifest("real vectors", info, "float32", False, languages, tuple(shards), {})
        (folder / MANIFEST).write_text(json.dumps(manifest.to_dict()), encoding="utf-8")
        return EncodedCorpus(folder)


def vector_info(dimension: int) -> VectorInfo:
    fingerprint = Fingerprint("real vectors", [[1.0] * dimension])
    return VectorInfo("real vectors", fingerprint, "cosine", dimension)


def new_report(kind: str, rows: int, *packages: str, **more: Any) -> dict[str, Any]:
    """Return a report without results: of what it is, and what it was measured with.

    HYBRID_FAST_NOTE is what else a reader must know of the run: that the machine was not idle.
    """
    return {
        "kind": kind,
        "date": today(),
        "commit": commit(),
        "versions": versions(*packages),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "noise": NOISE,
        "note": os.environ.get("HYBRID_FAST_NOTE", ""),
        **more,
        "results": [],
    }


def keep(report: dict[str, Any], found: dict[str, Any], out: Path) -> None:
    """Print a result, and write the report with it."""
    print(json.dumps(found), flush=True)
    report["results"].append(found)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_passages(data: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of the passages of real data."""
    for path in sorted((data / "parallel" / "ntrex").glob("ntrex.*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield path.name.split(".")[-2], line
    for path in sorted((data / "nc" / "xnli").glob("test.*.gz")):
        for line in _gzip_lines(path):
            yield from ((path.name.split(".")[-3], part) for part in line.split("\t")[:2])
    for path in sorted((data / "parallel" / "bible").glob("bible.*.gz")):
        language = path.name.split(".")[-3]
        if language != "en-bbe":
            for line in list(_gzip_lines(path))[::4]:
                yield language, line.split("\t", 1)[1]


def read_queries(data: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of the questions of MKQA."""
    for path in sorted((data / "parallel" / "mkqa").glob("*.gz")):
        for line in _gzip_lines(path):
            record = json.loads(line)
            yield record["lang"], record["question"]


def _gzip_lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def draw(texts: Iterator[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    """Return (text, language) of some, each text once, of usual lengths."""
    found: dict[str, str] = {}
    for language, text in texts:
        if SHORTEST < len(text.strip()) < LONGEST:
            found.setdefault(text.strip(), language)
    rows = np.sort(np.random.default_rng(0).permutation(len(found))[:size])
    items = list(found.items())
    return [items[row] for row in rows]


def encode(folder: Path, encoder: str, data: Path = DATA) -> None:
    """Write the folder that `RealVectors.load` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    model = BiEncoder.from_pretrained(encoder, dtype="bf16")
    for name, texts, take in (
        ("queries", draw(read_queries(data), NUM_QUERIES), model.encode_queries),
        ("passages", draw(read_passages(data), NUM_PASSAGES), model.encode_passages),
    ):
        np.save(folder / f"{name}.npy", take([text for text, _ in texts]))
        content = json.dumps(texts, ensure_ascii=False)
        (folder / f"{name}.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    encode(parser.parse_args().folder, os.environ["HYBRID_FAST_REAL_ENCODER"])
