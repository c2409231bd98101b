"""Products of float32 matrices against float64, by each way, in every form and layout."""

from functools import partial

import pytest
import torch
from product_ways import WAYS, compute_by

import hybrid_fast
from hybrid_fast.cpu import choices, compat, products, ways

SIZES = [(160, 130, 70), (1, 700, 300), (129, 1, 2100), (300, 131, 1)]
LAYOUTS = ["r", "c", "g"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Every product, however small, is computed by one way."""
    compute_by(request.param, monkeypatch)
    return request.param


def matrix(rows, columns, layout="r", dtype=torch.float32):
    """Random numbers by rows, by columns, or with gaps between rows."""
    generator = torch.Generator().manual_seed(rows + columns)
    if layout == "c":
        return matrix(columns, rows, "r", dtype).T
    width = columns + (5 if layout == "g" else 0)
    return torch.randn(rows, width, generator=generator, dtype=dtype)[:, :columns]


def check(found, expected, k):
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    error = (found.double() - expected).norm() / expected.norm()
    assert error <= 1e-6 + 2e-7 * k**0.5


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("layout_b", LAYOUTS)
@pytest.mark.parametrize("layout_a", LAYOUTS)
def test_all_forms_equal_float64(way, sizes, layout_a, layout_b):
    m, n, k = sizes
    for form, a, b, exact in [
        (products.nt, (m, k), (n, k), lambda a, b: a @ b.T),
        (products.nn, (m, k), (k, n), lambda a, b: a @ b),
        (products.tn, (k, m), (k, n), lambda a, b: a.T @ b),
    ]:
        a, b = matrix(*a, layout_a), matrix(*b, layout_b)
        check(form(a, b), exact(a.double(), b.double()), k)
    assert {choice.way for choice in choices().values()} == {way}


@pytest.mark.parametrize("sizes", SIZES)
def test_a_bias_is_added(way, sizes):
    m, n, k = sizes
    a, b, bias = matrix(m, k), matrix(n, k), matrix(1, n)[0]
    check(products.nt(a, b, bias), a.double() @ b.double().T + bias, k)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_scratch_may_hold_the_result(way, sizes):
    m, n, k = sizes
    a, b, bias = matrix(m, k), matrix(n, k), matrix(1, n)[0]
    scratch = torch.full((m, n), float("nan"))
    found = products.nt(a, b, scratch=scratch)
    assert (found.data_ptr() == scratch.data_ptr()) == (way != "onednn")
    assert torch.equal(found, products.nt(a, b))
    assert torch.equal(products.nt(a, b, bias, scratch=scratch), products.nt(a, b, bias))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_product_is_added_in_place(way, sizes, layout):
    m, n, k = sizes
    a, b, total = matrix(k, m, layout), matrix(k, n, layout), matrix(m, n)
    expected = total.double() + a.double().T @ b.double()
    address = total.data_ptr()
    products.add_tn(a, b, total)
    assert total.data_ptr() == address
    check(total, expected, k)


def test_nothing_to_multiply(way):
    assert products.nt(matrix(0, 8), matrix(5, 8)).shape == (0, 5)
    assert products.nn(matrix(3, 8), matrix(8, 0)).shape == (3, 0)
    assert torch.equal(products.tn(matrix(0, 3), matrix(0, 4)), torch.zeros(3, 4))
    bias = matrix(1, 4)[0]
    assert torch.equal(products.nt(matrix(2, 0), matrix(4, 0), bias), bias.expand(2, 4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_take_torch_without_a_question(way, dtype):
    a, b = matrix(64, 128, dtype=dtype), matrix(64, 128, dtype=dtype)
    assert torch.equal(products.nt(a, b), a @ b.T)
    assert torch.equal(products.tn(a, b), a.T @ b)
    assert not choices()


def test_small_products_take_torch_without_a_question(monkeypatch):
    monkeypatch.setattr(ways, "_chosen", {})
    products.nt(matrix(100, 100), matrix(100, 100))
    assert not choices()


def test_a_class_is_measured_once_and_both_ways_are_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.delenv("HYBRID_FAST_WAYS", raising=False)
    for rows in (128, 200, 255):  # of one class
        products.nn(matrix(rows, 130), matrix(130, 150))
    ((case, choice),) = choices().items()
    assert case == "nn 8 8 8 rr"
    assert choice.source == "measured"
    lacking = set() if compat.has_onednn_product() else {"onednn"}
    assert set(choice.seconds) == {"torch", "onednn", "core"} - lacking


@pytest.mark.parametrize("asked", ["torch", ""])
def test_operands_to_measure_are_made_only_to_measure(monkeypatch, tmp_path, asked):
    """Not where a way is asked for, or was kept: they would be most of what a small call holds."""
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.setenv("HYBRID_FAST_WAYS", "")
    monkeypatch.setattr(ways, "_AGREEING", float("inf"))  # or a busy machine keeps nothing
    multiply = partial(products.nt, matrix(130, 140), matrix(150, 140))
    monkeypatch.setattr(ways, "_chosen", {})
    expected = multiply()
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("HYBRID_FAST_WAYS", asked)
    monkeypatch.setattr(products, "_operand", None)
    torch.testing.assert_close(multiply(), expected)
    (choice,) = choices().values()
    assert choice.source == ("HYBRID_FAST_WAYS" if asked else "kept")


def test_classes_in_words():
    assert products.described("9 13 2 rc") == ("256-511 x 4096 and more x 2-3, by rows and columns")
    assert products.described("1 2 3 gr added") == "1-1 x 2-3 x 4-7, by gaps and rows, added"


def test_a_measurement_holds_for_these_versions_and_threads():
    setting = products.setting()
    assert f"hybrid_fast {hybrid_fast.__version__}, torch {torch.__version__}" in setting
    assert setting.endswith(f", {torch.get_num_threads()} threads")


def test_without_onednn_the_others_are_left(monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.delenv("HYBRID_FAST_WAYS", raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)
    monkeypatch.setattr(compat, "has_onednn_product", compat.has_onednn_product.__wrapped__)
    a, b = matrix(130, 140), matrix(150, 140)
    check(products.nt(a, b), a.double() @ b.double().T, 140)
    (choice,) = choices().values()
    assert set(choice.seconds) == {"torch", "core"}
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("HYBRID_FAST_WAYS", "onednn")
    with pytest.raises(ValueError, match="'onednn', which does not exist here for 'nt'"):
        products.nt(a, b)


def test_a_build_whose_kernel_fails_has_no_onednn(monkeypatch):
    def refuse(*_):
        raise RuntimeError("not built with oneDNN")

    monkeypatch.setattr(compat, "onednn_product", refuse)
    assert not compat.has_onednn_product.__wrapped__()


def test_a_compiler_takes_torch():
    a, b = matrix(130, 140), matrix(150, 140)
    compiled = torch.compile(products.nt, backend="eager", fullgraph=True)
    assert torch.equal(compiled(a, b), a @ b.T)
