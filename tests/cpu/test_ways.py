"""The fastest way: measured once, kept for the next process, settled, or asked for."""

import json
import logging
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from hybrid_fast.cpu import choices, common_ways, settle, ways


class Process:
    """Calls of a process that knows nothing yet but what is in its cache."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(ways, "_chosen", {})
        monkeypatch.setattr(ways, "_settled", {})
        self.measured = 0

    def choose(self, setting="torch 2", kind="nt", case="9 13 9", slow="torch", lacks=()):
        def available():
            return {
                way: lambda way=way: self._compute(0.002 if way == slow else 0)
                for way in ("torch", "onednn")
                if way not in lacks
            }

        return ways.fastest(kind, case, setting, available)

    def _compute(self, seconds):
        self.measured += 1
        time.sleep(seconds)


@pytest.fixture
def new_process(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.delenv("HYBRID_FAST_WAYS", raising=False)
    monkeypatch.setattr(ways, "_AGREEING", float("inf"))  # whatever else this machine does
    return lambda: Process(monkeypatch)


@pytest.mark.parametrize(("slow", "fast"), [("torch", "onednn"), ("onednn", "torch")])
def test_the_faster_way_is_taken_and_measured_once(new_process, slow, fast):
    process = new_process()
    assert process.choose(slow=slow) == fast
    measured = process.measured
    assert measured >= 4
    assert process.choose(slow=fast) == fast
    assert process.measured == measured
    choice = choices()["nt 9 13 9"]
    assert (choice.way, choice.source) == (fast, "measured")
    assert choice.seconds[fast] < choice.seconds[slow]


def test_the_next_process_follows_what_was_kept(new_process):
    assert new_process().choose(slow="torch") == "onednn"
    process = new_process()
    assert process.choose(slow="onednn") == "onednn"
    assert process.measured == 0
    assert choices()["nt 9 13 9"].source == "kept"


@pytest.mark.parametrize("other", [{"setting": "torch 3"}, {"case": "9 14 9"}, {"kind": "nn"}])
def test_another_setting_or_case_is_measured(new_process, other):
    new_process().choose(slow="torch")
    process = new_process()
    assert process.choose(slow="onednn", **other) == "torch"
    assert process.measured > 0


def test_other_instructions_are_measured(new_process, monkeypatch):
    new_process().choose()
    monkeypatch.setenv("HYBRID_FAST_CPU", "portable")
    process = new_process()
    process.choose()
    assert process.measured > 0


def test_noise_does_not_move_it_from_the_usual_way():
    assert ways._least({"torch": 1.0, "onednn": 0.96}) == "torch"
    assert ways._least({"torch": 1.0, "onednn": 0.94}) == "onednn"


def test_settled_choices_go_before_measured_and_kept_ones(new_process):
    process = new_process()
    assert process.choose(slow="torch") == "onednn"
    settle({"nt 9 13 9": "torch", "nn 1 1 1": "onednn"})
    assert process.choose(slow="torch") == "torch"
    assert process.choose(kind="nn", case="1 1 1", slow="onednn") == "onednn"
    assert {choice.source for choice in choices().values()} == {"settled"}


def test_what_was_settled_as_it_was_chosen_keeps_its_measurement(new_process):
    process = new_process()
    process.choose(slow="torch")
    settle({"nt 9 13 9": "onednn"})
    assert choices()["nt 9 13 9"].source == "measured"
    assert choices()["nt 9 13 9"].seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("onednn", {"nn 1": "onednn"}),
        ("nt=torch", {"nt 9 13 9": "torch"}),
        ("torch, attention=core", {"nt 9 13 9": "torch", "attention 4": "core"}),
        ("attention=core, torch", {"nt 9 13 9": "torch", "attention 4": "core"}),
    ],
)
def test_what_the_variable_asks_for_otherwise(monkeypatch, text, expected):
    monkeypatch.setenv("HYBRID_FAST_WAYS", text)
    made = {"nt 9 13 9": "onednn", "nn 1": "torch", "attention 4": "torch", "unknown 3": "x"}
    assert ways.asked_otherwise(made) == expected


def test_a_settled_way_that_does_not_exist_here_is_measured_with_a_warning(new_process, caplog):
    settle_for = new_process()
    settle({"nt 9 13 9": "onednn"})
    with caplog.at_level(logging.WARNING):
        assert settle_for.choose(lacks=("onednn",)) == "torch"
    assert "'nt 9 13 9' was computed by 'onednn' before" in caplog.text


@pytest.mark.parametrize("text", ["torch", " torch ,", "nt=torch", "nn=onednn, nt = torch"])
def test_the_variable_goes_first(new_process, monkeypatch, text):
    process = new_process()
    settle({"nt 9 13 9": "onednn"})
    monkeypatch.setenv("HYBRID_FAST_WAYS", text)
    assert process.choose(slow="torch") == "torch"
    assert process.measured == 0
    assert choices()["nt 9 13 9"].source == "HYBRID_FAST_WAYS"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onednm", "a way of HYBRID_FAST_WAYS is 'onednm'; .* did you mean 'onednn'"),
        ("nt=mkl", "nt of HYBRID_FAST_WAYS is 'mkl'; it must be one of 'torch', 'onednn', 'core'"),
        ("tt=torch", "a kind of HYBRID_FAST_WAYS is 'tt'; it must be one of 'nt'"),
        ("nt=", "nt of HYBRID_FAST_WAYS is ''"),
    ],
)
def test_a_wrong_variable_is_refused(new_process, monkeypatch, text, message):
    monkeypatch.setenv("HYBRID_FAST_WAYS", text)
    with pytest.raises(ValueError, match=message):
        new_process().choose(kind="attention")


def test_a_way_that_does_not_exist_here_cannot_be_asked_for(new_process, monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_WAYS", "onednn")
    with pytest.raises(ValueError, match="asks for 'onednn', which does not exist here"):
        new_process().choose(lacks=("onednn",))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"seconds": []}',
        '{"seconds": {"torch 2": 1}}',
        '{"seconds": {"torch 2": {"nt 9 13 9": 1}}}',
        '{"seconds": {"torch 2": {"nt 9 13 9": {"torch": null, "onednn": 1}}}}',
    ],
)
def test_a_damaged_cache_is_written_anew(new_process, tmp_path, content):
    new_process().choose(slow="torch")
    (path,) = (tmp_path / "processors").iterdir()
    path.write_text(content, encoding="utf-8")
    process = new_process()
    assert process.choose(slow="torch") == "onednn"
    assert process.measured > 0
    assert "nt 9 13 9" in json.loads(path.read_text(encoding="utf-8"))["seconds"]["torch 2"]


def test_without_a_cache_each_process_measures(new_process, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError("read-only")

    monkeypatch.setattr(ways, "sole_use", refuse)
    assert new_process().choose(slow="torch") == "onednn"
    assert new_process().choose(slow="onednn") == "torch"


def test_the_process_that_measured_first_decides(new_process):
    """Two processes measure at once; the second finds the other's measurement when it writes."""
    first = new_process()
    path = ways.cache_file()

    def other_way():
        if not path.exists():
            ways._keep(path, "torch 2", "nt 9 13 9", {"torch": 2.0, "onednn": 1.0})

    computes = {"torch": other_way, "onednn": lambda: time.sleep(0.002)}
    assert ways.fastest("nt", "9 13 9", "torch 2", lambda: computes) == "onednn"
    assert first.measured == 0


def choose_four(slow):
    computes = {way: partial(time.sleep, 0.002 * (way == slow)) for way in ("torch", "onednn")}
    return [ways.fastest("nt", f"{n} 1 1", "torch 2", lambda: computes) for n in range(4)]


def test_processes_at_once_agree(new_process, tmp_path):
    """Each finds another way faster than the next one does; what is kept holds for all."""
    new_process()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        tasks = [pool.apply_async(choose_four, (slow,)) for slow in ("torch", "onednn") * 2]
        answers = [task.get() for task in tasks]
    assert all(answer == answers[0] for answer in answers)
    (path,) = (tmp_path / "processors").glob("*.json")
    assert len(json.loads(path.read_text(encoding="utf-8"))["seconds"]["torch 2"]) == 4


def test_a_busy_machine_is_measured_until_turns_agree(new_process, monkeypatch):
    """Of the first turns of the faster way only one in four is undisturbed."""
    monkeypatch.setattr(ways, "_AGREEING", 1.5)
    monkeypatch.setattr(ways, "_MOST_SECONDS", 10)
    turns = iter([0.02, 0.02, 0.001, 0.02, 0.02, 0.02] + [0.001] * 1000)
    computes = {"torch": lambda: time.sleep(0.008), "onednn": lambda: time.sleep(next(turns))}
    new_process()
    assert ways.fastest("nt", "9 13 9", "torch 2", lambda: computes) == "onednn"
    assert choices()["nt 9 13 9"].seconds["onednn"] < 0.008


def test_what_is_measured_while_turns_disagree_is_not_kept(new_process, monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "_AGREEING", 0)
    monkeypatch.setattr(ways, "_MOST_SECONDS", 0.01)
    assert new_process().choose(slow="torch") == "onednn"
    assert choices()["nt 9 13 9"].source == "measured"
    assert not (tmp_path / "processors").exists()
    assert new_process().choose(slow="onednn") == "torch"


def test_threads_at_once_agree(new_process):
    process = new_process()
    with ThreadPoolExecutor(4) as pool:
        slow = ("torch", "onednn") * 2
        assert len(set(pool.map(lambda way: process.choose(slow=way), slow))) == 1


def test_a_folder_that_is_a_file_is_an_error(new_process, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError, match=r"HYBRID_FAST_CACHE names .*file"):
        new_process().choose()


def test_a_cache_that_cannot_be_written_is_no_error(new_process, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "file/cache"))
    assert new_process().choose(slow="torch") == "onednn"


def test_what_is_not_measured_is_the_first_unless_it_was_settled_or_is_asked_for(
    new_process, monkeypatch
):
    def preferred() -> str:
        return ways.preferred("attention", "unpadded", ("core", "torch"))

    new_process()
    assert preferred() == "core"
    assert choices()["attention unpadded"].source == "preferred"
    settle({"attention unpadded": "torch"})
    assert preferred() == "torch"
    new_process()
    monkeypatch.setenv("HYBRID_FAST_WAYS", "attention=torch")
    assert preferred() == "torch"


def test_processes_that_share_work_follow_the_first_whatever_they_measure(new_process, tmp_path):
    path = tmp_path / "job" / "ways.json"
    first = new_process()
    with common_ways(path):
        assert first.choose(slow="torch") == "onednn"
    assert json.loads(path.read_text()) == {"torch 2": {"nt 9 13 9": "onednn"}}
    ways.cache_file().unlink(missing_ok=True)  # as where a busy machine keeps nothing
    other = new_process()
    assert other.choose(slow="onednn") == "torch"  # by itself
    with common_ways(path):
        assert other.choose(slow="onednn") == "onednn"
        assert choices()["nt 9 13 9"].source == "common"
        assert other.choose(slow="onednn", case="1 1 1") == "torch"
    assert other.choose(slow="onednn") == "torch"  # as before
    assert json.loads(path.read_text())["torch 2"]["nt 1 1 1"] == "torch"


def test_a_common_way_that_is_not_here_or_of_other_versions_is_not_followed(new_process, tmp_path):
    path = tmp_path / "ways.json"
    path.write_text('{"torch 2": {"nt 9 13 9": "onednn"}}')
    process = new_process()
    with common_ways(path):
        assert process.choose(lacks=("onednn",)) == "torch"
        ways._chosen.clear()
        assert process.choose(setting="torch 3", slow="onednn") == "torch"
    assert json.loads(path.read_text())["torch 2"]["nt 9 13 9"] == "onednn"


def test_the_first_of_many_processes_decides(tmp_path):
    path = tmp_path / "ways.json"
    with ThreadPoolExecutor(8) as pool:
        held = list(
            pool.map(
                lambda i: ways._keep_common(path, "s", "q", ("torch", "core")[i % 2]), range(24)
            )
        )
    assert len(set(held)) == 1
    assert json.loads(path.read_text()) == {"s": {"q": held[0]}}


def test_a_damaged_file_of_common_ways_is_named(new_process, tmp_path):
    path = tmp_path / "ways.json"
    path.write_text("{")
    process = new_process()
    with common_ways(path), pytest.raises(ValueError, match=r"ways\.json"):
        process.choose()
