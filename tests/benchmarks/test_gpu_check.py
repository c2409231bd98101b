"""The GPU check as a whole: what is written when, what a later run goes on with, and faults."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import cuda_timing
import gpu_check
import pytest
from cuda_timing import DeviceLostError, ProcessorStandIn, reported
from gpu import processes, section
from gpu.report import Report, digest, head, is_complete
from gpu.section import Runner, rounded
from gpu.settings import Task

FOREVER = float("inf")


@pytest.fixture
def report(tmp_path):
    return Report.begin(
        tmp_path / "gpu.json", head(ProcessorStandIn(), "c0ffee", tiny=True), resume=False
    )


@pytest.fixture
def run(report, settings, monkeypatch):
    """A function that runs tasks as one section; a second call with its stamp is a new process."""

    def run(*tasks, stamp="first", deadline=FOREVER):
        monkeypatch.setattr(section, "tasks_of", lambda _: lambda _: tasks)
        Runner("loss", report, settings, deadline, stamp).run()
        return report.cases("loss")

    return run


def giving(name, calls, **values):
    def measure(settings, deadline):
        calls.append(name)
        return dict(values)

    return Task(name, measure)


def losing(name, way, calls):
    """A case in which a way takes the device along, unless it is left out."""

    def measure(settings, deadline):
        calls.append((name, sorted(settings.without)))
        if way not in settings.without:
            raise DeviceLostError(way, "an illegal memory access was encountered")
        return {"value": 1}

    return Task(name, measure)


def test_the_head_says_what_is_measured(report):
    content = report.content
    assert content["commit"] == "c0ffee"
    assert content["tiny"] is True
    assert content["source"] == digest()
    assert {"torch", "transformers", "triton"} <= set(content["versions"])
    assert "name" in content["device"]


def test_the_file_is_whole_after_every_case(report, run, tmp_path):
    seen = []

    def look(settings, deadline):
        content = json.loads((tmp_path / "gpu.json").read_text())
        seen.append(
            {name: is_complete(values) for name, values in content["sections"]["loss"].items()}
        )
        return {"value": 2}

    run(giving("a", []), Task("b", look), giving("c", []))
    assert seen == [{"a": True}]
    written = json.loads((tmp_path / "gpu.json").read_text())["sections"]["loss"]
    assert written["b"]["value"] == 2
    assert list(written) == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["gpu.json"]


def test_a_later_run_measures_what_the_first_one_has_not(run):
    calls = []

    def fails(settings, deadline):
        calls.append("bad")
        raise ValueError("no")

    tasks = giving("a", calls, value=1), Task("bad", fails), Task("late", fails, needs_s=1e9)
    found = run(*tasks, deadline=time.monotonic() + 60)
    assert found["bad"]["failed"] == "ValueError: no"
    assert found["late"]["skipped"] == "no time left"
    assert calls == ["a", "bad"]
    run(*tasks, deadline=time.monotonic() + 60)  # the same run, in a second process
    assert calls == ["a", "bad"]
    run(giving("a", calls), giving("bad", calls, value=3), giving("late", calls), stamp="second")
    assert calls == ["a", "bad", "bad", "late"]
    assert found["bad"]["value"] == 3
    assert "failed" not in found["bad"]


def test_a_case_some_ways_of_which_had_no_time_is_run_again_later(run):
    calls = []
    run(giving("a", calls, steps={"new": {"median_ms": 1.0}, "naive": dict(cuda_timing.NO_TIME)}))
    run(giving("a", calls, steps={"new": {"median_ms": 1.0}}), stamp="second")
    found = run(giving("a", calls), stamp="third")
    assert calls == ["a", "a"]
    assert found["a"]["steps"] == {"new": {"median_ms": 1.0}}


def test_a_case_is_run_again_without_the_way_that_lost_the_device(run):
    calls = []
    tasks = losing("a", "new", calls), giving("b", calls, value=2)
    with pytest.raises(DeviceLostError):
        run(*tasks)
    found = run(*tasks)
    assert calls == [("a", []), ("a", ["new"]), "b"]
    assert found["a"]["value"] == 1
    assert found["a"]["left_out"] == ["new"]
    assert "failed" not in found["a"]
    assert found["b"]["value"] == 2


def test_a_way_that_lost_the_device_twice_is_left_out_of_what_follows(run):
    calls = []
    tasks = [losing(name, "new", calls) for name in "abc"]
    for _ in range(2):
        with pytest.raises(DeviceLostError):
            run(*tasks)
    found = run(*tasks)
    assert calls == [("a", []), ("a", ["new"]), ("b", []), ("b", ["new"]), ("c", ["new"])]
    assert all(is_complete(values) for values in found.values())


def test_a_way_that_loses_the_device_though_left_out_is_given_up(run):
    def always(settings, deadline):
        raise DeviceLostError("new", "gone")

    for _ in range(2):
        with pytest.raises(DeviceLostError):
            run(Task("a", always))
    found = run(Task("a", always))  # tried no more
    assert "gone" in found["a"]["failed"]


def test_a_case_that_lost_the_device_by_no_way_is_not_run_again(run, settings, monkeypatch):
    calls = []

    def breaks(_, deadline):
        calls.append(1)
        monkeypatch.setattr(settings.device, "works", lambda: False, raising=False)
        raise RuntimeError("unspecified launch failure")

    with pytest.raises(DeviceLostError):
        run(Task("a", breaks))
    found = run(Task("a", breaks))
    assert len(calls) == 1
    assert "unspecified launch failure" in found["a"]["failed"]


def test_what_hangs_ends_the_process_and_is_named(run, report, settings, monkeypatch):
    ended = threading.Event()
    statuses = []

    def exit_process(status):
        statuses.append(status)
        ended.set()

    monkeypatch.setattr(section.os, "_exit", exit_process)

    def hangs(_, deadline):
        with reported(settings.device, {}, "new"):
            assert ended.wait(20)
            hanging = json.loads(json.dumps(report.cases("loss")["a"]))
        return {"seen": hanging}

    found = run(Task("a", hangs, limit_s=0.05))
    assert statuses == [section.DEVICE_LOST]
    assert found["a"]["seen"]["failed"] == "new did not end within 0 s"
    assert found["a"]["seen"]["lost_by"] == ["new"]


def test_lines_are_short():
    values = {"output": "long", "ms": 1.23456, "steps": {"a": [0.000123456, 2]}, "kernels": [1]}
    assert rounded(values) == {"ms": 1.23, "steps": {"a": [0.000123, 2]}}


@pytest.fixture
def check(tmp_path, monkeypatch):
    """A function that runs the check with processes of our making; returns the report's content."""

    def run(*arguments, process, out=tmp_path / "out.json"):
        monkeypatch.setattr(processes, "run", process)
        status = gpu_check.main([*arguments, "--tiny", "--out", str(out)])
        return status, json.loads(out.read_text())

    return run


def process_of(*outcomes):
    """What a process writes and how it ends, one after the other; the arguments it was given."""
    given = []

    def run(arguments, timeout_s, environment=None, *, stdout=None):
        written, returncode = outcomes[min(len(given), len(outcomes) - 1)]
        given.append(
            SimpleNamespace(
                section=arguments[2], out=arguments[3], stamp=arguments[4], timeout_s=timeout_s
            )
        )
        report = Report(gpu_check.Path(arguments[3]))
        for name, values in written.items():
            report.add(arguments[2], name, values | {"run": arguments[4]})
        return returncode, "Segmentation fault"

    return run, given


def test_sections_run_in_the_order_given_each_with_its_limit(check):
    process, given = process_of(({"a": {}}, 0))
    status, content = check("small=7", "loss", "parts", process=process)
    assert [each.section for each in given] == ["small", "loss", "parts"]
    assert given[0].timeout_s == pytest.approx(7 + gpu_check.GRACE_S, abs=1)
    assert given[1].timeout_s == pytest.approx(
        gpu_check.LIMITS_S["loss"] + gpu_check.GRACE_S, abs=2
    )
    assert status == 0
    assert list(content["sections"]) == ["small", "loss", "parts"]


def test_all_sections_run_unless_some_are_named_as_far_as_time_allows(check, capsys):
    process, given = process_of(({"a": {}}, 0))
    check(process=process)
    assert [each.section for each in given] == list(gpu_check.LIMITS_S)
    given.clear()
    check("loss", "--resume", "--limit", "0", process=process)
    assert given == []
    assert "loss: not begun" in capsys.readouterr().out


def test_a_process_that_dies_is_followed_by_another_as_long_as_it_got_anywhere(check):
    process, given = process_of(({"a": {"failed": "x"}}, 3), ({"a": {}, "b": {}}, -11), ({}, 0))
    status, content = check("loss", process=process)
    assert len(given) == 3
    assert len({each.stamp for each in given}) == 1
    assert status == 0
    assert set(content["sections"]["loss"]) == {"a", "b"}


def test_a_process_that_gets_nowhere_is_not_begun_for_ever(check, capsys):
    process, given = process_of(({}, 1))
    status, content = check("loss", process=process)
    assert len(given) == 1
    assert status == 1
    assert "Segmentation fault" in content["sections"]["loss"]["process"]["failed"]
    assert "FAILED loss: process" in capsys.readouterr().out


def test_without_a_build_there_is_no_judgement(check):
    process, _ = process_of(({"core": {"failed": "no compiler"}}, 0))
    status, content = check("build", process=process)
    assert status == 1
    assert "verdicts" not in content


def test_what_is_there_is_gone_on_with_only_if_asked_and_of_the_same_sources(check, tmp_path):
    out = tmp_path / "out.json"
    process, _ = process_of(({"a": {"value": 1}}, 0))
    check("loss", process=process)
    with pytest.raises(SystemExit, match="exists"):
        check("loss", process=process)
    _, content = check("small", "--resume", process=process)
    assert set(content["sections"]) == {"loss", "small"}
    out.write_text(json.dumps(content | {"source": "another"}))
    with pytest.raises(SystemExit, match="source 'another'"):
        check("small", "--resume", process=process)


@pytest.mark.parametrize("name", ["los", "loss=", "loss=soon"])
def test_wrong_sections_are_refused(name, tmp_path, capsys):
    if name == "loss=":
        assert gpu_check._section(name) == ("loss", gpu_check.LIMITS_S["loss"])
        return
    with pytest.raises(SystemExit):
        gpu_check.main([name, "--tiny", "--out", str(tmp_path / "x.json")])
    assert "argument sections" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_it_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs an NVIDIA GPU"):
        gpu_check.main([])


def test_the_calls_of_make_fit_into_ten_minutes_and_name_all_sections():
    makefile = (gpu_check.ROOT / "Makefile").read_text()
    calls = [
        line.split()[1:] for line in makefile.splitlines() if line.startswith("\t$(GPU_CHECK)")
    ]
    assert {name for call in calls for name in call} == set(section.SECTIONS)
    assert gpu_check.LIMIT_S + gpu_check.GRACE_S < 600


@pytest.mark.slow
def test_only_training_needs_more_than_torch_triton_and_our_library():
    modules = [place.partition(":")[0] for place in section.SECTIONS.values()]
    script = f"""
import sys
sys.modules |= dict.fromkeys(("datasets", "faiss", "babel", "transformers"))
sys.modules["sentence_transformers"] = None
from importlib import import_module
import cuda_timing
import gpu_check
for module in {[*modules, "gpu.goals", "gpu.section"]}:
    import_module(module)
"""
    assert processes.run(["-c", script], 60) == (0, "")


@pytest.mark.slow
def test_the_whole_check_on_a_processor(tmp_path):
    out = tmp_path / "gpu.json"
    arguments = ["build", "tests", "small", "parts", "tiles", "--tiny", "--out", str(out)]
    command = [str(gpu_check.ROOT / "benchmarks" / "gpu_check.py"), *arguments]
    returncode, said = processes.run(command, 200)
    assert returncode == 0, said
    content = json.loads(out.read_text())
    assert list(content["sections"]) == ["build", "tests", "small", "parts", "tiles"]
    assert content["processor"]["cores"] >= 1
    assert {verdict["section"] for verdict in content["verdicts"]} == {"small"}
