"""Half precision that a processor emulates: known, measured, and said once."""

import json
import logging

import pytest
import torch
import torch.distributed as dist

from hybrid_fast.cpu import emulates, half_precision, say_if_emulated, slowdown, ways

BF16, FP16 = torch.bfloat16, torch.float16


def processor_with(monkeypatch, *sets):
    described = {"name": "A processor", "instruction_sets": list(sets)}
    monkeypatch.setattr(half_precision, "processor", lambda: described)


@pytest.mark.parametrize(
    ("sets", "bf16", "fp16"),
    [
        (["avx2"], True, True),
        (["avx2", "avx512f"], True, True),
        (["avx2", "avx512f", "avx512_bf16"], False, True),
        (["avx512f", "amx_bf16"], False, True),
        (["avx512_bf16", "avx512_fp16", "amx_bf16"], False, False),
        (["avx2", "avx_ne_convert"], False, False),
        (["asimd"], True, True),
        (["asimd", "asimdhp", "bf16"], False, False),
    ],
)
def test_it_is_known_by_instruction_sets(monkeypatch, sets, bf16, fp16):
    processor_with(monkeypatch, *sets)
    assert (emulates(BF16), emulates(FP16)) == (bf16, fp16)
    assert not emulates(torch.float32)
    assert not emulates(torch.float64)


@pytest.mark.parametrize(("factor", "emulated"), [(0.6, False), (1.4, False), (6.0, True)])
def test_an_unknown_processor_is_measured(monkeypatch, factor, emulated):
    processor_with(monkeypatch)
    monkeypatch.setattr(half_precision, "slowdown", lambda dtype: factor)
    assert emulates(BF16) == emulated


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """What is measured: layers by dtype; a cache of its own keeps it."""
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.setattr(half_precision, "_said", set())
    calls = []

    def measure(layers):
        calls.append({name: layer.weight.dtype for name, layer in layers.items()})
        return {"float32": [0.002] * 4, "bfloat16": [0.0316] * 4}

    monkeypatch.setattr(ways, "_measure", measure)
    return calls


def test_the_factor_is_measured_once_and_kept_for_all_processes(measured, tmp_path):
    assert slowdown(BF16) == slowdown(BF16) == pytest.approx(15.8)
    assert measured == [{"float32": torch.float32, "bfloat16": BF16}]
    (path,) = (tmp_path / "processors").iterdir()
    (questions,) = json.loads(path.read_text())["seconds"].values()
    assert questions == {"layer bfloat16": {"float32": 0.002, "bfloat16": 0.0316}}
    assert "layer bfloat16" not in ways.choices()


def test_a_layer_computes_forward_and_both_gradients_in_its_dtype(monkeypatch):
    shapes = []
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: (shapes.append((tuple(a.shape), tuple(b.shape), a.dtype)), product(a, b))[1],
    )
    with torch.autocast("cpu", torch.bfloat16):
        half_precision._Layer(torch.float32)()
    assert shapes == [
        ((128, 256), (256, 256), torch.float32),
        ((128, 256), (256, 256), torch.float32),
        ((256, 128), (128, 256), torch.float32),
    ]


def test_a_measurement_leaves_random_numbers_and_flags_as_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    assert slowdown(BF16) > 0
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_it_is_said_once_with_the_factor_that_was_measured(measured, monkeypatch, caplog):
    processor_with(monkeypatch, "avx2")
    for _ in range(2):
        say_if_emulated(BF16, "bf16=True", "Set bf16=False")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "bf16=True: this processor (A processor) has no products of bfloat16 and emulates them: a "
        "layer and its gradients take 16 times as long as in float32, as measured here. "
        "Set bf16=False."
    )


@pytest.mark.parametrize(
    ("factor", "said"), [(1.62, "1.6"), (9.5, "9.5"), (15.8, "16"), (130, "130")]
)
def test_the_factor_is_said_in_few_digits(emulating, monkeypatch, caplog, factor, said):
    monkeypatch.setattr(half_precision, "slowdown", lambda dtype: factor)
    say_if_emulated(BF16, "bf16=True", "Set bf16=False")
    assert f"take {said} times as long" in caplog.text


def test_an_unknown_processor_is_measured_once_by_calls_that_may_warn(emulating, monkeypatch):
    """Also where the cache cannot be written, as each call to encode asks."""
    processor_with(monkeypatch)
    measured = []
    monkeypatch.setattr(half_precision, "slowdown", lambda dtype: measured.append(dtype) or 0.6)
    for _ in range(3):
        say_if_emulated(BF16, "given", "instead")
    assert measured == [BF16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, BF16])
def test_nothing_is_said_or_measured_where_nothing_is_emulated(
    measured, monkeypatch, caplog, dtype
):
    processor_with(monkeypatch, "avx2", "avx512_bf16")
    say_if_emulated(dtype, "given", "instead")
    assert not caplog.records
    assert not measured


def test_other_ranks_say_and_measure_nothing(measured, monkeypatch, caplog):
    processor_with(monkeypatch, "avx2")
    for name, value in {"WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    say_if_emulated(BF16, "bf16=True", "Set bf16=False")
    monkeypatch.setattr(half_precision, "_said", set())
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    say_if_emulated(BF16, "bf16=True", "Set bf16=False")
    assert not caplog.records
    assert not measured


def test_wrong_variables_of_a_launcher_do_not_disturb(emulating, monkeypatch, caplog):
    monkeypatch.setenv("WORLD_SIZE", "two")
    say_if_emulated(BF16, "bf16=True", "Set bf16=False")
    assert len(caplog.records) == 1


def test_a_process_that_leaves_it_to_another(emulating, caplog):
    half_precision.leave_unsaid()
    say_if_emulated(BF16, "bf16=True", "Set bf16=False")
    assert not caplog.records
