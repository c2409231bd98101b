"""Passages and hard negatives in the forms in which training data of others has them."""

import json

import pytest

from hybrid_fast.data import load_table
from hybrid_fast.data.formats.files import find_files
from hybrid_fast.data.formats.tabular import read_tabular

TEVATRON = {
    "query_id": "1",
    "query": "q",
    "positive_passages": [
        {"docid": "7", "title": "T", "text": "p"},
        {"docid": 8, "title": "", "text": "p2"},
    ],
    "negative_passages": [
        {"docid": "9", "title": "U", "text": "n"},
        {"docid": "10", "text": "n2"},
    ],
}
FLAG = {"query": "q", "pos": ["p", "p2"], "neg": ["n", "n2"], "pos_scores": [1, 2]}


def read(tmp_path, records, columns=None, name="a.jsonl", **options):
    path = tmp_path / name
    if isinstance(records, list):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        path.write_text(records)
    format = name.rpartition(".")[2]
    return list(
        read_tabular(find_files(path, lang="en"), format=format, columns=columns, **options)
    )


def test_records_of_passages(tmp_path):
    """Tevatron, Mr. TyDi, MIRACL: titles and ids come along, and negatives get their titles too."""
    columns = {
        "group_id": "query_id",
        "query": "query",
        "passage": "positive_passages",
        "negatives": "negative_passages",
    }
    items = read(tmp_path, [TEVATRON], columns)
    assert [(i.group_id, i.query, i.passage, i.title, i.passage_id) for i in items] == [
        ("1", "q", "p", "T", "7"),
        ("1", "q", "p2", None, "8"),
    ]
    assert items[0].negatives == items[1].negatives == ["U n", "n2"]


@pytest.mark.parametrize("negatives", ["negative_passages.text", "negative_passages.*.text"])
def test_paths_through_lists(tmp_path, negatives):
    columns = {
        "query": "query",
        "passage": "positive_passages.text",
        "passage_id": "positive_passages.docid",
        "negatives": negatives,
    }
    items = read(tmp_path, [TEVATRON], columns)
    assert [(i.passage, i.passage_id, i.title) for i in items] == [
        ("p", "7", None),
        ("p2", "8", None),
    ]
    assert items[0].negatives == ["n", "n2"]


def test_negatives_get_no_title_where_passages_have_none(tmp_path):
    columns = {
        "query": "query",
        "passage": "positive_passages.0.text",
        "negatives": "negative_passages",
    }
    (item,) = read(tmp_path, [TEVATRON], columns)
    assert (item.title, item.negatives) == (None, ["n", "n2"])


def test_several_queries_of_one_passage(tmp_path):
    items = read(tmp_path, [{"query": ["a", "b"], "passage": ["p"], "passage_id": 3}])
    assert [(i.query, i.passage, i.passage_id) for i in items] == [("a", "p", "3"), ("b", "p", "3")]


def test_several_positives_are_alternatives(tmp_path):
    columns = {"query": "query", "passage": "pos", "negatives": "neg"}
    items = read(tmp_path, [FLAG, {**FLAG, "query": "r", "pos": ["x"]}], columns)
    assert [(i.query, i.passage) for i in items] == [("q", "p"), ("q", "p2"), ("r", "x")]
    assert items[0].group_id == items[1].group_id != items[2].group_id
    table = load_table(tmp_path / "a.jsonl", columns, lang="en")
    assert len(table) == 3
    assert table.negatives([1]) == [["n", "n2"]]


@pytest.mark.parametrize(
    ("record", "column", "negatives"),
    [
        ({"negative": "n"}, "negative", ["n"]),
        ({"negative": ["n", "m"]}, "negative", ["n", "m"]),
        ({"negative": {"text": "n", "docid": 3}}, "negative", ["n"]),
        ({"negative_1": "n", "negative_2": "m"}, ["negative_1", "negative_2"], ["n", "m"]),
        ({"negative_1": "n", "negative_2": None}, ["negative_1", "negative_2"], ["n"]),
        (
            {"negative_1": ["n", "m"], "negative_2": "o"},
            ("negative_1", "negative_2"),
            ["n", "m", "o"],
        ),
        ({"negative": None}, "negative", None),
        ({"negative": ""}, "negative", None),
        ({"negative": []}, "negative", []),
    ],
)
def test_forms_of_negatives(tmp_path, record, column, negatives):
    columns = {"query": "anchor", "passage": "positive", "negatives": column}
    (item,) = read(tmp_path, [{"anchor": "a", "positive": "p", **record}], columns)
    assert item.negatives == negatives


def test_negatives_of_csv(tmp_path):
    """A cell is a text, an empty one is missing, and a list that is written out is a list."""
    columns = {"query": "anchor", "passage": "positive", "negatives": "negative"}
    rows = (
        "anchor,positive,negative\na,p,n\nb,p,\n"
        'c,p,"[\'n\', \'m\']"\nd,p,"[""n"", ""m""]"\ne,p,[1]\n'
    )
    items = read(tmp_path, rows, columns, "a.csv")
    assert [item.negatives for item in items] == [["n"], None, ["n", "m"], ["n", "m"], ["[1]"]]
    several = {**columns, "negatives": ["n1", "n2"]}
    items = read(tmp_path, "anchor,positive,n1,n2\na,p,x,\nb,p,,y\nc,p,,\n", several, "a.csv")
    assert [item.negatives for item in items] == [["x"], ["y"], None]


def test_rows_without_negatives(tmp_path, caplog):
    columns = {"query": "query", "passage": "pos.0", "negatives": "neg"}
    rows = [{"query": "q", "pos": ["p"]}, FLAG]
    assert [item.negatives for item in read(tmp_path, rows, columns)] == [None, ["n", "n2"]]
    assert not caplog.messages
    with pytest.raises(ValueError, match=r"a\.jsonl:1: field 'negs' is missing.*; no row has it"):
        read(tmp_path, rows, {**columns, "negatives": "negs"})


def test_empty_texts(tmp_path, caplog):
    columns = {"query": "query", "passage": "pos", "negatives": "neg"}
    rows = [
        {"query": "q", "pos": ["p", " "], "neg": ["n", ""]},
        {"query": "q", "pos": [], "neg": ["n"]},
        {"query": "q", "pos": [""], "neg": ["n"]},
    ]
    for row, message in zip(
        rows, ("field 'pos' is empty; on", "'pos' is empty", "'pos'"), strict=True
    ):
        with pytest.raises(ValueError, match=rf"a\.jsonl:1: field {message}|{message}"):
            read(tmp_path, [row], columns)
    with pytest.raises(ValueError, match="'neg' is empty in one of its texts; on_empty='skip'"):
        read(tmp_path, [{**FLAG, "neg": ["n", ""]}], columns)
    (item,) = read(tmp_path, rows, columns, on_empty="skip")  # as the messages say
    assert (item.passage, item.negatives) == ("p", ["n"])
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "left out 1 hard negatives that are empty",
        "left out 2 rows with an empty text",
    ]
    columns["passage"] = "pos.0"
    assert read(tmp_path, rows[1:], columns, on_empty="skip") == []
    with pytest.raises(ValueError, match=r"field 'pos\.0' is empty; on_empty='skip'"):
        read(tmp_path, rows[1:], columns)


@pytest.mark.parametrize(
    ("record", "columns", "message"),
    [
        (FLAG, None, r"try columns=\{'query': 'query', 'passage': 'pos', 'negatives': 'neg'\}"),
        ({"anchor": "a", "positive": "p"}, None, r"columns=\{'query': 'anchor', 'passage': 'posit"),
        (TEVATRON, {"query": "query", "passage": "negative_passages.docid.x"}, "is missing"),
        (FLAG, {"query": "query", "passage": "pos_scores"}, "'pos_scores' must be text, got 1"),
        ({**FLAG, "pos": [{"x": 1}]}, {"query": "query", "passage": "pos"}, "without 'text' or"),
        (
            {**FLAG, "id": ["1"]},
            {"passage": "pos", "passage_id": "id"},
            "has 1 values, but .* 2 pas",
        ),
        ({"query": ["a", "b"], "passage": ["p", "r"]}, None, "has 2 queries and 2 passages, and"),
        ({"query": "a", "negatives": [3]}, None, "field 'negatives' must be text, got 3"),
    ],
)
def test_bad_records(tmp_path, record, columns, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, [record], columns)


def test_hints_of_columns_are_true(tmp_path):
    columns = {"query": "anchor", "passage": "positive", "negatives": "negative"}
    record = {"anchor": "a", "positive": "p", "negative": "n"}
    with pytest.raises(ValueError, match=r"missing column 'query' or 'passage'") as caught:
        read(tmp_path, [record])
    assert str(caught.value).endswith(f"try columns={columns}")
    (item,) = read(tmp_path, [record], columns)
    assert item.negatives == ["n"]
