"""Features reach a device whole, in one copy, and numbers stay where they can be read."""

from __future__ import annotations

import pytest
import torch

from hybrid_fast.models.transfer import pack, to_device, unpack

CPU = torch.device("cpu")


def features() -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.arange(15).view(3, 5),
        "cu_seq_lens": torch.tensor([0, 5, 7], dtype=torch.int32),
        "flags": torch.tensor([True, False, True]),
        "none": torch.empty(0, 4),
        "states": torch.randn(2, 3, dtype=torch.float64).T,  # not contiguous
        "half": torch.randn(7).bfloat16(),
    }


def test_what_is_packed_comes_back():
    tensors = features()
    packed = pack(tensors)
    assert (packed.dtype, packed.dim()) == (torch.uint8, 1)
    found = unpack(packed, tensors)
    assert list(found) == list(tensors)
    for name, each in tensors.items():
        assert found[name].dtype == each.dtype
        assert torch.equal(found[name], each)
        assert not each.numel() or found[name].data_ptr() % 8 == 0


def test_what_is_changed_in_place_leaves_the_others_as_they_were_saved():
    tensors = {"weights": torch.ones(3), "mask": torch.ones(3)}
    found = unpack(pack(tensors), tensors)
    leaf = torch.ones(3, requires_grad=True)
    out = leaf * found["weights"]
    found["mask"].zero_()
    out.sum().backward()  # RuntimeError, if autograd took that for a change of the weights
    assert torch.equal(leaf.grad, tensors["weights"])


def test_nothing_is_packed_into_nothing():
    assert pack({}).numel() == 0
    assert unpack(torch.empty(0, dtype=torch.uint8), {}) == {}


def test_on_the_cpu_tensors_stay():
    tensors = {**features(), "max_length": torch.tensor(64)}
    found = to_device(tensors, CPU)
    assert found.keys() == tensors.keys()
    assert all(found[name] is each for name, each in tensors.items())


def test_numbers_stay_on_the_cpu():
    found = to_device({"ids": torch.ones(3), "max_length": torch.tensor(64)}, torch.device("meta"))
    assert found["ids"].device.type == "meta"
    assert int(found["max_length"]) == 64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_a_gpu_gets_all_at_once():
    tensors = {**features(), "max_length": torch.tensor(64)}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        found = to_device(tensors, torch.device("cuda"))
        torch.cuda.synchronize()
    copies = [each for each in profile.events() if "Memcpy HtoD" in each.name]
    assert len(copies) == 1
    for name, each in tensors.items():
        assert torch.equal(found[name].cpu(), each)
        assert found[name].is_cuda == (name != "max_length")
