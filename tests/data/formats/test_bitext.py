"""Parallel text: pairs of translations and of neighbours, documents, missing verses, alignment."""

import pytest

from hybrid_fast.data.formats.bitext import read_bitext
from hybrid_fast.data.formats.files import find_files


def read(folder, pattern="t.{lang}.txt", lang=None, **options):
    return list(read_bitext(find_files(pattern, folder, lang), **options))


@pytest.fixture
def lines(tmp_path):
    (tmp_path / "t.en.txt").write_text('one "a"\r\ntwo\r\none "a"\r\nfour\r\n', encoding="utf-8")
    (tmp_path / "t.de.txt").write_text("eins\nzwei\ndrei\nvier\n", encoding="utf-8")
    (tmp_path / "docs").write_text("d1\nd1\nd2\nd2\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def verses(tmp_path):
    (tmp_path / "b.en.tsv").write_text("G.1.1\ta\nG.1.2\tb\nG.1.3\tc\nG.2.1\td\n")
    (tmp_path / "b.de.tsv").write_text("G.1.1\tA\nG.1.3\tC\nG.2.1\tD\n")
    return tmp_path


def test_a_sentence_with_itself(lines):
    items = read(lines)
    assert [(item.lang, item.query) for item in items[:5]] == [
        ("de", "eins"),
        ("de", "zwei"),
        ("de", "drei"),
        ("de", "vier"),
        ("en", 'one "a"'),
    ]
    assert all(item.query == item.passage for item in items)
    assert [item.group_id for item in items[:4]] == [item.group_id for item in items[4:]]
    assert len({item.group_id for item in items}) == 4


def test_texts_equal_in_one_language_share_their_passage_in_all(lines):
    ids = [item.passage_id for item in read(lines)]
    assert ids[0] == ids[2] == ids[4] == ids[6]
    assert len(set(ids)) == 3


def test_neighbours_stay_in_their_document(lines):
    items = read(lines, pair="next", documents=lines / "docs")
    assert [(item.lang, item.query, item.passage) for item in items] == [
        ("de", "eins", "zwei"),
        ("de", "drei", "vier"),
        ("en", 'one "a"', "two"),
        ("en", 'one "a"', "four"),
    ]
    assert items[0].group_id == items[2].group_id != items[1].group_id == items[3].group_id
    same = {item.passage: item.passage_id for item in read(lines)}
    assert [item.passage_id for item in items] == [same[item.passage] for item in items]


def test_a_language_without_a_verse_lacks_its_items(verses):
    items = read(verses, "b.{lang}.tsv", fields=("id", "text"))
    assert [item.group_id for item in items] == [
        *("G.1.1", "G.1.3", "G.2.1"),
        *("G.1.1", "G.1.2", "G.1.3", "G.2.1"),
    ]


def test_neighbouring_verses_of_a_chapter(verses):
    options = {"fields": ("id", "text"), "pair": "next", "document_separator": "."}
    items = read(verses, "b.{lang}.tsv", **options)
    assert [item[:4] for item in items] == [
        ("G.1.1>G.1.3", "de", "A", "C"),  # no group with the English pairs: other verses
        ("G.1.1>G.1.2", "en", "a", "b"),
        ("G.1.2>G.1.3", "en", "b", "c"),
    ]
    assert items[0].passage_id == items[2].passage_id


def test_columns_of_two_languages(tmp_path):
    (tmp_path / "en-es.tsv").write_text("1\thello\thola\t-\n2\tbye\tadios\t-\n")
    (tmp_path / "en-de.tsv").write_text("1\thello\thallo\t-\n2\tgood bye\ttschüss\t-\n", "utf-8")
    items = read(tmp_path, "en-{lang}.tsv", fields=["id", "en", "text", "-"])
    assert sorted((item.group_id, item.lang, item.query) for item in items) == [
        ("1", "de", "hallo"),
        ("1", "en", "hello"),
        ("1", "es", "hola"),
        ("2", "de", "tschüss"),
        ("2", "en", "bye"),
        ("2", "en", "good bye"),
        ("2", "es", "adios"),
    ]
    assert len({item.passage_id for item in items if item.group_id == "2"}) == 1


def test_two_columns_without_pattern_or_id(tmp_path):
    (tmp_path / "pairs.tsv").write_text("hello\thola\nbye\tadios\n")
    items = read(tmp_path, "pairs.tsv", fields=["en", "es"])
    assert [(item.lang, item.query) for item in items] == [
        ("en", "hello"),
        ("en", "bye"),
        ("es", "hola"),
        ("es", "adios"),
    ]
    assert items[0].group_id == items[2].group_id


def test_alternatives_of_a_verse_pair_with_their_neighbours(tmp_path):
    (tmp_path / "b.x.tsv").write_text("1.1\ta\n1.2\tb\n")
    (tmp_path / "b.y.tsv").write_text("1.1\tA\n1.2\tb\n")
    files = find_files("b.{lang}.tsv", tmp_path, languages={"x": "en", "y": "en"})
    options = {"fields": ("id", "text"), "pair": "next", "document_separator": "."}
    pairs = [(item.query, item.passage) for item in read_bitext(files, **options)]
    assert pairs == [("a", "b"), ("A", "b")]


def test_files_must_be_aligned(lines):
    (lines / "t.de.txt").write_text("eins\nzwei\n")
    with pytest.raises(ValueError, match=r"not aligned.*t\.de\.txt': 2, .*t\.en\.txt': 4"):
        read(lines)
    (lines / "t.de.txt").unlink()
    (lines / "docs").write_text("d1\n")
    with pytest.raises(ValueError, match=r"not aligned.*docs': 1"):
        read(lines, pair="next", documents=lines / "docs")


def test_empty_line(lines, caplog):
    (lines / "t.de.txt").write_text("eins\n \ndrei\nvier\n")
    with pytest.raises(ValueError, match=r"t\.de\.txt:2: field 'text' is empty"):
        read(lines)
    items = read(lines, on_empty="skip")
    assert [item.query for item in items][:3] == ["eins", "drei", "vier"]
    assert len({item.group_id for item in items}) == 4
    assert "t.de.txt: left out 1 empty texts" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": "next"}, "pair='next' needs to know where documents end"),
        ({"pair": "nxt"}, "pair is 'nxt'; it must be one of 'same', 'next'; did you mean 'next'"),
        ({"fields": "text"}, "fields must name each tab-separated field"),
        ({"fields": ["id"]}, "fields must name each tab-separated field"),
        ({"fields": ["id", "text", "text"]}, "fields must name each tab-separated field"),
        ({"fields": ["id", "klingonese"]}, "unknown language 'klingonese'"),
        ({"fields": ["id", "text"], "documents": "docs"}, "documents= is for lines without ids"),
        ({"document_separator": "."}, "document_separator= needs 'id' in fields"),
        ({"fields": ["id", "text"]}, r"t\.de\.txt:1: has 1 tab-separated fields, but .* names 2"),
        ({"on_empty": "drop"}, "on_empty is 'drop'; it must be one of"),
    ],
)
def test_bad_options(lines, options, message):
    with pytest.raises(ValueError, match=message):
        read(lines, **options)


def test_bad_files(tmp_path):
    path = tmp_path / "b.tsv"
    path.write_text("1\ta\n1\tb\n")
    with pytest.raises(ValueError, match=r"b\.tsv:2: field 'id': '1' occurs twice"):
        read(tmp_path, "b.tsv", "en", fields=("id", "text"))
    with pytest.raises(ValueError, match=r"b\.tsv: the language is unknown"):
        read(tmp_path, "b.tsv", fields=("id", "text"))
    path.write_text("1\ta\n \tb\n")
    with pytest.raises(ValueError, match=r"b\.tsv:2: field 'id' is empty"):
        read(tmp_path, "b.tsv", "en", fields=("id", "text"))


def test_shards_are_aligned_each_with_its_translation(tmp_path):
    for n in (1, 2):
        for lang in ("de", "en"):
            text = "".join(f"{lang} {n} {line}\n" for line in range(n))
            (tmp_path / f"part-{n}.{lang}.txt").write_text(text)
    groups = {}
    for item in read_bitext(find_files("part-*.{lang}.txt", tmp_path)):
        groups.setdefault(item.group_id, []).append(item.query)
    assert sorted(groups.values()) == [
        ["de 1 0", "en 1 0"],
        ["de 2 0", "en 2 0"],
        ["de 2 1", "en 2 1"],
    ]
    (tmp_path / "part-2.de.txt").write_text("de\n")
    with pytest.raises(ValueError, match=r"not aligned; .*part-2\.de\.txt': 1, .*en\.txt': 2"):
        list(read_bitext(find_files("part-*.{lang}.txt", tmp_path)))
    (tmp_path / "documents").write_text("a\na\n")
    with pytest.raises(ValueError, match="documents= is for one file a language, but there are 2"):
        list(
            read_bitext(
                find_files("part-*.{lang}.txt", tmp_path),
                pair="next",
                documents=tmp_path / "documents",
            )
        )
