"""What a GPU check says was reached, and which backend its figures speak for."""

from __future__ import annotations

import json
import math

import gpu_check
import pytest
from cuda_timing import ProcessorStandIn
from gpu import goals
from gpu.goals import Verdict, default_backend, verdicts
from gpu.settings import LANDED, NEW, Case, Settings
from gpu.training import THEIRS, Run


@pytest.fixture
def full(tmp_path):
    """Settings whose cases have their real sizes."""
    return Settings(ProcessorStandIn(), {LANDED: LANDED, NEW: NEW}, False, tmp_path)


def loss_case(size, kind="mean", *, dim=768, new=30.0, landed=46.0, compiled=40.0, **values):
    steps = {
        way: {"median_ms": ms, "scratch_mib": mib}
        for way, ms, mib in (
            (LANDED, landed, 2210.0),
            (NEW, new, 2000.0),
            ("compiled_bf16", compiled, 16e3),
        )
    }
    case = Case(size, dim, kind)
    found = {"size": size, "dim": dim, "kind": kind, "steps": steps, "errors": {}, "wrong": []}
    return {str(case): found | {"shares": {LANDED: 0.55, NEW: 0.85}} | values}


def of(found, **wanted):
    """Return the verdicts that have these values."""
    return [
        each
        for each in found
        if all(getattr(each, name) == value for name, value in wanted.items())
    ]


def test_a_verdict():
    at_least = Verdict("loss", "case", NEW, "share", 0.8, 0.8, at_least=True)
    assert at_least.result == "pass"
    assert str(at_least) == "pass         loss: case, triton_one_pass: share 0.8, asked >= 0.8"
    assert Verdict("loss", "case", NEW, "share", 0.8, 0.79, at_least=True).result == "miss"
    assert Verdict("loss", "case", NEW, "MiB", 10, 11, at_least=False).result == "miss"
    assert Verdict("loss", "case", NEW, "MiB", 10, 10, at_least=False).result == "pass"
    assert Verdict("loss", "case", NEW, "MiB", 10, None, at_least=False).result == "not measured"
    for at_least in (True, False):
        assert Verdict("loss", "case", NEW, "MiB", 10, math.nan, at_least).result == "miss"


def test_goals_of_the_loss(full):
    found = verdicts({"loss": loss_case(2**16)}, full)
    name = "65,536 x 768 mean"
    (share,) = of(found, case=name, way=NEW, what="share of the limit")
    assert (share.asked, share.reached, share.result) == (0.80, 0.85, "pass")
    (share,) = of(found, case=name, way=LANDED, what="share of the limit")
    assert share.result == "miss"
    (times,) = of(found, case=name, way=NEW, what="times compiled")
    assert (times.asked, times.reached) == (1.15, pytest.approx(40 / 30))
    (scratch,) = of(found, case=name, way=NEW, what="scratch MiB")
    assert (scratch.asked, scratch.result) == (pytest.approx(2252.8), "pass")
    others = [each for each in found if each.case != name]
    assert {each.result for each in others} == {"not measured"}
    millions = of(found, case="1,048,576 x 768 mean", what="share of the limit")
    assert [each.asked for each in millions] == [0.75, 0.75]
    assert of(found, case="1,048,576 x 768 mean", what="times compiled") == []
    assert of(found, case="4,096 x 768 mean") == []


def test_scratch_is_at_most_the_compilers_where_that_is_smaller(full):
    cases = loss_case(2**14)
    cases["16,384 x 768 mean"]["steps"]["compiled_bf16"]["scratch_mib"] = 976.0
    (scratch,) = of(
        verdicts({"loss": cases}, full), case="16,384 x 768 mean", way=NEW, what="scratch MiB"
    )
    assert (scratch.asked, scratch.result) == (976.0, "miss")


@pytest.mark.parametrize(
    ("errors", "result"),
    [
        ([1e-4, 1.9e-4], "pass"),
        ([1e-4, 3e-4], "miss"),
        ([math.nan, 1e-4], "miss"),
        ([1e-4, None], "not measured"),
    ],
)
def test_accuracy_is_that_of_the_worst_gradient(errors, result, full):
    rows = [
        {
            "kind": "mean", "temperature": 0.05, "longest": longest,
            "errors": {NEW: {"queries": error, "passages": 1e-5}},
        }
        for error, longest in [*((error, 1) for error in errors), (0.5, 10)]
    ]  # fmt: skip
    found = verdicts({"loss": {"accuracy": {"rows": rows}}}, full)
    (verdict,) = of(found, case="accuracy, mean, temperature 0.05")
    assert verdict.result == result


def test_goals_of_small_batches(full):
    steps = {
        "naive": {"median_ms": 0.8}, LANDED: {"median_ms": 1.8}, NEW: {"median_ms": 0.7},
        f"{NEW}_graph": {"median_ms": 0.047},
    }  # fmt: skip
    found = verdicts({"small": {"64 x 768 mean": {"steps": steps}}}, full)
    assert [each.result for each in of(found, case="64 x 768 mean", what="times naive")] == [
        "miss",
        "pass",
    ]
    (graph,) = of(found, case="64 x 768 mean", way=f"{NEW}_graph")
    assert (graph.asked, graph.result) == (0.05, "pass")
    assert len(of(found, what="times naive")) == 2 * 14


def test_goals_of_training(full):
    def run(way, median_s, loss, **more):
        found = {"median_s": median_s, "flop_per_s": 300e12 / median_s, "losses": [loss, 8.0]}
        return {str(Run(way, 8192, 1, **more)): found}

    cases = {"rate": {"matmul_flop_per_s": 780e12}}
    cases |= run("default", 2.2, 9.0) | run("compiled", 1.05, 9.02) | run(THEIRS, 11.0, 9.1)
    found = verdicts({"training": cases}, full)
    name = "compiled, 8,192 pairs, dropout 0"
    (share,) = of(found, case=name, what="share of a product")
    assert (share.asked, share.reached, share.result) == (0.35, pytest.approx(0.3663, 1e-3), "pass")
    (times,) = of(found, case=name, what=f"times {THEIRS}")
    assert (times.asked, times.reached, times.result) == (6, pytest.approx(10.476, 1e-3), "pass")
    (agreement,) = of(found, case="8,192 pairs")
    assert (agreement.reached, agreement.result) == (pytest.approx(0.00111, 1e-2), "pass")
    assert of(found, case="65,536 pairs")[0].result == "not measured"
    cases |= run("padded", 3.7, 9.2)
    (agreement,) = of(verdicts({"training": cases}, full), case="8,192 pairs")
    assert agreement.result == "miss"


def test_the_default_is_what_is_clearly_faster_from_a_size_on():
    cases = (
        loss_case(2**12, new=1.0, landed=0.9)
        | loss_case(2**14, new=2.0, landed=2.9)
        | loss_case(2**16)
    )
    found = default_backend({"loss": cases})
    assert found["by_case"] == {
        "4,096 x 768 mean": LANDED, "16,384 x 768 mean": NEW, "65,536 x 768 mean": NEW
    }  # fmt: skip
    assert found["by_kind"]["mean"] == {f"{NEW} from size": 2**14, "measured": 3}
    assert found["by_kind"]["none"] == {f"{NEW} from size": None, "measured": 0}
    assert goals.RULE == found["rule"]


def test_it_is_the_default_of_all_where_every_kind_says_so():
    cases = loss_case(2**12, new=1.0, landed=1.0)
    for kind in ("mean", "symmetric", "none"):
        assert default_backend({"loss": cases})["default"] == LANDED
        cases |= loss_case(2**14, kind) | loss_case(2**16, kind)
    found = default_backend({"loss": cases})
    assert (found["default"], found["against"], found["not_measured"]) == (NEW, [], [])
    cases |= loss_case(2**18, new=50.0)
    found = default_backend({"loss": cases})
    assert (found["default"], found["against"]) == (LANDED, ["262,144 x 768 mean"])


def test_a_kind_of_which_nothing_was_measured_is_named():
    found = default_backend({"loss": loss_case(2**14)})
    assert (found["default"], found["not_measured"]) == (LANDED, ["symmetric", "none"])


def test_a_larger_case_that_speaks_against_it_counts():
    cases = loss_case(2**14) | loss_case(2**16, new=50.0)
    assert default_backend({"loss": cases})["by_kind"]["mean"][f"{NEW} from size"] is None
    cases |= loss_case(2**18)
    assert default_backend({"loss": cases})["by_kind"]["mean"][f"{NEW} from size"] == 2**18


def test_one_dimension_that_speaks_against_a_size_counts():
    cases = loss_case(2**16) | loss_case(2**16, dim=384, new=50.0)
    assert default_backend({"loss": cases})["by_kind"]["mean"][f"{NEW} from size"] is None


@pytest.mark.parametrize("values", [{"wrong": [NEW]}, {"left_out": [NEW]}, {"lost_by": [NEW]}])
def test_a_way_that_was_wrong_anywhere_is_no_default(values):
    cases = loss_case(2**14) | loss_case(2**16, **values)
    assert set(default_backend({"loss": cases})["by_case"].values()) == {LANDED}


def test_a_way_that_needs_too_much_memory_or_is_hardly_faster_is_no_default():
    hardly, large = loss_case(2**14, new=45.5), loss_case(2**16)
    large["65,536 x 768 mean"]["steps"][NEW]["scratch_mib"] = 2300.0
    assert set(default_backend({"loss": hardly | large})["by_case"].values()) == {LANDED}


@pytest.mark.parametrize(
    ("steps", "by_case"),
    [
        ({NEW: {"failed": "shared memory"}}, {"65,536 x 768 mean": LANDED}),
        ({NEW: {"skipped": "out of memory"}}, {"65,536 x 768 mean": LANDED}),
        ({NEW: {"skipped": "no time left"}}, {}),
        ({LANDED: {"skipped": "no time left"}}, {}),
    ],
)
def test_a_way_that_cannot_run_speaks_against_it_one_without_time_does_not(steps, by_case):
    cases = loss_case(2**16)
    cases["65,536 x 768 mean"]["steps"] |= steps
    assert default_backend({"loss": cases})["by_case"] == by_case


def test_what_was_not_measured_says_nothing(full):
    found = default_backend({"loss": {"accuracy": {"rows": []}}, "small": {}})
    assert found["by_case"] == {}
    assert verdicts({}, full) == []


def test_what_was_cut_off_is_judged_later_without_a_gpu(tmp_path, capsys):
    path = tmp_path / "cut.json"
    cases = {}
    for kind in goals.KINDS:
        cases |= loss_case(2**14, kind)
    path.write_text(json.dumps({"tiny": False, "sections": {"loss": cases}}), encoding="utf-8")
    assert gpu_check.main(["--judge", "--out", str(path)]) == 0
    assert f"the default should be '{NEW}'" in capsys.readouterr().out
    assert json.loads(path.read_text("utf-8"))["default_backend"]["default"] == NEW
    with pytest.raises(SystemExit, match="No such file"):
        gpu_check.main(["--judge", "--out", str(tmp_path / "none.json")])
