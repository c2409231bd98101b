"""Small collections in the forms in which MIRACL, Mr. TyDi, BEIR and TREC are published."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from hybrid_fast.reporting import print_results, write_report


class OneHot:
    """Encodes a text by the first digit in it: a query finds the passages of its number."""

    def encode(self, texts):
        numbers = [int(next(char for char in text if char.isdigit())) for text in texts]
        return np.eye(10, dtype=np.float32)[numbers]


def write(path: Path, content: str) -> Path:
    """Write a file, gzipped by its name, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def lines(records) -> str:
    """JSON Lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def show(results, folder: Path) -> str:
    """Save results, draw their report, and return what is printed of them."""
    results.save(folder / "results")
    write_report([results.to_dict()], folder / "report")
    console = Console(file=io.StringIO(), width=200)
    print_results([results.to_dict()], console)
    return console.file.getvalue()


def write_miracl(folder: Path, languages=("sw", "yo"), count=12) -> Path:
    """As on the hub: topics and judgements in one data set, passages in shards in another.

    Query n has the relevant passage n#0 and the irrelevant n#1; there are `count` articles, the
    numbers of which have one digit for the first 10.
    """
    for lang in languages:
        name = f"miracl-v1.0-{lang}"
        write(
            folder / name / "topics" / f"topics.{name}-dev.tsv",
            "".join(f"{n}\t{lang} question {n}?\n" for n in range(5)),
        )
        write(
            folder / name / "qrels" / f"qrels.{name}-dev.tsv",
            "".join(f"{n}\tQ0\t{n}#{part}\t{1 - part}\n" for n in range(5) for part in range(2)),
        )
        for shard in range(count):
            passages = [
                {"docid": f"{shard}#{part}", "title": f"Title {shard}", "text": f"Part {part}."}
                for part in range(2)
            ]
            corpus = folder / f"miracl-corpus-v1.0-{lang}"
            write(corpus / f"docs-{shard}.jsonl.gz", lines(passages))
    return folder
