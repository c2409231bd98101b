"""Runs are loaded by number and name, and compared if they are of one task."""

import pytest
from run_contents import make_content, make_run

from hybrid_fast.results import load_runs
from hybrid_fast.results.runs import check_runs, report_languages


def test_errors_call_a_run_by_number_and_kind_or_model():
    counts = {"queries": {}, "candidates": {}}
    for names, called in (
        ({"kind": "mono"}, r"run 2 \(mono\)"),
        ({"kind": None, "model": "/x/y"}, r"run 2 \(/x/y\)"),
        ({"kind": None, "model": None}, r"run 2 \(unnamed\)"),
        ({"kind": "a\nb"}, "run 2 \\(a\N{REPLACEMENT CHARACTER}b\\)"),
    ):
        with pytest.raises(ValueError, match=f"^{called} has no 'counts.pool'"):
            load_runs([make_content(), make_content(**names, counts=counts)])


@pytest.mark.parametrize("load", [load_runs, check_runs])
def test_runs_are_a_list(load):
    with pytest.raises(ValueError, match="runs is empty; give at least one run"):
        load([])
    for wrong in (make_content(), "results.json", 5):
        with pytest.raises(TypeError, match=r"runs is a \w+; give a list of runs, \[run\] for one"):
            load(wrong)
    with pytest.raises(TypeError, match=r"run 1 is a str; give what results\.json holds"):
        load(["results.json"])
    if load is check_runs:
        with pytest.raises(TypeError, match=r"run 2 is a dict; .* see Results\.from_dict"):
            load([make_run(), make_content()])


def test_runs_of_one_task_with_a_language_can_be_compared():
    check_runs([make_run(), make_run("cross")])
    with pytest.raises(ValueError, match=r"run 1 is of task 'xquad-r', but run 2 of task 'mlqa-r'"):
        check_runs([make_run(), make_run(task="mlqa-r")])
    empty = make_run(grid={"map": None}, language_bias=None)
    with pytest.raises(ValueError, match="no run has a language"):
        check_runs([empty])
    check_runs([empty, make_run()])


def test_languages_are_those_of_any_score():
    bias = {"rank_distance": None, "by_language": {"vi": None}}
    runs = [make_run(), make_run(grid={"map": {"zh": {"ar": None}}}, language_bias=bias)]
    assert report_languages(runs) == ["ar", "de", "th", "vi", "zh"]
