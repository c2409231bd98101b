"""Where the time goes, and how fast training is."""

from __future__ import annotations

import time

import torch

from hybrid_fast.training.timing import PARTS, EndOfUpdate, StepTimer, Throughput


def test_a_part_within_a_part_counts_for_itself_alone():
    timer = StepTimer()
    with timer.part("loss"):
        time.sleep(0.02)
        with timer.part("waiting"):
            time.sleep(0.04)
        time.sleep(0.02)
    assert tuple(timer.seconds) == PARTS
    assert 0.04 <= timer.seconds["loss"] < 0.06
    assert 0.04 <= timer.seconds["waiting"] < 0.06


def test_a_part_that_fails_is_timed_all_the_same():
    timer = StepTimer()
    try:
        with timer.part("data"):
            time.sleep(0.01)
            raise KeyError
    except KeyError:
        pass
    assert timer.seconds["data"] >= 0.01


def test_the_optimiser_is_timed_from_the_gradient_to_the_end_of_the_update():
    timer = StepTimer()
    callback = EndOfUpdate(timer)
    timer.begin("optimiser")
    time.sleep(0.01)
    callback.on_step_end()
    callback.on_step_end()  # nothing was begun
    assert timer.num_updates == 2
    assert 0.01 <= timer.seconds["optimiser"] < 0.03


def test_rates_are_those_since_they_were_taken_last():
    throughput = Throughput()
    throughput.count(4, 60, 100)
    throughput.count(4, 60, 100)
    time.sleep(0.05)
    rates = throughput.take(torch.device("cpu"))
    assert rates["padding_share"] == 0.4
    assert 80 < rates["pairs_per_second"] <= 160
    assert rates["tokens_per_second"] / rates["pairs_per_second"] == 15
    assert throughput.take(torch.device("cpu"))["pairs_per_second"] == 0
