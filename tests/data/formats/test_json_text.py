"""Records of JSON files in every shape, with the line of each; arrays are read piece by piece."""

import json

import pytest

from hybrid_fast.data.formats import json_text
from hybrid_fast.data.formats.json_text import is_squad_shaped, iter_json_records
from hybrid_fast.data.formats.tolerance import Tolerance, reported

ROWS = [{"n": 0, "text": "ä, ] \\ {"}, {"n": 1, "deep": [{"a": [1, 2]}]}, {"n": 2}]
SHAPES = {
    "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
    "lines, blank ones too": "\n \n" + "\n\n".join(json.dumps(row) for row in ROWS) + "\n\n",
    "array": json.dumps(ROWS),
    "array over lines": json.dumps(ROWS, indent=2),
    "array after a blank line": "\n\n " + json.dumps(ROWS, indent=1) + "\n",
    "data": json.dumps({"data": ROWS}),
    "data over lines": json.dumps({"version": "1", "data": ROWS}, indent=2),
}


@pytest.mark.parametrize("piece", [1, 2**16])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_records(tmp_path, monkeypatch, shape, piece):
    monkeypatch.setattr(json_text, "_PIECE", piece)
    path = tmp_path / "a.json"
    path.write_text(SHAPES[shape], encoding="utf-8")
    assert [record for _, record in iter_json_records(path)] == ROWS


def test_lines_of_records(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[\n {"a": 1},\n\n {"a":\n 2}\n]\n')
    assert list(iter_json_records(path)) == [(2, {"a": 1}), (4, {"a": 2})]
    path.write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert list(iter_json_records(path)) == [(2, {"a": 1}), (4, {"a": 2})]


def test_objects_that_hold_no_records(tmp_path):
    """One record is itself, though it has a field "data" of something else."""
    path = tmp_path / "a.json"
    for record in ({"data": [1, 2]}, {"data": "x"}, {"a": 1}):
        path.write_text(json.dumps(record))
        assert list(iter_json_records(path)) == [(1, record)]
    path.write_text('{\n "a": 1\n}\n')
    assert list(iter_json_records(path)) == [(1, {"a": 1})]
    path.write_text('{"data": [{"b": 1}]}\n{"data": []}\n')
    assert [record for _, record in iter_json_records(path)] == [{"data": [{"b": 1}]}, {"data": []}]
    path.write_text(" \n")
    assert list(iter_json_records(path)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"a": 1},\n{"a" 2}\n]', r"a\.json:3: malformed JSON: Expecting ':'"),
        ('[\n{"a": 1}\n{"a": 2}\n]', r"a\.json:3: malformed JSON: expecting ','"),
        ('[\n{"a": 1},\n]', r"a\.json:3: malformed JSON: a value must follow the comma"),
        ('[\n{"a": 1}\n', r"a\.json:3: malformed JSON: expecting ','"),
        ('[{"a": 1}]\n[]', r"a\.json:2: malformed JSON: something follows the array"),
        ('[{"a": 1},\n3]', r"a\.json:2: must be a JSON object, got '3'"),
        ('[{"a": "\\ud83d"}]', r"a\.json:1: a text holds half of a surrogate pair"),
        ('{"a": 1}\n3\n', r"a\.json:2: must be a JSON object, got '3'"),
        ('{\n"a": 1,\n}', r"a\.json:\d: malformed JSON"),
        ('{\n"a": 1\n}\n{\n"a": 2\n}', r"a\.json:4: malformed JSON: Extra data"),
        ("text", r"a\.json:1: malformed JSON"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        list(iter_json_records(path))


def test_large_arrays_are_not_read_whole(tmp_path, monkeypatch):
    """The first record comes before the file is read to its end."""
    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write("[\n")
        file.writelines(f'{{"n": {n}}},\n' for n in range(50_000))
        file.write('{"n": -1}\n]\n')
    taken, read = [], json_text.iter_lines

    def counted(path):
        for number, line in read(path):
            taken.append(number)
            yield number, line

    monkeypatch.setattr(json_text, "iter_lines", counted)
    records = iter_json_records(path)
    assert next(records) == (2, {"n": 0})
    assert len(taken) < 20_000
    *_, last = records
    assert last == (50_002, {"n": -1})


def test_squad_is_known_by_its_paragraphs(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"version": "1.1",\n "data": [{"title": "t",\n "paragraphs": []}]}')
    assert is_squad_shaped(path)
    path.write_text('[{"query": "paragraphs"}]')
    assert not is_squad_shaped(path)


@pytest.mark.parametrize("text", ['\n\n{"a": 1}\n', '{"a": 1}\n\n  \n'])
def test_empty_lines_among_records_are_counted(tmp_path, caplog, text):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with reported(path) as tolerance:
        assert [record for _, record in iter_json_records(path, tolerance)] == [{"a": 1}]
    assert "a.jsonl: 2 empty lines, left out (the first at" in caplog.text
    with pytest.raises(ValueError, match=r"a\.jsonl:\d: strict=True does not allow empty lines"):
        list(iter_json_records(path, Tolerance(path, strict=True)))


def test_empty_lines_within_an_array_are_its_layout(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\n[\n\n{"a": 1}\n\n]\n')
    assert list(iter_json_records(path, Tolerance(path, strict=True))) == [(4, {"a": 1})]
