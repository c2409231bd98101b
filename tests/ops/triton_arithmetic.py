"""Triton's interpreter, mended to compute as a GPU does.

It keeps bfloat16 as its bits, in uint16, and takes these for numbers: in products, in arithmetic,
in comparisons and in conversions but those from and to float32, where it cuts bits off and misreads
subnormals. Here all of that is done in float32 and rounded to the nearest number.
"""

from __future__ import annotations

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

LOG2_E = np.float32(1.4426950408889634)


def mend(monkeypatch):
    """Mend the interpreter for as long as `monkeypatch` lasts."""
    for name in ("unary_op", "binary_op", "ternary_op", "create_fma"):
        operation = in_float32(getattr(InterpreterBuilder, name))
        monkeypatch.setattr(InterpreterBuilder, name, operation)
    monkeypatch.setattr(InterpreterBuilder, "cast_impl", conversion(InterpreterBuilder.cast_impl))
    to_float = rounding_conversion(InterpreterBuilder.create_fp_to_fp)
    monkeypatch.setattr(InterpreterBuilder, "create_fp_to_fp", to_float)
    monkeypatch.setattr(InterpreterBuilder, "get_bf16", constant, raising=False)  # not in 3.6
    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)
    monkeypatch.setattr(InterpreterBuilder, "create_exp", exponential)
    sums = of_more_digits(interpreter.ReduceOps.sum)
    monkeypatch.setattr(interpreter.ReduceOps, "sum", sums)
    of_tensors = with_indices(interpreter._patch_lang_tensor)
    monkeypatch.setattr(interpreter, "_patch_lang_tensor", of_tensors)
    monkeypatch.setattr(interpreter, "_patch_lang", patched_once(interpreter._patch_lang))


def widened(handle):
    """Return a handle of bfloat16 as one of float32, any other as it is."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    bits = handle.data.astype(np.uint32) << 16
    return TensorHandle(bits.view(np.float32), tl.float32)


def rounded(handle):
    """Return a handle of numbers as one of bfloat16, rounded to the nearest."""
    values = torch.from_numpy(np.atleast_1d(handle.data).astype(np.float32))
    bits = values.bfloat16().view(torch.uint16).numpy()
    return TensorHandle(bits.reshape(handle.data.shape), tl.bfloat16)


def constant(self, value):
    return rounded(self.get_fp32(value))


def in_float32(operation):
    def operate(self, *arguments):
        wide = [widened(x) if isinstance(x, TensorHandle) else x for x in arguments]
        result = operation(self, *wide)
        was_wide = all(new is old for new, old in zip(wide, arguments, strict=True))
        return result if was_wide or result.data.dtype == np.bool_ else rounded(result)

    return operate


def conversion(convert):
    def convert_numbers(self, value, dtype):
        if dtype.scalar == value.dtype.scalar:
            return value
        if dtype.scalar == tl.bfloat16:
            return rounded(value)
        wide = widened(value)
        return wide if dtype.scalar == wide.dtype.scalar else convert(self, wide, dtype)

    return convert_numbers


def rounding_conversion(convert):
    def convert_numbers(self, value, dtype, rounding):
        is_bfloat16 = tl.bfloat16 in (value.dtype.scalar, dtype.scalar)
        if is_bfloat16 and rounding != interpreter._ir.ROUNDING_MODE.RTZ:
            return self.cast_impl(value, dtype)
        return convert(self, value, dtype, rounding)

    return convert_numbers


def dot(self, a, b, total, *_):
    """Multiply in float64, rounded to float32.

    The bits of an entry then do not depend on its place, as on tensor cores.
    """
    product = np.matmul(widened(a).data, widened(b).data, dtype=np.float64)
    return TensorHandle(product.astype(total.data.dtype) + total.data, total.dtype.scalar)


def exponential(self, value):
    """Compute e^x of float32 as 2^(x log2 e), as GPUs do: the rounded exponent costs digits."""
    if value.dtype.scalar != tl.float32:
        return self.unary_op(value, np.exp)
    return self.unary_op(value, lambda x: np.exp2(x * LOG2_E))


def of_more_digits(add):
    def add_up(self, value):
        if value.dtype == tl.bfloat16:
            raise TypeError("GPUs would round each step of a sum of bfloat16: convert it first")
        return add(self, value)

    return add_up


def with_indices(patch):
    """Let scalars, which are arrays of one entry, be indices: NumPy 2.4 and Triton 3.6 do not."""

    def patch_tensors(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    return patch_tensors


def patched_once(patch):
    """Let functions called by a kernel find the language as the kernel has patched it.

    The interpreter patches it again at each call, to the same, which takes a third of the time.
    """

    def patch_what_is_not(function):
        seen = [value for value in function.__globals__.values() if value is tl or value is tl.core]
        if any(tl.core.is_builtin(module.load) for module in seen):
            return patch(function)
        return interpreter._LangPatchScope()

    return patch_what_is_not
