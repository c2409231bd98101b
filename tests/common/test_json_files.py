"""JSON files: what cannot be read is named with file and line."""

import pytest

from hybrid_fast.common.json_files import read_json, read_optional, write_json


def test_what_is_written_is_read(tmp_path):
    content = {"prompt": "Größe: ", "lengths": [1, 2]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json", dict) == read_optional(tmp_path / "a.json") == content
    assert "Größe" in (tmp_path / "a.json").read_text("utf-8")
    assert read_optional(tmp_path / "b.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"a" 1}', r"a\.json:2: malformed JSON: "),
        (b'{"a": "\xff"}', r"a\.json: not UTF-8 text: "),
        (b"[]", r"a\.json holds a list; a dict is needed"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json", dict)


def test_anything_that_json_holds(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    assert read_json(tmp_path / "a.json", object) == [1]
