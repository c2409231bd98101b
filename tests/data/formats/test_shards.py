"""Files by wildcards and lists: which are found, in which order, and which ids their rows get."""

import pytest

from hybrid_fast.data.formats.files import find_files, format_of, short_name


@pytest.fixture
def folder(tmp_path):
    for name in (
        *(f"part-{n}.{lang}.txt" for n in (1, 2, 10) for lang in ("de", "en")),
        *(f"{sub}/x/rows.jsonl" for sub in "ab"),
        "a/[1].csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a\n")
    return tmp_path


def names(files):
    return [file.path.name for file in files]


def test_wildcards_in_natural_order(folder):
    assert names(find_files("part-*.de.txt", folder)) == [f"part-{n}.de.txt" for n in (1, 2, 10)]
    assert names(find_files("part-?.de.txt", folder)) == ["part-1.de.txt", "part-2.de.txt"]
    assert names(find_files("part-[1-2].de.txt", folder)) == ["part-1.de.txt", "part-2.de.txt"]
    assert len(find_files("**/rows.jsonl", folder)) == 2
    assert names(find_files("a/[1].csv", folder)) == ["[1].csv"]  # its name, not a wildcard


def test_wildcards_beside_languages(folder):
    """A shard is aligned with the same shard of other languages, and with no other."""
    files = find_files("part-*.{lang}.txt", folder)
    assert [(file.lang, file.path.name) for file in files] == [
        (lang, f"part-{n}.{lang}.txt") for lang in ("de", "en") for n in (1, 2, 10)
    ]
    line_ids = [file.line_id(7) for file in files]
    assert line_ids[:3] == line_ids[3:]
    assert len(set(line_ids)) == 3
    assert len({file.row_id(7) for file in files}) == 6
    chosen = find_files("part-*.{lang}.txt", folder, languages={"de": "gsw"})
    assert [file.lang for file in chosen] == ["gsw"] * 3


def test_lists_give_each_file_ids_of_its_own(folder):
    files = find_files(["a/x/rows.jsonl", "b/x/rows.jsonl"], folder, lang="de")
    assert [file.lang for file in files] == ["de", "de"]
    assert files[0].row_id(1) != files[1].row_id(1)
    mixed = find_files(["part-1.{lang}.txt", folder / "part-2.{lang}.txt"], folder)
    assert names(mixed) == [f"part-{n}.{lang}.txt" for n in (1, 2) for lang in ("de", "en")]


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ([], {}, ValueError, "the list of paths is empty"),
        (["part-1.de.txt", "part-*.de.txt"], {}, ValueError, r"part-1\.de\.txt is named twice"),
        ("shard-*.txt", {}, FileNotFoundError, r"no file matches .*shard-\*\.txt"),
        ("part-*.{lang}.csv", {}, FileNotFoundError, "no file matches"),
        (["part-1.de.txt", "none.txt"], {}, FileNotFoundError, r"no such file: .*none\.txt"),
        (["a"], {}, FileNotFoundError, r"a is a folder; name its files, as in '.*a/\*\.jsonl'"),
        (["part-1.de.txt"], {"languages": ["de"]}, ValueError, "needs {lang} in the path"),
    ],
)
def test_bad_lists(folder, path, options, error, message):
    with pytest.raises(error, match=message):
        find_files(path, folder, **options)


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("wiki.txt.jsonl", "jsonl"),
        ("squad.json.parquet", "parquet"),
        ("rows.CSV", "csv"),
        ("rows.TSV.gz", "tsv"),
        ("rows.jsonl.zst", "jsonl"),
        ("a.json", "json"),
        ("ntrex.{lang}.txt", "bitext"),
        ("part-*.ndjson.bz2", "jsonl"),
        ("jsonl", None),
        ("rows", None),
        ("a.jsonl/rows", None),
        (["a.csv", "b.csv.gz"], "csv"),
    ],
)
def test_the_last_suffix_tells_the_format(path, format):
    assert format_of(path) == format


def test_files_of_several_formats():
    with pytest.raises(ValueError, match=r"several formats are listed together: a\.csv, b\.tsv"):
        format_of(["a.csv", "b.tsv"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/part-*.jsonl", "data/part"),
        ("data/**/*.jsonl.zst", "data"),
        ("wiki.txt.jsonl", "wiki.txt"),
        ("qa/ROWS.JSONL.GZ", "qa/ROWS"),
        (["data/part-0.jsonl", "data/part-1.jsonl"], "data/part"),
        (["a.jsonl", "b.jsonl"], "data"),
    ],
)
def test_names_of_sources(path, name):
    assert short_name(path) == name
