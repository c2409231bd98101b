"""Whatever a file holds, a parser gives a value, or a ValueError or OSError that names the file."""

import bz2
import gzip
import io
import json
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutate, refusal

from hybrid_fast.data import load_table
from hybrid_fast.data.formats.collection import iter_passages
from hybrid_fast.data.formats.squad import iter_paragraphs
from hybrid_fast.data.formats.topics import read_topics
from hybrid_fast.data.formats.trec_runs import read_qrels, read_run

ROWS = [
    {"group_id": f"g{n}", "lang": "de", "query": f"wo ist ä {n}", "passage": f"hinter {n} ö"}
    for n in range(3)
]
NEGATIVES = [
    {
        "query": f"q{n}",
        "positive_passages": [{"docid": str(n), "title": "t", "text": f"p{n}"}],
        "negative_passages": [{"docid": f"-{n}", "title": "u", "text": f"n{n}"}] * n,
    }
    for n in range(3)
]
COLUMNS = {"query": "query", "passage": "positive_passages", "negatives": "negative_passages"}
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "Die Brücke steht.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "Was steht?",
                            "answers": [{"text": "Brücke", "answer_start": 4}],
                        }
                    ],
                }
            ]
        }
    ]
}
DOCUMENTS = (
    "<DOC>\n<DOCNO> d1 </DOCNO>\n<TITLE>A &amp; B</TITLE>\n<TEXT>\nOne.\n</TEXT>\n</DOC>\n" * 2
)
TOPICS = "<top>\n<num> 1 </num>\n<DE-title> Brücke </DE-title>\n</top>\n"
FLAT = {
    "id": "1",
    "question": "q",
    "context": "c d",
    "answers": {"text": ["d"], "answer_start": [2]},
}


def lines(records):
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records).encode()


def parquet(rows, **options):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **options)
    return file.getvalue()


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def table(path, **options):
    return load_table(path, **{"lang": "de", **options})


def passages(path):
    return list(iter_passages([path]))


JSONL = lines(ROWS)
CSV = b"query,passage\n" + '"say ""ä""","a, b"\nq,"two\nlines"\n'.encode()
PARSERS = {
    "rows.jsonl": (JSONL, load_table),
    "rows.jsonl.gz": (gzip.compress(JSONL, mtime=0), load_table),
    "rows.jsonl.bz2": (bz2.compress(JSONL), load_table),
    "rows.jsonl.xz": (lzma.compress(JSONL), load_table),
    "rows.jsonl.zst": (zstd(JSONL), load_table),
    "array.json": (json.dumps(ROWS, indent=1).encode(), load_table),
    "data.json": (json.dumps({"data": ROWS}).encode(), load_table),
    "negatives.jsonl": (lines(NEGATIVES), lambda path: table(path, columns=COLUMNS)),
    "rows.csv": (CSV, table),
    "rows.tsv": ("query\tpassage\nä\tb\nc\td\n".encode(), table),
    "rows.parquet": (parquet(ROWS, compression="snappy", use_dictionary=False), load_table),
    "squad.json": (json.dumps(SQUAD).encode(), table),
    "flat.jsonl": (lines([FLAT]), lambda path: list(iter_paragraphs(path))),
    "text.txt": ("eins ä\nzwei\n".encode(), table),
    "corpus.jsonl": (lines([{"_id": "1", "title": "", "text": "ä"}] * 2), passages),
    "corpus.tsv": (b'id\ttext\ttitle\n1\t"a ""b"""\tT\n', passages),
    "corpus.trec": (DOCUMENTS.encode(), passages),
    "topics.tsv": ("1\tBrücke\n2\tMühle\n".encode(), read_topics),
    "topics.xml": (TOPICS.encode(), read_topics),
    "queries.jsonl": (lines([{"_id": "1", "text": "ä"}, {"_id": "2", "text": "b"}]), read_topics),
    "qrels.txt": (b"1 0 d1 1\n1 0 d2 0\n2 Q0 d1 2\n", read_qrels),
    "qrels.tsv": (b"query-id\tcorpus-id\tscore\n1\td1\t1\n2\td2\t0.5\n", read_qrels),
    "run.txt": (b"1 Q0 d1 1 2.5 tag\n1 Q0 d2 2 -1e3 tag\n", read_run),
}


def check(path, content, parse):
    path.write_bytes(content)
    message = refusal(parse, path)
    assert message is None or path.name in message, content


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_copies(tmp_path, name):
    content, parse = PARSERS[name]
    path, chance = tmp_path / name, random.Random(0)
    path.write_bytes(content)
    parse(path)  # it is whole before it is damaged
    for _ in range(200):
        check(path, mutate(content, chance), parse)


@settings(max_examples=3 * settings.default.max_examples)
@given(st.sampled_from(sorted(PARSERS)), st.randoms(use_true_random=False))
def test_other_damaged_copies(tmp_path_factory, name, chance):
    content, parse = PARSERS[name]
    check(tmp_path_factory.mktemp("damaged") / name, mutate(content, chance), parse)
