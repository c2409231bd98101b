"""Each section of the GPU check, tiny, on a processor: small batches, parts, tiles, profiles."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from cuda_timing import ProcessorStandIn

from hybrid_fast.ops.negative_mask import NegativeMask

pytest.importorskip("triton", reason="triton is not installed: its kernels cannot be looked at")

from gpu import build, one_pass, profiles, small, tiles
from gpu.settings import LANDED, NEW, Case
from gpu.ways import ours

from hybrid_fast.ops.backends import one_pass_kernels, one_pass_tiles


@pytest.mark.parametrize("kind", ["mean", "symmetric"])
def test_small_batches_eager_by_hand_and_as_graphs(kind, found):
    name = f"16 x 48 {kind}"
    steps = found("small", name)[name]["steps"]
    ours = {f"{way}{form}" for way in (LANDED, NEW) for form in ("", "_by_hand", "_graph")}
    assert set(steps) == ours | {"naive"}
    assert all(each["median_ms"] > 0 for each in steps.values())
    assert all(each["rounds"] >= 3 for each in steps.values())


def test_small_batches_are_of_all_sizes_and_have_names_of_their_own(settings):
    full = {(case.size, case.kind) for case in small.plan()}
    kinds = ("mean", "symmetric")
    assert full == {(2**power, kind) for power in range(6, 13) for kind in kinds}
    names = [task.name for task in small.tasks(settings)]
    assert len(set(names)) == len(names) == 14


def test_a_graph_that_cannot_be_captured_leaves_the_eager_step(settings, monkeypatch):
    def fails(self, step, inputs):
        raise RuntimeError("not permitted when stream is capturing")

    monkeypatch.setattr(ProcessorStandIn, "captured", fails)
    settings = replace(settings, without=frozenset({f"{NEW}_graph"}))
    steps = small.run(Case(8, 16, "mean"), settings, math.inf)["steps"]
    assert "capturing" in steps[f"{LANDED}_graph"]["failed"]
    assert f"{NEW}_graph" not in steps
    assert steps[LANDED]["median_ms"] > 0


def test_parts_are_the_products_in_every_form_and_memory(found):
    report = found("parts", "products", "memory")
    forms = report["products"]["forms"]
    assert {name.split(",")[0] for name in forms} == {
        "scores", "W P", "W^T Q", "W^T Q added to float32"
    }  # fmt: skip
    case = Case(16, 48, "mean")
    for name, form in forms.items():
        rows = 5 if name.endswith("chunk") else case.size
        assert form["flop_per_s"] == pytest.approx(2e3 * rows * 16 * 48 / form["ms"])
    assert report["memory"]["copy"]["bytes_per_s"] > 0


def test_kernels_are_timed_inside_a_step(found, monkeypatch):
    monkeypatch.setattr(one_pass, "KERNEL", "aten::")
    monkeypatch.setattr(profiles, "MOST_ROWS", 1)  # it need not be among those that are shown
    report = found("parts", "mean, pointers", "none, descriptors")
    for values in report.values():
        assert values["kernel_ms"] > 0
        assert values["flop_per_s"] == pytest.approx(2e3 * 16**2 * 48 / values["kernel_ms"])
        assert values["step_ms"] > 0
        assert len(values["kernels"]) == 1


def tile(**masks):
    mask = NegativeMask(**masks)
    return one_pass_tiles.tile_of("sm_90", mask, needs_dots=False)


def test_a_tile_is_another_one_within_and_the_same_after():
    before = one_pass_tiles.tile_of, one_pass_tiles.has_descriptors
    plain, masked = tile(), tile(mask=torch.zeros(2, 2, dtype=torch.bool))
    with one_pass.changed(columns=64, descriptors=False) as used:
        assert tile() == replace(plain, columns=64)
        assert tile(mask=torch.zeros(2, 2, dtype=torch.bool)) == replace(masked, columns=64)
        assert not one_pass_tiles.has_descriptors("sm_90")
    assert used == [replace(plain, columns=64), replace(masked, columns=64)]
    assert (one_pass_tiles.tile_of, one_pass_tiles.has_descriptors) == before
    with one_pass.changed(num_warps=4):
        assert one_pass_tiles.has_descriptors is before[1]
    with pytest.raises(TypeError), one_pass.changed(no_such_field=1):
        tile()
    assert (one_pass_tiles.tile_of, one_pass_tiles.has_descriptors) == before


@pytest.mark.parametrize("change", tiles.CHANGES, ids=str)
def test_every_change_is_of_fields_that_a_tile_has(change):
    fields = {name: value for name, value in change.items() if name != "descriptors"}
    with one_pass.changed(**change):
        assert asdict(tile()).items() >= fields.items()


def test_tiles_are_tried_with_errors_registers_and_times(settings, monkeypatch):
    variants = iter([["old"], ["old", "new"]])
    monkeypatch.setattr(one_pass, "compiled", lambda: next(variants))

    def by_kernel(kind, backend):
        """As the library does it: each call asks for the tile."""

        def step(queries, passages):
            tile()
            return ours(kind, backend)(queries, passages)

        return step

    for module in (tiles, one_pass):
        monkeypatch.setattr(module, "ours_by_hand", by_kernel)
    case = Case(16, 48, "symmetric")
    report = tiles.run(case, {"parts": 2}, settings, math.inf)
    assert report["tile"] == asdict(replace(tile(), parts=2))
    assert report["compiled"] == ["new"]
    assert report["step_ms"] > 0
    assert report["errors"][NEW]["queries"] < 6e-3


def test_a_tile_that_cannot_be_compiled_is_unusable_and_no_failure(settings, monkeypatch):
    def out_of_memory(queries, passages):
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(tiles, "ours_by_hand", lambda *_: out_of_memory)
    report = tiles.run(Case(16, 48, "mean"), {"num_stages": 4}, settings, math.inf)
    assert "shared memory" in report["unusable"]["failed"]
    assert "failed" not in report


def test_changes_of_the_tile_have_names_of_their_own(settings):
    names = [task.name for task in tiles.tasks(settings)]
    assert len(set(names)) == len(names) == 2 * len(tiles.CHANGES)
    assert names[0] == "16 x 48 mean: as it is"


def test_registers_are_those_that_triton_reports(monkeypatch):
    variant = SimpleNamespace(n_regs=232, n_spills=0, metadata=SimpleNamespace(shared=196_608))
    kernel = SimpleNamespace(device_caches={0: ({"key": variant}, None)})
    monkeypatch.setattr(one_pass_kernels, one_pass.KERNEL, kernel)
    assert one_pass.compiled() == [{"registers": 232, "spills": 0, "shared_bytes": 196_608}]
    kernel.device_caches = {0: None}
    assert one_pass.compiled() == []


def test_profiles_say_where_a_step_goes(found):
    (report,) = found("profile", "64 x 48 mean").values()
    for way in (LANDED, NEW):
        rows = report["ways"][way]["kernels"]
        times = [row["ms"] for row in rows]
        assert times == sorted(times, reverse=True)
        assert 0 < sum(times) <= report["ways"][way]["total_ms"] * 1.001
        assert all(row["calls"] > 0 for row in rows)


def test_the_last_profile_is_of_training(settings):
    assert [task.name for task in profiles.tasks(settings)][-1].startswith("compiled, 8,192 pairs")


def test_profiles_count_kernels_of_the_device_alone():
    class Device(ProcessorStandIn):
        def time_of(self, event):
            return event.us

    events = [
        SimpleNamespace(key="k", us=750.0, count=6),
        SimpleNamespace(key="h", us=0.0, count=1),
    ]
    profiled = SimpleNamespace(key_averages=lambda: events)
    found = profiles.shown(profiles.rows_of(Device(), profiled, 3))
    assert found == {"total_ms": 0.25, "kernels": [{"kernel": "k", "ms": 0.25, "calls": 2.0}]}


def test_what_is_built_is_not_built_again(found, monkeypatch):
    arguments = []
    done = {"returncode": 0, "output": "a path", "seconds": 1}
    monkeypatch.setattr(build, "command", lambda given, _: arguments.append(given) or done)
    monkeypatch.setattr(build, "is_newer", lambda path: path == "path")
    assert found("build")["core"] == {"found": "built already"}
    assert arguments == [["-c", build.BUILT]]
    monkeypatch.setattr(build, "is_newer", lambda _: False)
    assert found("build")["core"]["output"] == "a path"
    assert arguments[2][:3] == ["-m", "pip", "install"]
    assert arguments[2][-2:] == ["-e", "."]
    done["returncode"] = 1
    assert found("build")["core"]["failed"] == "the build"


def test_an_extension_is_newer_than_its_sources(tmp_path):
    extension = tmp_path / "core.so"
    extension.touch()
    assert build.is_newer(str(extension))
    os.utime(extension, (0, 0))
    assert not build.is_newer(str(extension))


@pytest.mark.parametrize(
    ("output", "returncode", "tiny", "counts", "fails"),
    [
        ("116 passed, 2 skipped in 49 s", 0, False, {"passed": 116, "skipped": 2}, False),
        ("1 failed, 115 passed in 49 s", 1, False, {"passed": 115, "failed": 1}, True),
        ("116 skipped in 1 s", 0, False, {"skipped": 116}, True),
        ("116 skipped in 1 s", 0, True, {"skipped": 116}, False),
        ("stopped after 9 s", None, False, {}, True),
    ],
)
def test_tests_that_fail_or_do_not_run_are_a_failure(
    output, returncode, tiny, counts, fails, settings, monkeypatch
):
    given = []

    def command(arguments, deadline):
        given.extend(arguments)
        return {"returncode": returncode, "output": output, "seconds": 1.0}

    monkeypatch.setattr(build, "command", command)
    report = build.test(replace(settings, tiny=tiny), time.monotonic() + 9)
    assert ("failed" in report) == fails
    assert report["counts"] == counts
    assert "tests/ops/test_gpu.py" in given


def test_our_ways_of_a_tiny_run_are_those_of_a_processor(settings):
    inputs = small.embeddings(Case(8, 16, "mean"), "cpu")
    for backend in settings.ours.values():
        assert ours("mean", backend)(*inputs)[0].isfinite()
