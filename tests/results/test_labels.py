"""Labels of runs: different for different runs, and as short as they can be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_contents import make_run

from hybrid_fast.results.labels import family_labels, family_names, run_labels, short_models


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([("mono", 0, "a"), ("cross", 0, "a")], ["mono", "cross"]),
        ([("mono", 0, "a"), ("mono", 1, "a")], ["mono, seed 0", "mono, seed 1"]),
        ([("mono", 0, "a"), ("mono", 0, "b")], ["mono, a", "mono, b"]),
        ([(None, None, "a"), (None, None, "b")], ["a", "b"]),
        ([("mono", 0, "a"), ("mono", 0, "a")], ["mono, a, seed 0 (1)", "mono, a, seed 0 (2)"]),
        ([(None, None, None)], ["run"]),
    ],
)
def test_labels_are_as_short_as_they_can_be(runs, labels):
    assert run_labels([make_run(kind=k, seed=s, model=m) for k, s, m in runs]) == labels


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "a", "b"]), st.integers(0, 2), st.sampled_from(["a", "m"])
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None)
def test_labels_tell_any_runs_apart(runs):
    labels = run_labels([make_run(kind=k, seed=s, model=m) for k, s, m in runs])
    assert len(set(labels)) == len(runs)


def test_runs_that_differ_by_seed_are_one_family():
    runs = [make_run("mono", seed=0), make_run("hybrid", seed=0), make_run("mono", seed=1)]
    assert family_labels(runs) == ["mono", "hybrid", "mono"]
    assert family_labels([runs[0], runs[0]]) == ["mono, static (1)", "mono, static (2)"]
    other = make_run("mono", seed=0, model="labse")
    assert family_labels([runs[0], other]) == ["mono, static", "mono, labse"]


@pytest.mark.parametrize(
    ("models", "short"),
    [
        (["/x/one/model", "/x/two/model"], ["one/model", "two/model"]),
        (["/x/one/model"], ["model"]),
        (["/x/a/one", "/x/b/two", "/y/b/one"], ["a/one", "two", "b/one"]),
        (["/runs/a/", "/runs//b", "./c", "../../d"], ["a", "b", "./c", "d"]),
        # A path that is the end of another stays whole, the other is told apart by what is above.
        (["b/c/model", "/a/b/c/model"], ["b/c/model", "a/b/c/model"]),
        (["c", "/b/c"], ["c", "b/c"]),
        (["/a", "/"], ["a", "/"]),
        # The same folder written in two ways is one model.
        (["/a/b/model", "/a/b/model/"], ["model", "model"]),
        (["intfloat/multilingual-e5-small", "sentence-transformers/LaBSE"], None),
        (["org/name", "/models/org/name"], ["org/name", "models/org/name"]),
        (["org/name", "/models/other/name"], ["org/name", "other/name"]),
        (["bm25", "/runs/a/model", "/runs/bm25"], ["bm25", "model", "runs/bm25"]),
        ([r"C:\runs\one", "/runs/two words/model"], [r"C:\runs\one", "model"]),
        (["static, 384 dimensions", ""], ["static, 384 dimensions"]),
    ],
)
def test_paths_are_called_by_their_shortest_distinct_end(models, short):
    assert list(short_models(models).values()) == (models if short is None else short)


def test_models_that_are_none_have_no_name():
    assert short_models([None, "a"]) == {"a": "a"}


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=6))
@settings(deadline=None)
def test_paths_are_told_apart_and_no_end_is_longer_than_needed(paths):
    models = list(dict.fromkeys("/" + "/".join(path) for path in paths))
    short = short_models(models)
    assert len(set(short.values())) == len(models)
    for model, name in short.items():
        assert f"/{model}".endswith(f"/{name}")
        shorter = name.partition("/")[2]
        if shorter:
            assert any(f"/{other}".endswith(f"/{shorter}") for other in models if other != model)


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([(None, None, "/x/one/model"), (None, None, "/x/two/model")], ["one/model", "two/model"]),
        ([(None, None, "/x/one/model")], ["model"]),
        ([("mono", 0, "/x/one/model"), ("cross", 0, "/x/one/model")], ["mono", "cross"]),
        (
            [("mono", 0, "/x/one/model"), ("mono", 0, "/x/two/model")],
            ["mono, one/model", "mono, two/model"],
        ),
        ([(None, None, "/x/m"), (None, None, "/x/m/")], ["m (1)", "m (2)"]),
        ([(None, None, "/x/one"), (None, None, "org/one")], ["x/one", "org/one"]),
    ],
)
def test_labels_hold_ends_of_paths(runs, labels):
    assert run_labels([make_run(*each) for each in runs]) == labels


def test_families_are_named_by_kind_and_end_of_path():
    runs = [make_run("mono", seed, f"/x/{name}/model") for seed, name in enumerate(["one", "two"])]
    assert family_names(runs) == ["mono, one/model", "mono, two/model"]
    assert family_names([make_run("mono", 0), make_run("mono", 1)]) == ["mono, static"] * 2
    assert family_names([make_run(None, 0, None)]) == [""]
