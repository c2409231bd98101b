"""`results.json` appears completely or not at all, and holds what `to_dict` returns."""

import json

import pytest

from hybrid_fast.evaluation.results import Results


def make_results(**changes):
    fields = {
        "task": "xquad-r",
        "model": "نموذج",
        "kind": "hybrid",
        "seed": 0,
        "versions": {"python": "3.11"},
        "settings": {"candidate_text": "sentence"},
        "metrics": {"mono": {"map": 0.5}, "cross": {"map": None}, "multi": {"map": 0.25}},
        "grid": {"map": {"ar": {"ar": 0.5, "all": 0.25}}},
        "language_bias": {"rank_distance": 12.5},
        "counts": {"pool": 7},
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


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "model.safetensors").write_text("weights")
    make_results().save(tmp_path)
    make_results(seed=1).save(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "model.safetensors",
        "results.json",
    ]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["seed"] == 1


@pytest.mark.parametrize("bad", [float("nan"), object()])
def test_what_json_cannot_hold_leaves_nothing_behind(tmp_path, bad):
    with pytest.raises((ValueError, TypeError), match="not JSON"):
        make_results(settings={"temperature": bad}).save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing_behind(tmp_path):
    unwritable = make_results(model="\ud800")
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


def test_flat_figures_leave_out_what_is_missing():
    assert make_results().flat() == {"mono_map": 0.5, "multi_map": 0.25, "rank_distance": 12.5}
