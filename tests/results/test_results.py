"""`results.json` appears completely or not at all, and holds what `to_dict` returns."""

import json
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_fast.results import (
    Counts,
    LanguageBias,
    PerQuery,
    RankDistance,
    Results,
    RunInfo,
)


def make_results(**changes):
    fields = {
        "task": "xquad-r",
        "info": RunInfo("نموذج", "hybrid", 0, {"candidate_text": "sentence"}),
        "versions": {"python": "3.11"},
        "metrics": {"mono": {"map": 0.5}, "cross": {"map": None}, "multi": {"map": 0.25}},
        "grid": {"map": {"ar": {"ar": 0.5, "all": 0.25}}},
        "language_bias": LanguageBias(RankDistance(12.5)),
        "counts": Counts({}, {}, 7, {}),
    }
    return Results(**{**fields, **changes})


def test_file_holds_the_dict(tmp_path):
    results = make_results()
    path = results.save(tmp_path / "new" / "run")
    assert path == tmp_path / "new" / "run" / "results.json"
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == results.to_dict()
    assert "نموذج" in text
    assert sorted(entry.name for entry in (tmp_path / "new").iterdir()) == ["run"]


def test_the_path_of_a_saved_file_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_results().save("~/run") == tmp_path / "run" / "results.json"
    per_query = PerQuery(np.array(["1"]), np.array(["en"]), ("en",), {"map": np.ones((1, 2))})
    per_query.save("~/run/per_query.npz")
    assert (tmp_path / "run" / "per_query.npz").is_file()
    assert PerQuery.load("~/run/per_query.npz").languages == ("en",)


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "model.safetensors").write_text("weights")
    make_results().save(tmp_path)
    make_results(info=RunInfo(seed=1)).save(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "model.safetensors",
        "results.json",
    ]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["seed"] == 1


@pytest.mark.parametrize("bad", [float("nan"), object()])
def test_what_json_cannot_hold_leaves_nothing_behind(tmp_path, bad):
    with pytest.raises((ValueError, TypeError), match="not JSON"):
        make_results(versions={"temperature": bad}).save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_is_given_in_other_types_is_saved_as_what_it_says(tmp_path):
    info = RunInfo(
        Path("models/a\udcff"),
        np.str_("hybrid"),
        np.int64(3),
        {
            "candidate_text": "sentence",
            "temperature": np.float32(0.5),
            "dtype": torch.bfloat16,
            "device": torch.device("cpu"),
            "storage": np.float16,
            "folder": Path("a/b"),
            "longest": math.inf,
            "weights": np.array([[1, 2]]),
            "scale": torch.tensor(2),
            "languages": {"en", "de"},
            "prompts": {1: np.bool_(True)},
            "sizes": torch.Size([2, 3]),
        },
    )
    path = make_results(info=info, other={"rate": np.float64(0.25)}).save(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["model"], content["kind"], content["seed"]) == ("models/a\\udcff", "hybrid", 3)
    assert content["rate"] == 0.25
    assert content["settings"] == {
        "candidate_text": "sentence",
        "temperature": 0.5,
        "dtype": "bfloat16",
        "device": "cpu",
        "storage": "float16",
        "folder": "a/b",
        "longest": "inf",
        "weights": [[1, 2]],
        "scale": 2,
        "languages": ["de", "en"],
        "prompts": {"1": True},
        "sizes": [2, 3],
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"settings": {"a": {"b": object()}}},
            r"settings\.a\.b is <object .*> \(object\), wh",
        ),
        ({"settings": {"a": [1, len]}}, r"settings\.a\[1\] is <built-in .* \(builtin_function"),
        ({"settings": ["a"]}, "settings are"),
        ({"model": 3}, "model is 3; give a name, or None"),
        ({"kind": ["mono"]}, "kind is"),
    ],
)
def test_what_no_file_can_hold_is_refused_when_it_is_given(fields, message):
    with pytest.raises(TypeError, match=message):
        RunInfo(**fields)


def test_failed_write_leaves_nothing_behind(tmp_path):
    unwritable = make_results(task="\ud800")
    with pytest.raises(UnicodeEncodeError):
        unwritable.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    make_results().save(tmp_path)
    with pytest.raises(UnicodeEncodeError):
        unwritable.save(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        make_results().save(tmp_path / "file")


def test_flat_scores_leave_out_what_is_missing():
    assert make_results().flat() == {"mono_map": 0.5, "multi_map": 0.25, "rank_distance": 12.5}


def per_query(value=0.5):
    scores = np.array([[value, np.nan], [1 / 3, 2 / 3]])
    ids = np.array(["q-1", "سؤال"])
    return PerQuery(ids, np.array(["ar", "en"]), ("ar",), {"map": scores, "recall@1": -scores})


def test_scores_by_query_come_back_as_they_were(tmp_path):
    make_results(per_query=per_query()).save(tmp_path / "run")
    with np.load(tmp_path / "run" / "per_query.npz") as arrays:
        assert {"ids", "query_languages", "languages", "metrics", "figure_0"} <= {*arrays}
    loaded = PerQuery.load(tmp_path / "run" / "per_query.npz")
    assert loaded.ids.tolist() == ["q-1", "سؤال"]
    assert loaded.query_languages.tolist() == ["ar", "en"]
    assert loaded.languages == ("ar",)
    assert list(loaded.scores) == ["map", "recall@1"]
    for name, scores in per_query().scores.items():
        np.testing.assert_array_equal(loaded.scores[name], scores)
    assert "per_query" not in json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))


def test_scores_by_query_of_another_run_do_not_stay(tmp_path):
    make_results(per_query=per_query()).save(tmp_path)
    make_results(per_query=per_query(0.25)).save(tmp_path)
    assert PerQuery.load(tmp_path / "per_query.npz").scores["map"][0, 0] == 0.25
    make_results().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_scores_by_query_are_never_beside_the_results_of_another_run(tmp_path, monkeypatch):
    """Whenever writing ends: before, between and after the moves of the two files."""
    move = Path.replace
    for num_moves in (0, 1, 2):
        make_results(per_query=per_query()).save(tmp_path)
        moves = iter(range(num_moves))

        def replace(path, target, moves=moves):
            if next(moves, None) is None:
                raise OSError("the end")
            return move(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        with suppress(OSError):
            make_results(info=RunInfo(seed=1), per_query=per_query(0.25)).save(tmp_path)
        monkeypatch.undo()
        seed = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["seed"]
        assert seed == (0 if num_moves == 0 else 1)
        assert (tmp_path / "per_query.npz").exists() == (num_moves == 2)


def test_file_that_holds_no_scores_by_query(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", ids=np.arange(3))
    np.save(tmp_path / "array.npy", np.arange(3))
    for name in ("text.npz", "other.npz", "array.npy"):
        with pytest.raises(ValueError, match=f"{name} holds no scores by query"):
            PerQuery.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        PerQuery.load(tmp_path / "nowhere.npz")
