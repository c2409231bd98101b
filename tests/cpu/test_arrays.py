"""What tensors are to the core: the same memory, wherever it can be read."""

import pytest
import torch

from hybrid_fast import _core
from hybrid_fast.cpu import products
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.ops import info_nce


def at_an_odd_address(tensor):
    """Return the same numbers, one byte after a multiple of their size."""
    numbers = bytearray(b"\0" + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(numbers, dtype=tensor.dtype, offset=1).reshape(tensor.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_an_array_is_the_memory_of_its_tensor(dtype):
    tensor = torch.zeros(4, 6, dtype=dtype)
    for part in (tensor, tensor.T, tensor[1::2, 2:], tensor[:, :0]):
        array = array_of(part)
        assert array.flags.writeable
        assert array.shape == tuple(part.shape)
        array[...] = 1
        assert part.eq(1).all()


def test_bfloat16_is_uint16():
    tensor = torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16)
    array = array_of(tensor)
    assert array.dtype == "uint16"
    assert array.tolist() == [[0x3F80, 0xC000]]
    array[0, 0] = 0xC000
    assert tensor.tolist() == [[-2.0, -2.0]]


def test_a_tensor_that_needs_a_gradient():
    parameter = torch.nn.Parameter(torch.zeros(3))
    array_of(parameter)[1] = 5
    assert parameter.tolist() == [0, 5, 0]


def test_numbers_at_odd_addresses_are_copied_to_be_read():
    numbers = torch.randn(5, 7)
    odd = at_an_odd_address(numbers)
    assert odd.data_ptr() % odd.element_size() == 1
    for given, expected in ((odd, numbers), (odd.T, numbers.T), (odd[::2, 1:], numbers[::2, 1:])):
        array = array_of(given)
        assert array.flags.aligned
        assert torch.from_numpy(array.copy()).equal(expected)
    factor = array_of(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="out is read-only"):
        _core.multiply_float(factor, array_of(numbers), array_of(odd), add=False, num_threads=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_and_products_of_numbers_at_odd_addresses(dtype):
    q, p = (torch.randn(65, 128).to(dtype) for _ in range(2))
    numbers = torch.arange(65)
    rules = {
        "positives": numbers,
        "query_groups": numbers % 7,
        "passage_groups": numbers % 7,
        "owners": torch.full((65,), -1),
    }
    odd = {name: at_an_odd_address(tensor) for name, tensor in rules.items()}
    odd_q, odd_p = at_an_odd_address(q), at_an_odd_address(p)
    for options in ({}, {"symmetric": True, "margin": 0.1}):
        expected = info_nce(q, p, backend="cpu", **rules, **options)
        assert info_nce(odd_q, odd_p, backend="cpu", **odd, **options).equal(expected)
    a, b = q.float().repeat(4, 1), p.float().repeat(4, 1)
    torch.testing.assert_close(products.nt(at_an_odd_address(a), at_an_odd_address(b)), a @ b.T)
