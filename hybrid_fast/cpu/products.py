"""Products of float32 matrices on the CPU, each form by the library that is fastest at it here.

    nt  A B^T, such as a linear layer
    nn  A B, such as the gradient of its input
    tn  A^T B, such as the gradient of its weights

On an AMD processor with AVX-512 oneDNN is 2.4 times as fast as the MKL behind `torch.mm`; on one
with AVX2 it is faster at A B^T alone, on an Intel slower at all. The C++ core is near the faster
one at A B and, since it copies nothing, at A^T B, and adds to a total in place. So the way of each
form is measured for a class of shapes and layouts, see `ways.fastest`. Small products, other
dtypes, and what is not on the CPU take torch's. Results are exact in float32, and the same each
time. Nothing here is differentiable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from hybrid_fast import __version__
from hybrid_fast.cpu import compat
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.cpu.ways import fastest, known

_FEWEST = 2**20  # multiplications that are worth a question
_MOST_MEASURED = 2**28  # multiplications: a millisecond or two
_LARGEST = 4096  # sizes from here on are of one class
_GAP = 16  # numbers between the rows of a measured operand that has gaps

_Ways = Mapping[str, Callable[..., Any]]


def nt(
    a: Tensor, b: Tensor, bias: Tensor | None = None, *, scratch: Tensor | None = None
) -> Tensor:
    """Return a b^T + bias, (M, N).

    Args:
        a: (M, K); detached, as are all operands here, and in any layout.
        b: (N, K), of the same dtype.
        bias: (N,).
        scratch: (M, N), contiguous; a way that can returns the result in it.
    """
    (m, k), n = a.shape, b.shape[0]
    product: Tensor = _way("nt", _NT, a, b, m, n, k)(a, b, bias, scratch)
    return product


def nn(a: Tensor, b: Tensor) -> Tensor:
    """Return a b, (M, N), for (M, K) and (K, N)."""
    (m, k), n = a.shape, b.shape[1]
    product: Tensor = _way("nn", _NN, a, b, m, n, k)(a, b)
    return product


def tn(a: Tensor, b: Tensor) -> Tensor:
    """Return a^T b, (M, N), for (K, M) and (K, N)."""
    (k, m), n = a.shape, b.shape[1]
    product: Tensor = _way("tn", _TN, a, b, m, n, k)(a, b)
    return product


def add_tn(a: Tensor, b: Tensor, total: Tensor) -> None:
    """Add a^T b to a contiguous total (M, N), for (K, M) and (K, N)."""
    (k, m), n = a.shape, b.shape[1]
    _way("tn", _ADD_TN, a, b, m, n, k, " added")(a, b, total)


PRODUCTS = ("nt", "nn", "tn")  # of `ways.WAYS`


def described(case: str) -> str:
    """Return a class of products in words: sizes M x N x K, and how the operands lie."""
    m, n, k, layouts, *added = case.split(" ")
    bits = m, n, k
    sizes = [f"{2 ** (int(bit) - 1)}-{2 ** int(bit) - 1}" for bit in bits]
    largest = _bits(_LARGEST)
    sizes = [
        f"{_LARGEST} and more" if int(bit) == largest else size
        for bit, size in zip(bits, sizes, strict=True)
    ]
    names = {"r": "rows", "c": "columns", "g": "gaps"}
    words = [" x ".join(sizes), f"by {names[layouts[0]]} and {names[layouts[1]]}", *added]
    return ", ".join(words)


def setting() -> str:
    """Return what a measurement holds for: versions of libraries, ours among them, and threads."""
    return f"{libraries()}, {torch.get_num_threads()} threads"


@cache
def libraries() -> str:
    """Return the versions of hybrid_fast, torch, and the libraries that torch multiplies with."""
    told = torch.__config__.show()
    known = {
        "BLAS": r"BLAS_INFO=(\w+)",
        "MKL": r"Math Kernel Library Version (\S+)",
        "oneDNN": r"MKL-DNN v(\S+)",
    }
    found = {name: re.search(pattern, told) for name, pattern in known.items()}
    named = [f"{name} {match[1]}" for name, match in found.items() if match]
    return ", ".join([f"hybrid_fast {__version__}", f"torch {torch.__version__}", *named])


def _torch_nt(
    a: Tensor, b: Tensor, bias: Tensor | None = None, scratch: Tensor | None = None
) -> Tensor:
    return torch.mm(a, b.T, out=scratch) if bias is None else torch.addmm(bias, a, b.T, out=scratch)


def _onednn_nt(
    a: Tensor, b: Tensor, bias: Tensor | None = None, scratch: Tensor | None = None
) -> Tensor:
    return compat.onednn_product(a, _without_gaps(b), bias)


def _core_nt(
    a: Tensor, b: Tensor, bias: Tensor | None = None, scratch: Tensor | None = None
) -> Tensor:
    out = a.new_empty(a.shape[0], b.shape[0]) if scratch is None else scratch
    return _by_core(a, b.T, out, bias=bias)


def _onednn_nn(a: Tensor, b: Tensor) -> Tensor:
    return compat.onednn_product(a, _without_gaps(b.T))


def _core_nn(a: Tensor, b: Tensor) -> Tensor:
    return _by_core(a, b, a.new_empty(a.shape[0], b.shape[1]))


def _torch_tn(a: Tensor, b: Tensor) -> Tensor:
    return torch.mm(a.T, b)


def _onednn_tn(a: Tensor, b: Tensor) -> Tensor:
    # oneDNN copies a transposed first operand.
    return compat.onednn_product(a.T, _without_gaps(b.T))


def _core_tn(a: Tensor, b: Tensor) -> Tensor:
    return _by_core(a.T, b, a.new_empty(a.shape[1], b.shape[1]))


def _torch_add_tn(a: Tensor, b: Tensor, total: Tensor) -> None:
    total.addmm_(a.T, b)


def _onednn_add_tn(a: Tensor, b: Tensor, total: Tensor) -> None:
    total.copy_(compat.onednn_product_added(a.T, _without_gaps(b.T), total))


def _core_add_tn(a: Tensor, b: Tensor, total: Tensor) -> None:
    _by_core(a.T, b, total, add=True)


# The core stands first: libraries pack whole operands, so one has to be faster to be taken.
_NT: _Ways = {"core": _core_nt, "torch": _torch_nt, "onednn": _onednn_nt}
_NN: _Ways = {"core": _core_nn, "torch": torch.mm, "onednn": _onednn_nn}
_TN: _Ways = {"core": _core_tn, "torch": _torch_tn, "onednn": _onednn_tn}
_ADD_TN: _Ways = {"core": _core_add_tn, "torch": _torch_add_tn, "onednn": _onednn_add_tn}


def _by_core(
    a: Tensor, b: Tensor, out: Tensor, *, add: bool = False, bias: Tensor | None = None
) -> Tensor:
    """Write a b + bias to a contiguous `out`, or add a b, and return it."""
    from hybrid_fast import _core  # loaded by those who need it

    _core.multiply_float(
        array_of(a),
        array_of(b),
        array_of(out),
        add=add,
        bias=None if bias is None else array_of(bias.contiguous()),
        num_threads=torch.get_num_threads(),
    )
    return out


def _without_gaps(b: Tensor) -> Tensor:
    """Return a second operand whose rows or columns lie side by side.

    For others oneDNN takes its reference code, 2,500 times as slow.
    """
    return b if b.is_contiguous() or b.T.is_contiguous() else b.contiguous()


def _way(
    kind: str, ways: _Ways, a: Tensor, b: Tensor, m: int, n: int, k: int, added: str = ""
) -> Callable[..., Any]:
    """Return the function that computes a product of sizes M, N, K. Costs about a microsecond."""
    if (
        m * n * k < _FEWEST
        or a.dtype is not torch.float32
        or not a.is_cpu
        or torch.compiler.is_compiling()  # a trace can measure nothing
    ):
        return ways["torch"]
    layouts = _layout(a) + _layout(b)
    case = f"{_bits(m)} {_bits(n)} {_bits(k)} {layouts}{added}"
    way = known(kind, case)
    if way is None:
        bits = _bits(m), _bits(n), _bits(k)
        measured = partial(_to_measure, ways, kind, bits, layouts, bool(added))
        way = fastest(kind, case, setting(), measured)
    return ways[way]


def _bits(size: int) -> int:
    return (size if size < _LARGEST else _LARGEST).bit_length()


def _layout(matrix: Tensor) -> str:
    """Return "r" if rows lie side by side, "c" if columns do, "g" if there are gaps."""
    return "r" if matrix.is_contiguous() else "c" if matrix.T.is_contiguous() else "g"


def _to_measure(
    ways: _Ways, kind: str, bits: tuple[int, ...], layouts: str, added: bool
) -> dict[str, Callable[[], object]]:
    """Return the ways to compute one product of a class, for `fastest`."""
    sizes = [3 * 2**bit // 4 for bit in bits]  # in the middle of each class
    while math.prod(sizes) > _MOST_MEASURED:
        sizes[sizes.index(max(sizes))] //= 2
    m, n, k = sizes
    shapes = {"nt": ((m, k), (n, k)), "nn": ((m, k), (k, n)), "tn": ((k, m), (k, n))}[kind]

    @cache
    def operands() -> list[Tensor]:
        made = [_operand(*shape, layout) for shape, layout in zip(shapes, layouts, strict=True)]
        return [*made, _operand(m, n, "r")] if added else made

    return {
        way: partial(_computed, compute, operands)
        for way, compute in ways.items()
        if way != "onednn" or compat.has_onednn_product()
    }


def _operand(rows: int, columns: int, layout: str) -> Tensor:
    if layout == "c":
        return _operand(columns, rows, "r").T
    width = columns + (_GAP if layout == "g" else 0)
    return torch.ones(rows, width, dtype=torch.float32, device="cpu")[:, :columns]


def _computed(compute: Callable[..., Any], operands: Callable[[], list[Tensor]]) -> None:
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        compute(*operands())
