"""Finding and reading files: patterns, gzip, UTF-8, line ends; damage named by file and line."""

import gzip

import pytest

from hybrid_fast.data.formats.files import find_files, short_name
from hybrid_fast.data.formats.json_text import parse_json, read_json
from hybrid_fast.data.formats.lines import iter_lines


@pytest.fixture
def folder(tmp_path):
    for name in ("x.en.txt", "x.zh_cn.txt", "x.en-bbe.txt", "x.en.txt.bak", "y.de.txt"):
        (tmp_path / name).write_text("a\n", encoding="utf-8")
    return tmp_path


def test_pattern_with_chosen_languages(folder):
    files = find_files("x.{lang}.txt", folder, languages=["zh_cn", "en"])
    assert [(file.path.name, file.lang, file.name) for file in files] == [
        ("x.en.txt", "en", "en"),
        ("x.zh_cn.txt", "zh", "zh_cn"),
    ]


def test_pattern_finds_languages(folder):
    (folder / "x.en-bbe.txt").unlink()
    assert [file.lang for file in find_files("x.{lang}.txt", folder)] == ["en", "zh"]
    found = find_files(str(folder / "x.{lang}.txt"))
    assert [file.code for file in found] == ["en", "zh_cn"]


def test_language_of_a_folder(tmp_path):
    for lang in ("en", "de"):
        (tmp_path / lang).mkdir()
        (tmp_path / lang / f"{lang}.[1].txt").write_text("a\n")
    (tmp_path / "en" / "de.[1].txt").write_text("a\n")
    found = find_files("{lang}/{lang}.[1].txt", tmp_path)
    assert [file.path.relative_to(tmp_path).as_posix() for file in found] == [
        "de/de.[1].txt",
        "en/en.[1].txt",
    ]


def test_mapped_names(folder):
    files = find_files("x.{lang}.txt", folder, languages={"en-bbe": "en", "zh_cn": "zh"})
    assert [(file.path.name, file.lang) for file in files] == [
        ("x.en-bbe.txt", "en"),
        ("x.zh_cn.txt", "zh"),
    ]


def test_line_ids_are_shared_and_row_ids_are_not(folder):
    en, zh = find_files("x.{lang}.txt", folder, languages=["en", "zh_cn"])
    assert en.line_id(3) == zh.line_id(3)
    assert en.row_id(3) != zh.row_id(3)


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("x.{lang}.txt", {}, ValueError, r"en-bbe.txt: .*choose files with languages="),
        ("x.{lang}.txt", {"languages": ["fi"]}, FileNotFoundError, r"x\.fi\.txt \(language 'fi'"),
        ("x.{lang}.txt", {"lang": "en"}, ValueError, "leave out lang='en'"),
        ("z.{lang}.txt", {}, FileNotFoundError, "no file matches"),
        ("none/x.{lang}.txt", {}, FileNotFoundError, "no file matches"),
        ("x.en.txt", {"languages": ["en"]}, ValueError, "languages= needs {lang} in the path"),
        ("x.en.txt", {"lang": "xyzzy"}, ValueError, "unknown language 'xyzzy'"),
        ("x.fr.txt", {}, FileNotFoundError, "no such file: .*x.fr.txt"),
    ],
)
def test_bad_paths(folder, path, options, error, message):
    with pytest.raises(error, match=message):
        find_files(path, folder, **options)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("xquad-r/{lang}.json", "xquad-r"),
        ("a/tydi/dev/{lang}.json.gz", "tydi/dev"),
        ("ntrex/ntrex.{lang}.txt", "ntrex/ntrex"),
        ("qa/arcd.ar.json.gz", "qa/arcd.ar"),
        ("{lang}.json", "data"),
        ("owner/name", "owner/name"),
    ],
)
def test_short_name(path, name):
    assert short_name(path) == name


@pytest.mark.parametrize("compress", [False, True])
def test_only_newlines_end_lines(tmp_path, compress):
    content = "\ufeffone\r\ntwo\x1d\u2028\x85 \x0bstill two\n\nfour".encode()
    path = tmp_path / ("a.txt.gz" if compress else "a.txt")
    path.write_bytes(gzip.compress(content) if compress else content)
    assert list(iter_lines(path)) == [
        (1, "one"),
        (2, "two\x1d\u2028\x85 \x0bstill two"),
        (3, ""),
        (4, "four"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt: the file is empty"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), "a.txt.gz: the file is empty"),
        ("a.txt", b"fine\nna\xefve\n", "a.txt:2: not UTF-8 .byte 2 of the line is 0xef"),
        ("a.txt.gz", b"plain", "a.txt.gz: damaged gzip file"),
        (
            "a.txt.gz",
            gzip.compress(b"one\ntwo\n" * 99, mtime=0)[:-9],
            "a.txt.gz: damaged gzip file after",
        ),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(iter_lines(path))


def test_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a":\n [1, "\\ud83d\\ude00"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, "😀"]}
    path.write_text('{"a":\n [1,, 2]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json:2: malformed JSON: Expecting value, column 5"):
        read_json(path)
    with pytest.raises(ValueError, match=r"a\.json:7: malformed JSON"):
        parse_json("{", path, 7)
    with pytest.raises(ValueError, match=r"a\.json:7: a text holds half of a surrogate pair"):
        parse_json('["\\uD83d"]', path, 7)
    with pytest.raises(ValueError, match=r"a\.json:7: malformed JSON: .*recursion"):
        parse_json("[" * 100_000, path, 7)
    with pytest.raises(ValueError, match=r"a\.json: malformed JSON: .*digits"):
        parse_json("1" * 5000, path)
