"""Records of several languages become items of one group, whatever the format."""

import csv
import json

import datasets
import pytest

from hybrid_fast import HybridBatchSampler
from hybrid_fast.data.loading import load_table

COLUMNS = {
    "query": {"en": "english", "de": "german"},
    "passage": {"en": "answer_en", "de": "answer_de"},
}
ROWS = [
    {
        "english": f"bridge {n}",
        "german": f"Brücke {n}",
        "answer_en": f"stone {n}",
        "answer_de": f"Stein {n}",
        "key": f"k{n}",
    }
    for n in range(6)
]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path, rows):
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path


def texts(table):
    rows = zip(*(table.dataset[name] for name in ("lang", "query", "passage")), strict=True)
    return list(rows)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl", write_jsonl), ("a.csv", write_csv), ("a.parquet", write_parquet)],
)
def test_a_column_a_language_in_every_format(tmp_path, name, write):
    table = load_table(write(tmp_path / name, ROWS), COLUMNS)
    assert texts(table)[:3] == [
        ("en", "bridge 0", "stone 0"),
        ("de", "Brücke 0", "Stein 0"),
        ("en", "bridge 1", "stone 1"),
    ]
    assert table.group_codes.tolist() == [n for n in range(6) for _ in range(2)]
    sampler = HybridBatchSampler(table, batch_size=4, alpha=0.5)
    for step in range(4):
        batch = sampler.batch(step)
        for query, passage in zip(
            table.queries(batch.query_rows), table.passages(batch.passage_rows), strict=True
        ):
            assert query.split()[1] == passage.split()[1]
            english = (query.startswith("bridge"), passage.startswith("stone"))
            assert (english[0] == english[1]) == (batch.kind == "mono")


def test_fields_by_position_and_ids(tmp_path):
    (tmp_path / "a.tsv").write_text("g1\tone\teins\ng2\ttwo\tzwei\n")
    table = load_table(
        tmp_path / "a.tsv", {"group_id": 0, "query": {"en": 1, "de": 2}, "passage": {"de": 2}}
    )
    assert texts(table) == [
        ("en", "one", None),
        ("de", "eins", "eins"),
        ("en", "two", None),
        ("de", "zwei", "zwei"),
    ]
    assert table.group_codes.tolist() == [0, 0, 1, 1]


def test_a_pair_of_two_columns_in_two_languages(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS)
    table = load_table(path, {"query": {"en": "english"}, "passage": {"de": "german"}})
    assert texts(table)[:2] == [("en", "bridge 0", None), ("de", None, "Brücke 0")]
    sampler = HybridBatchSampler(table, batch_size=4, kind="cross")
    batch = sampler.batch(0)
    assert table.queries(batch.query_rows)[0].startswith("bridge")
    assert table.passages(batch.passage_rows)[0].startswith("Brücke")


def test_columns_without_a_language_are_in_the_language_of_the_file(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS[:1])
    columns = {"query": COLUMNS["query"], "passage": "answer_en", "passage_id": "key"}
    expected = [("en", "bridge 0", "stone 0"), ("de", "Brücke 0", None)]
    table = load_table(path, columns, lang="eng_Latn")
    assert texts(table) == expected
    assert table.dataset["passage_id"][0].endswith(":k0")
    rows = write_jsonl(tmp_path / "b.jsonl", [ROWS[0] | {"spoken": "en"}])
    assert texts(load_table(rows, columns | {"lang": "spoken"})) == expected
    with pytest.raises(ValueError, match=r"language of the column 'answer_en' is unknown; .*lang="):
        load_table(path, columns)


def test_texts_titles_and_negatives_by_language(tmp_path):
    rows = [
        {
            "q": {"en": "one", "de": "eins"},
            "p": {"en": "1", "de": "I"},
            "t": {"en": "T", "de": None},
            "n": {"en": ["2"], "de": ["II", "III"]},
        }
    ]
    columns = {"query": "q", "passage": "p", "title": "t", "negatives": "n"}
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match="1 passages have a title and no hard negatives"):
        load_table(path, columns)
    table = load_table(path, columns, on_missing_title="allow")
    assert table.languages == ("de", "en")
    assert table.negatives([0, 1]) == [["2"], ["II", "III"]]
    assert table.dataset["title"][:] == ["T", None]


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_translation_field_of_a_hub_data_set(tmp_path, write):
    rows = [{"translation": {"en": f"b {n}", "de": f"B {n}" if n else None}} for n in range(3)]
    path = write(tmp_path / ("a.jsonl" if write is write_jsonl else "a.parquet"), rows)
    table = load_table(path, {"query": "translation", "passage": "translation"})
    assert texts(table)[:2] == [("en", "b 0", "b 0"), ("en", "b 1", "b 1")]
    assert len(table) == 5
    assert set(table.kind_mask) == {2}  # equal query and passage: cross alone


def test_translations_as_two_lists(tmp_path):
    rows = [
        {
            "hypothesis": {"language": ["en", "de"], "translation": ["h", "H"]},
            "premise": {"en": "p", "de": "P"},
        }
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    table = load_table(path, {"query": "hypothesis", "passage": "premise"})
    assert texts(table) == [("en", "h", "p"), ("de", "H", "P")]


def test_a_missing_translation_is_no_item_and_an_empty_one_is_an_error(tmp_path):
    sparse = [dict(ROWS[0]), {k: v for k, v in ROWS[1].items() if k != "german"}]
    sparse[0]["answer_de"] = None
    table = load_table(write_jsonl(tmp_path / "a.jsonl", sparse), COLUMNS)
    assert texts(table)[1:] == [
        ("de", "Brücke 0", None),
        ("en", "bridge 1", "stone 1"),
        ("de", None, "Stein 1"),
    ]
    path = write_jsonl(tmp_path / "b.jsonl", [ROWS[0], ROWS[1] | {"german": ""}])
    with pytest.raises(ValueError, match=r"b\.jsonl:2: field 'german' is empty"):
        load_table(path, COLUMNS)
    assert len(load_table(path, COLUMNS, on_empty="skip")) == 3


def test_variants_are_kept_on_request_and_merged_with_a_word(tmp_path, caplog):
    path = write_jsonl(tmp_path / "a.jsonl", [{"s": "one", "t": "two"}])
    columns = {"query": {"zho_Hans": "s", "zho_Hant": "t"}}
    assert load_table(path, columns).languages == ("zh",)
    assert "'zho_Hans' (1 rows) and 'zho_Hant' (1 rows) are now 'zh'" in caplog.text
    assert load_table(path, columns, keep_variants=True).languages == ("zh-Hans", "zh-Hant")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": {"xyzzy": "english"}}, r"columns\['query'\]: unknown language 'xyzzy'"),
        ({"query": {}}, r"columns\['query'\] is {}; columns by language"),
        ({"group_id": {"en": "key"}, "query": "english"}, r"columns\['group_id'\] is"),
        ({"query": {"en": "english", "de": 1}}, "all names or all positions"),
        ({"query": {"en": "english", "de": "gremlin"}}, "'gremlin' is missing.*no row has it"),
        ({"query": {"en": "gremlin"}}, "'gremlin' is missing"),
        ({"qurey": {"en": "english"}}, r"columns\['qurey'\] is|did you mean 'query'"),
    ],
)
def test_bad_columns(tmp_path, columns, message):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(ValueError, match=message):
        load_table(path, columns)


def test_spellings_of_one_code_are_one_language(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS[:1])
    table = load_table(path, {"query": {"en": "english"}, "passage": {"eng": "answer_en"}})
    assert texts(table) == [("en", "bridge 0", "stone 0")]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: two columns are 'query' in 'en'"):
        load_table(path, {"query": {"en": "english", "eng": "german"}})


def test_a_column_named_for_another_language_is_told(tmp_path, caplog):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS[:1])
    load_table(path, {"query": "english", "passage": "german"}, lang="deu_Latn")
    (record,) = caplog.records
    assert "the query column 'english' is read as 'deu_Latn'" in record.getMessage()
    assert "give columns={'query': {'en': 'english'}}" in record.getMessage()
    caplog.clear()
    load_table(path, {"query": "english", "passage": "answer_en"}, lang="en-GB")
    load_table(path, {"query": {"en": "english"}, "passage": "german"}, lang="de")
    assert caplog.records == []


def test_path_and_columns_cannot_both_give_languages(tmp_path):
    write_jsonl(tmp_path / "a.en.jsonl", ROWS)
    with pytest.raises(ValueError, match="the path and the columns both give languages"):
        load_table(tmp_path / "a.{lang}.jsonl", COLUMNS)


def test_spellings_of_a_language_are_one(tmp_path):
    rows = [{"query": {"en": "q", "de": "f"}, "passage": {"eng_Latn": "p", "deu": "g"}}]
    table = load_table(write_jsonl(tmp_path / "a.jsonl", rows))
    assert texts(table) == [("en", "q", "p"), ("de", "f", "g")]
    rows = [{"query": {"zh-Hans": "q"}, "passage": {"zh-Hant": "p"}}]
    table = load_table(write_jsonl(tmp_path / "b.jsonl", rows), keep_variants=True)
    assert texts(table) == [("zh-Hans", "q", None), ("zh-Hant", None, "p")]
