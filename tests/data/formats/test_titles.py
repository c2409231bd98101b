"""Titles on one side alone give the answer away: an error, unless allowed or dropped."""

import json

import pytest

from hybrid_fast.data.loading import load_table


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def record(title, *titles_of_negatives):
    """Return a record of Tevatron's form; a title of None is left out."""

    def passage(text, title):
        return {"docid": text, "text": text} | ({} if title is None else {"title": title})

    return {
        "query": "q",
        "title": title,
        "positive_passages": [passage("p", title)],
        "negative_passages": [passage(f"n{i}", each) for i, each in enumerate(titles_of_negatives)],
    }


RECORDS = {"query": "query", "passage": "positive_passages", "negatives": "negative_passages"}
TITLED = RECORDS | {"title": "title"}


def texts(table):
    return table.passages([0])[0], table.negatives([0])[0]


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (RECORDS, [record("T", None, None)], "1 passages have a title and no hard negatives have"),
        (RECORDS, [record("T", ""), record("T", None)], "2 passages have a title and no hard neg"),
        (TITLED, [record("T", ""), record("T", None)], "2 passages have a title and no hard neg"),
        (TITLED, [record("", "N", "M")], "2 hard negatives have a title and no passages have one"),
        (TITLED, [record(None, "N")] * 3, "3 hard negatives have a title and no passages have one"),
    ],
)
def test_titles_on_one_side(tmp_path, columns, rows, message):
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match=rf"a\.jsonl: {message}.*on_missing_title='drop'"):
        load_table(path, columns, lang="en")
    positive, negatives = texts(load_table(path, columns, lang="en", on_missing_title="drop"))
    assert positive == "p"
    assert all(each.startswith("n") for each in negatives)


def test_titles_on_one_side_are_kept_if_allowed(tmp_path):
    path = write(tmp_path / "a.jsonl", [record("T", None)])
    assert texts(load_table(path, RECORDS, lang="en", on_missing_title="allow")) == ("T p", ["n0"])
    path = write(tmp_path / "b.jsonl", [record(None, "N")])
    allowed = load_table(path, TITLED, lang="en", on_missing_title="allow")
    assert texts(allowed) == ("p", ["N n0"])


def test_titles_of_both_sides_or_without_negatives_are_read(tmp_path):
    path = write(tmp_path / "a.jsonl", [record("T", "N", "")])
    assert texts(load_table(path, RECORDS, lang="en")) == ("T p", ["N n0", "n1"])
    path = write(tmp_path / "b.jsonl", [record("T")])
    assert texts(load_table(path, RECORDS, lang="en")) == ("T p", [])
    path = write(tmp_path / "d.jsonl", [record(None, "N")])  # titles are not asked for
    assert texts(load_table(path, RECORDS, lang="en")) == ("p", ["n0"])
    path = write(tmp_path / "c.jsonl", [record("T", "N") | {"negative_passages": None}])
    assert texts(load_table(path, RECORDS, lang="en")) == ("T p", [])


def test_a_column_of_titles_beside_texts(tmp_path):
    row = {"query": "q", "title": "T", "passage": "p", "negatives": ["n"]}
    path = write(tmp_path / "a.jsonl", [row])
    with pytest.raises(ValueError, match="no hard negatives have one"):
        load_table(path, lang="en")
    assert texts(load_table(path, lang="en", on_missing_title="drop")) == ("p", ["n"])
    with pytest.raises(ValueError, match="on_missing_title is 'ignore'; it must be one of 'error'"):
        load_table(path, lang="en", on_missing_title="ignore")


def test_a_record_without_the_column_keeps_the_titles_of_its_passages(tmp_path):
    rows = [record("T", "N"), record("U", "M")]
    del rows[1]["title"]
    table = load_table(write(tmp_path / "a.jsonl", rows), TITLED, lang="en")
    assert table.passages([0, 1]) == ["T p", "U p"]
