"""The command mine: the table and the report that it writes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from hybrid_fast import AlignedTable, BiEncoder, mine_hard_negatives
from hybrid_fast.cli import main
from hybrid_fast.data import load_table

LOOSE = "--relative-margin none --ranks 2-9 -n 3"


def test_mine_writes_what_the_function_gives_and_says_what_it_found(project, model, capsys):
    main(f"mine m items.jsonl --out t --report r.json {LOOSE}".split())
    captured = capsys.readouterr()
    mined = AlignedTable.load("t", verify=True)
    expected = mine_hard_negatives(
        BiEncoder.from_pretrained("m"),
        load_table("items.jsonl"),
        relative_margin=None,
        ranks=(2, 9),
        num_negatives=3,
    )
    assert mined.dataset[:] == expected.dataset[:]
    assert [len(each) for each in mined.dataset["negatives"][:]] == [3] * 40
    assert captured.out.endswith("table: t\n")
    assert "German" in captured.out
    report = json.loads((project / "r.json").read_text())
    assert report["languages"]["de"]["items"] == 20
    assert report["total"]["negatives"] == {"de": 60, "en": 60}
    assert {path.name for path in project.iterdir()} >= {"t", "r.json"}
    assert not [path for path in project.iterdir() if ".mining-" in path.name]


@pytest.mark.parametrize(
    "table",
    ["recipe.yaml", "saved", "other.csv --lang en --columns query=question,passage=answer"],
)
def test_items_come_from_recipes_saved_tables_and_files(project, model, table):
    load_table("items.jsonl").save("saved")
    (project / "other.csv").write_text("question,answer\n" + "".join(
        f"which {n},the answer {n}\n" for n in range(9)
    ))  # fmt: skip
    main(f"mine m {table} --out t --languages pool --balanced {LOOSE}".split()
         if "csv" not in table else f"mine m {table} --out t {LOOSE}".split())  # fmt: skip
    mined = AlignedTable.load("t")
    assert {len(each) for each in mined.dataset["negatives"][:]} == {3}


def test_a_recipe_trains_on_a_mined_table(project, model, write_recipe, capsys):
    main(f"mine m items.jsonl --out t {LOOSE}".split())
    path = write_recipe("train: [{path: t}]", "negatives: hard_only", "save_strategy: 'no'")
    main(["train", str(path), "--out", "run"])
    assert (project / "run/model").is_dir()
    assert "hard" in capsys.readouterr().err


def test_passages_of_a_store(project, model):
    texts = [{"id": f"d{n}", "text": f"en passage {n}", "lang": "en"} for n in range(12)]
    (project / "corpus.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts))
    main("encode m corpus.jsonl --out vectors --lang en".split())
    main("index vectors --store faiss:store".split())
    main(f"mine m items.jsonl --out t --store faiss:store --texts corpus.jsonl {LOOSE} "
         "--languages en".split())  # fmt: skip
    mined = AlignedTable.load("t").dataset["negatives"][:]
    assert {text for texts in mined for text in texts} <= {each["text"] for each in texts}
    assert {len(each) for each in mined} == {3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("m items.jsonl --out m", "m exists; choose another folder for --out"),
        ("m items.jsonl --out t --report items.jsonl", "items.jsonl exists; choose another file"),
        ("m items.jsonl --out t --work-dir t/w", "--work-dir t/w is in t, the new folder of --out"),
        ("m items.jsonl --out t --report t/r.json", "--report t/r.json is in t, the new folder"),
        ("nowhere/m items.jsonl --out t", "nowhere/m"),
        ("m none.jsonl --out t", "no such file or folder: none.jsonl"),
        ("m items.jsonl --out t --ranks 5", "--ranks is '5'; the first and the last are needed"),
        ("m items.jsonl --out t --ranks 5-2", "the last of ranks is 2"),
        ("m items.jsonl --out t --relative-margin most", "--relative-margin is 'most'; a number"),
        ("m items.jsonl --out t --languages de,", "--languages is 'de,'; names separated by"),
        ("m items.jsonl --out t --languages fi", "there are no passages in 'fi'; there are some"),
        ("m items.jsonl --out t --sampling topp", "did you mean 'top'?"),
        ("m items.jsonl --out t --store faiss:none", "none"),
        (
            "m items.jsonl --out t --texts items.jsonl",
            "--texts are those of a store; give it with --store",
        ),
        ("m recipe.yaml --out t --lang de", "recipe.yaml says how its data is read; leave out"),
        ("m task --out t", "task"),
    ],
)
def test_bad_input_is_one_line(project, model, fails, arguments, message):
    assert message in fails("mine", *arguments.split())
    assert not (project / "t").exists()
