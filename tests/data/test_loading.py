"""One door to all readers: formats told by names, options checked, and the real data counted."""

import json
from collections import Counter

import datasets
import pytest
from passage_ids import passage_text_id

from hybrid_fast.data.loading import load_table, load_tables
from hybrid_fast.data.table import AlignedTable


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    rows = [{"group_id": f"g{n}", "query": f"q{n}", "passage": f"p{n // 2}"} for n in range(4)]
    write_jsonl(tmp_path / "set" / "train.en.jsonl", rows)
    write_jsonl(tmp_path / "set" / "train.de.jsonl", [row | {"passage": "P"} for row in rows[:3]])
    (tmp_path / "t.en.txt").write_text("one\ntwo\n")
    (tmp_path / "t.de.txt").write_text("eins\nzwei\n")
    (tmp_path / "docs").write_text("d\nd\n")
    return tmp_path


def test_pattern_source_and_kinds(folder):
    table = load_table("set/train.{lang}.jsonl", root=folder, kinds=["mono", "cross"])
    assert isinstance(table, AlignedTable)
    assert table.languages == ("de", "en")
    assert table.sources == ("set/train",)
    assert table.group_codes.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert table.kind_mask.tolist() == [3] * 7
    assert load_table(folder / "set/train.en.jsonl", lang="fi", source="s").sources == ("s",)


def test_limit_keeps_whole_groups(folder):
    table = load_table("set/train.{lang}.jsonl", root=folder, limit=2)
    assert table.dataset["group_id"][:] == ["set/train:g0", "set/train:g1"] * 2
    with pytest.raises(
        ValueError, match="limit must be a whole number of groups, at least 1, got 0"
    ):
        load_table("set/train.{lang}.jsonl", root=folder, limit=0)


def test_parallel_passages_share_ids_through_every_language(folder):
    columns = {"group_id": "group_id", "query": "query", "passage": "passage"}
    options = {"root": folder, "columns": columns, "parallel_passages": True}
    table = load_table("set/train.{lang}.jsonl", **options)
    # en: g0 = g1, g2 = g3; de: g0 = g1 = g2; so all are one
    assert table.passage_codes.tolist() == [0] * 7
    alone = load_table("set/train.en.jsonl", lang="en", **options)
    assert alone.passage_codes.tolist() == [0, 0, 1, 1]
    assert alone.dataset["passage_id"][0] == passage_text_id("p0")
    columns["passage_id"] = "group_id"
    with pytest.raises(ValueError, match="the rows already have some"):
        load_table("set/train.en.jsonl", lang="en", **options)


def test_parallel_passages_pass_over_rows_without_passage(tmp_path):
    rows = [{"query": "q"}, {"passage": "p"}, {"query": "r", "passage": "p"}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert load_table(path, lang="en", parallel_passages=True).passage_codes.tolist() == [-1, 0, 0]


def test_bitext_documents_start_at_root(folder):
    table = load_table("t.{lang}.txt", root=folder, pair="next", documents="docs")
    assert table.queries([0, 1]) == ["eins", "one"]
    assert table.passages([0, 1]) == ["zwei", "two"]


def test_bitext_with_itself_serves_cross_alone(folder):
    table = load_table("t.{lang}.txt", root=folder)
    assert table.kind_mask.tolist() == [2] * 4


def test_text_with_ids(tmp_path):
    (tmp_path / "b.en.tsv").write_text("1\ta\n2\tb\n")
    table = load_table("b.{lang}.tsv", root=tmp_path, format="bitext", source="b")
    assert table.dataset["group_id"][:] == ["b:1", "b:2"]


def test_folder_is_loaded_by_datasets(folder, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    (folder / "set" / "train.de.jsonl").unlink()
    table = load_table("set", root=folder, lang="en", split="train[:3]")
    assert table.queries([0, 2]) == ["q0", "q2"]
    assert table.sources == ("set",)


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("set/missing.jsonl", {}, FileNotFoundError, r"no such file: .*missing\.jsonl"),
        ("a/b/c", {}, FileNotFoundError, "no such file or folder: .*a/b/c"),
        ("docs", {"lang": "en"}, ValueError, "cannot tell the format of 'docs'.*give format="),
        (
            "t.{lang}.txt",
            {"format": "text"},
            ValueError,
            "is 'text'; it must be one of 'jsonl', ",
        ),
        ("t.{lang}.txt", {"piar": "next"}, TypeError, "no option 'piar'; .*did you mean 'pair'"),
        ("t.{lang}.txt", {"limits": 3}, TypeError, "no option 'limits'; .*did you mean 'limit'"),
        ("t.{lang}.txt", {"columns": {"query": 0}}, TypeError, "bitext reader has no option 'col"),
        ("t.{lang}.txt", {"kinds": ["hybrid"]}, ValueError, "kinds must be a list of some of"),
        ("t.{lang}.txt", {"kinds": "mono"}, ValueError, "kinds must be a list of some of"),
        ("set", {"languages": ["en"]}, ValueError, "languages= is for paths with {lang}"),
        ("empty.jsonl", {"lang": "en"}, ValueError, r"empty\.jsonl: holds no usable row"),
    ],
)
def test_bad_calls(folder, path, options, error, message):
    (folder / "empty.jsonl").write_text("\n")
    with pytest.raises(error, match=message):
        load_table(path, root=folder, **options)


def test_sources_of_a_recipe(folder):
    specs = [
        {"path": "set/train.{lang}.jsonl", "limit": 1},
        {"path": "t.{lang}.txt", "source": "text", "kinds": ["cross"]},
    ]
    table = load_tables(specs, folder)
    assert table.sources == ("set/train", "text")
    assert table.group_codes.tolist() == [0, 0, 1, 2, 1, 2]
    assert specs[0] == {"path": "set/train.{lang}.jsonl", "limit": 1}


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        ([], ValueError, "needs at least one source"),
        ([{"limit": 3}], ValueError, "source 1: needs a 'path'"),
        (["t.en.txt"], ValueError, "source 1: needs a 'path'"),
        ([{"path": "t.{lang}.txt"}, {"path": "x.txt"}], FileNotFoundError, r"source 2 \(x\.txt\)"),
        ([{"path": "t.{lang}.txt", "fold": 1}], TypeError, r"source 1 .* no option 'fold'"),
    ],
)
def test_bad_sources(folder, specs, error, message):
    with pytest.raises(error, match=message):
        load_tables(specs, folder)


def write_parallel(folder, *codes):
    for code in codes:
        (folder / f"f.{code}.txt").write_text(f"{code} one\n{code} two\n")


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_files_that_become_one_language_are_named(tmp_path, caplog):
    write_parallel(tmp_path, "zho_Hans", "zho_Hant", "deu_Latn")
    table = load_table(tmp_path / "f.{lang}.txt")
    assert table.languages == ("de", "zh")
    (message,) = messages(caplog)
    assert "'zho_Hans' (2 rows) and 'zho_Hant' (2 rows) are now 'zh'" in message
    assert "keep_variants=True keeps them apart" in message
    caplog.clear()
    kept = load_table(tmp_path / "f.{lang}.txt", keep_variants=True)
    assert kept.languages == ("de-Latn", "zh-Hans", "zh-Hant")
    assert messages(caplog) == []


def test_fields_columns_and_mapped_names_that_become_one_language_are_named(tmp_path, caplog):
    (tmp_path / "b.tsv").write_text("1\tna\tnei\n")
    load_table(tmp_path / "b.tsv", format="bitext", fields=["id", "nob_Latn", "nor_Latn"])
    rows = [{"group_id": "1", "lang": lang, "query": lang} for lang in ("pt-PT", "pt-BR")]
    load_table(write_jsonl(tmp_path / "c.jsonl", rows))
    write_parallel(tmp_path, "a", "b")
    load_table(tmp_path / "f.{lang}.txt", languages={"a": "srp_Cyrl", "b": "srp_Latn"})
    found = messages(caplog)
    for message, codes in zip(
        found, (("nob_Latn", "nor_Latn"), ("pt-BR", "pt-PT"), ("srp_Cyrl", "srp_Latn")), strict=True
    ):
        assert all(
            f"{code!r} (1 rows)" in message or f"{code!r} (2 rows)" in message for code in codes
        )


def test_sources_that_become_one_language_are_named(tmp_path, caplog):
    write_parallel(tmp_path, "x", "y", "z")
    specs = [
        {"path": f"f.{name}.txt", "lang": lang, "source": "flores"}
        for name, lang in (("x", "zho_Hans"), ("y", "zho_Hant"), ("z", "deu_Latn"), ("z", "de"))
    ]
    load_tables(specs, tmp_path)
    (message,) = messages(caplog)
    assert "'zho_Hans' (2 rows) and 'zho_Hant' (2 rows) are now 'zh'" in message
    assert "deu_Latn" not in message
    caplog.clear()
    kept = [spec | {"keep_variants": True} for spec in specs]
    assert load_tables(kept, tmp_path).languages == ("de", "de-Latn", "zh-Hans", "zh-Hant")
    assert messages(caplog) == []


def languages(table):
    return Counter(table.languages[code] for code in table.language_codes)


def num_groups(table):
    return len(set(table.group_codes))


@pytest.mark.parametrize("passage", ["context", "sentence", "window"])
def test_real_xquad_r(shared_data, passage):
    chosen = None if passage == "context" else ["th", "tr", "zh"]
    options = {"passage": passage, "parallel_paragraphs": passage != "sentence"}
    table = load_table("xquad-r/{lang}.json", root=shared_data, languages=chosen, **options)
    expected = chosen or "ar de el en es hi ru th tr vi zh".split()
    assert languages(table) == dict.fromkeys(expected, 1190)
    assert num_groups(table) == 1190
    if passage != "sentence":
        assert len(set(table.passage_codes)) == 240
    if passage == "window":
        assert max(map(len, table.passages(range(len(table))))) <= 270


def test_real_mlqa_r(shared_data):
    table = load_table("nc/mlqa-r-sample/{lang}.json", root=shared_data, passage="sentence")
    assert languages(table) == {"de": 40, "en": 40}
    assert num_groups(table) == 40


@pytest.mark.parametrize(
    ("path", "options", "counts"),
    [
        ("arcd.ar.json.gz", {"lang": "ar", "on_bad_answer": "skip"}, 1395 - 6),
        ("drcd-dev.zh.json.gz", {"lang": "zh"}, 3524),
        ("cmrc2018-dev.zh.json.gz", {"lang": "zh", "on_bad_answer": "relocate"}, 3219),
        (
            "cmrc2018-trial.zh.json.gz",
            {"lang": "zh", "on_bad_answer": "relocate", "on_empty": "skip"},
            1002 - 2,
        ),
        ("iapp-valid.th.jsonl.gz", {"lang": "th", "format": "squad"}, 742),
    ],
)
def test_real_questions(shared_data, path, options, counts):
    table = load_table(f"qa/{path}", root=shared_data, passage="window", **options)
    assert len(table) == num_groups(table) == counts


@pytest.mark.parametrize("path", ["arcd.ar.json.gz", "cmrc2018-dev.zh.json.gz"])
def test_real_bad_answers_are_named(shared_data, path):
    with pytest.raises(ValueError, match=rf"{path}, paragraph .* field 'answer_start': "):
        load_table(f"qa/{path}", root=shared_data, lang="zh")


def test_real_tydi(shared_data):
    dev = load_table("tydiqa-goldp/dev/{lang}.json.gz", root=shared_data)
    assert languages(dev) == {"bn": 113, "fi": 782, "ko": 276, "sw": 499, "te": 669}
    assert num_groups(dev) == 2339
    path = "tydiqa-goldp/train/{lang}.json.gz"
    with pytest.raises(ValueError, match="ids belong to several questions"):
        load_table(path, root=shared_data, languages=["ko"])
    train = load_table(path, root=shared_data, languages=["ko"], group_by="position")
    assert len(train) == num_groups(train) == 1625


def test_real_tabular(shared_data):
    options = {"columns": {"group_id": "@line", "query": 1, "passage": 0}, "limit": 300}
    xnli = load_table(
        "nc/xnli/dev.{lang}.tsv.gz", root=shared_data, parallel_passages=True, **options
    )
    assert set(languages(xnli).values()) == {300}
    assert len(xnli.languages) == 11
    assert len(set(xnli.passage_codes)) == 100  # three hypotheses a premise
    columns = {"query": 0, "passage": 1}
    squad = load_table("qa/squad-nqg-test.en.tsv.gz", root=shared_data, lang="en", columns=columns)
    assert len(squad) == 11877
    columns = {"group_id": "id", "query": "title", "passage": "description"}
    path = "parallel/tldr/tldr.{lang}.jsonl.gz"
    tldr = load_table(path, root=shared_data, columns=columns, on_empty="skip")
    assert languages(tldr)["en"] == 3272 - 4
    assert num_groups(tldr) == 3268


def test_real_mkqa(shared_data):
    table = load_table(
        "parallel/mkqa/dev.{lang}.jsonl.gz",
        root=shared_data,
        columns={"group_id": "id", "query": "question"},
        group_pattern=r"^(-?\d+)_",
    )
    assert languages(table) == dict.fromkeys("ar en es fi ja ko ru tr zh".split(), 1758)
    assert num_groups(table) == 1758
    assert not table.has_passage.any()


def test_real_bitext(shared_data):
    options = {"root": shared_data, "languages": ["el", "vi"]}
    bible = load_table("parallel/bible/bible.{lang}.tsv.gz", format="bitext", **options)
    assert languages(bible) == {"el": 31092, "vi": 31091}
    tico = load_table(
        "parallel/tico19/en-{lang}.tsv.gz",
        format="bitext",
        root=shared_data,
        fields=["id", "en", "text"],
    )
    assert languages(tico) == {"en": 3071 + 7} | dict.fromkeys(["ar", "es", "hi", "ru", "zh"], 3071)
    assert num_groups(tico) == 3071


def test_real_neighbours_of_news(shared_data):
    options = {"pair": "next", "documents": "parallel/ntrex/DOCUMENT_IDS.tsv"}
    table = load_table(
        "parallel/ntrex/ntrex.{lang}.txt", root=shared_data, languages=["de", "hi"], **options
    )
    lines = (shared_data / "parallel/ntrex/DOCUMENT_IDS.tsv").read_text().splitlines()
    assert len(lines) == 1997
    assert languages(table) == dict.fromkeys(["de", "hi"], 1997 - len(set(lines)))
    assert table.kind_mask.min() == 7
