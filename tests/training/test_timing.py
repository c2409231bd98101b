"""Where the time goes, and how fast training is."""

from __future__ import annotations

import pytest
import torch

from hybrid_fast.training.timing import PARTS, EndOfUpdate, StepTimer, Throughput


class Clock:
    """Stands for the module `time`; a test says how time goes by."""

    def __init__(self):
        self.now = 5.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("hybrid_fast.training.timing.time", clock)
    return clock


def test_a_part_within_a_part_counts_for_itself_alone(time):
    timer = StepTimer()
    with timer.part("loss"):
        time.sleep(0.02)
        with timer.part("waiting"):
            time.sleep(0.04)
        time.sleep(0.02)
    assert tuple(timer.seconds) == PARTS
    assert timer.seconds["loss"] == pytest.approx(0.04)
    assert timer.seconds["waiting"] == pytest.approx(0.04)


def test_a_part_that_fails_is_timed_all_the_same(time):
    timer = StepTimer()
    try:
        with timer.part("data"):
            time.sleep(0.01)
            raise KeyError
    except KeyError:
        pass
    assert timer.seconds["data"] == pytest.approx(0.01)


def test_the_optimiser_is_timed_from_the_gradient_to_the_end_of_the_update(time):
    timer = StepTimer()
    callback = EndOfUpdate(timer)
    timer.begin("optimiser")
    time.sleep(0.01)
    callback.on_step_end()
    callback.on_step_end()  # nothing was begun
    assert timer.num_updates == 2
    assert timer.seconds["optimiser"] == pytest.approx(0.01)


def test_rates_are_those_since_they_were_taken_last(time):
    throughput = Throughput()
    throughput.count(4, 60, 100)
    throughput.count(4, 60, 100)
    time.sleep(0.05)
    rates = throughput.take(torch.device("cpu"))
    assert rates["padding_share"] == 0.4
    assert rates["pairs_per_second"] == pytest.approx(160, rel=0.01)  # rounded for the log
    assert rates["tokens_per_second"] == pytest.approx(2400, rel=0.01)
    time.sleep(1)
    assert throughput.take(torch.device("cpu"))["pairs_per_second"] == 0
