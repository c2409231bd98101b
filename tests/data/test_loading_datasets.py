"""Data sets of the `datasets` library: in memory, or in a folder of `save_to_disk`."""

import datasets
import numpy as np
import pytest

from hybrid_fast.data.loading import load_table, load_tables

ROWS = [
    {"key": n // 2, "code": ("de", "en")[n % 2], "q": f"q{n}", "p": f"p{n}", "hard": [f"n{n}"]}
    for n in range(8)
]
COLUMNS = {"group_id": "key", "lang": "code", "query": "q", "passage": "p", "negatives": "hard"}
DATASET = datasets.Dataset.from_list(ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    DATASET.save_to_disk(folder / "one", num_shards=2)
    splits = {"train": DATASET, "test": DATASET.select([2, 3])}
    datasets.DatasetDict(splits).save_to_disk(folder / "all")
    datasets.Dataset.from_list(ROWS, split="validation").save_to_disk(folder / "validation")
    return folder


def queries(table):
    return table.dataset["query"][:]


def test_a_dataset_with_a_map_of_columns():
    table = load_table(DATASET, COLUMNS)
    assert queries(table) == [f"q{n}" for n in range(8)]
    assert table.group_codes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.languages == ("de", "en")
    assert table.negatives([3]) == [["n3"]]
    assert table.sources == ("dataset",)
    view = DATASET.select([5, 1]).with_format("numpy")
    assert queries(load_table(view, COLUMNS, source="s", limit=np.int64(1))) == ["q5"]


def test_a_wide_dataset():
    wide = datasets.Dataset.from_dict(
        {"translation": [{"en": "a", "de": "A"}, {"en": "b", "de": None}]}
    )
    table = load_table(wide, {"query": "translation", "passage": "translation"})
    assert queries(table) == ["a", "A", "b"]
    assert table.group_codes.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("one", {}, range(8)),
        ("one", {"split": "train[:3]"}, range(3)),
        ("all", {}, range(8)),
        ("all", {"split": "test"}, [2, 3]),
        ("all", {"split": "test+train[75%:]"}, [2, 3, 6, 7]),
        ("validation", {}, range(8)),
        ("validation", {"split": "validation[-1:]"}, [7]),
    ],
)
def test_a_folder_of_save_to_disk(folder, name, options, expected):
    table = load_table(folder / name, COLUMNS, **options)
    assert queries(table) == [f"q{n}" for n in expected]
    (recipe,) = [{"path": name, "columns": COLUMNS, **options}]
    assert (
        load_tables([recipe], folder).fingerprint
        == load_table(name, COLUMNS, root=folder, **options).fingerprint
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("all", {"split": "tset"}, "has no split 'tset'; it has train, test; did you mean 'test'"),
        ("all", {"config": "de"}, "saved with one configuration; leave out config='de'"),
        ("all", {"split": "train["}, "train"),
        ("one", {"split": "test"}, "has no split 'test'; it has train"),
        ("one", {"languages": ["de"]}, "languages= is for paths with {lang}"),
    ],
)
def test_what_a_folder_does_not_have(folder, name, options, message):
    with pytest.raises(ValueError, match=message):
        load_table(folder / name, COLUMNS, **options)


@pytest.mark.parametrize(
    "damaged", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"]
)
@pytest.mark.parametrize("damage", ["cut", "empty", "remove"])
def test_a_damaged_folder_is_named(tmp_path, damaged, damage):
    DATASET.save_to_disk(tmp_path / "d")
    path = tmp_path / "d" / damaged
    content = path.read_bytes()
    path.unlink()
    if damage != "remove":
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    if (damaged, damage) == ("state.json", "remove"):
        return  # no folder of save_to_disk any more
    with pytest.raises(
        ValueError, match=f"{tmp_path / 'd'} is damaged, or not what save_to_disk wr"
    ):
        load_table(tmp_path / "d", COLUMNS)


def test_a_saved_table_is_taken_as_it_is(tmp_path):
    table = load_table(DATASET, COLUMNS)
    table.save(tmp_path / "t")
    assert load_table(tmp_path / "t").fingerprint == table.fingerprint
    assert load_table("t", root=tmp_path).fingerprint == table.fingerprint
    joined = load_tables([{"path": "t"}], tmp_path)
    assert joined.dataset[:] == table.dataset[:]
    for option in ({"in_batch": False}, {"split": "train"}, {"keep_variants": True}):
        with pytest.raises(ValueError, match=f"taken as it is; leave out {next(iter(option))}"):
            load_table(tmp_path / "t", **option)


def test_options_of_files_are_not_for_datasets():
    with pytest.raises(ValueError, match="format= and languages= are for files"):
        load_table(DATASET, COLUMNS, format="jsonl")
    with pytest.raises(ValueError, match="split='train' is for a DatasetDict; a Dataset has no"):
        load_table(DATASET, COLUMNS, split="train")
    with pytest.raises(TypeError, match="the Dataset reader has no option 'config'"):
        load_table(DATASET, COLUMNS, config="de")
    with pytest.raises(ValueError, match="Dataset, row 0: fields have names here, 0 is a position"):
        load_table(DATASET, {"query": 0}, lang="en")
    with pytest.raises(ValueError, match="limit must be a whole number of groups"):
        load_table(DATASET, COLUMNS, limit=True)
