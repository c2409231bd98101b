"""Compile a Triton kernel for GPUs that are not here, and read what the binary uses.

`n_spills` of a compiled kernel is known only once a driver has loaded it: the binary is read.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import MappingProxyType

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hybrid_fast.ops.backends.triton_mask import KernelMask

TARGETS = {  # and the shared memory of a block
    "sm_80": (GPUTarget("cuda", 80, 32), 163 * 1024),
    "sm_89": (GPUTarget("cuda", 89, 32), 99 * 1024),
    "sm_90": (GPUTarget("cuda", 90, 32), 227 * 1024),
    "gfx942": (GPUTarget("hip", "gfx942", 64), 64 * 1024),
}
NVIDIA = [name for name in TARGETS if name.startswith("sm_")]
TYPES = {
    "query_groups": "*i64",
    "passage_groups": "*i64",
    "query_passage_ids": "*i64",
    "passage_ids": "*i64",
    "mask": "*u8",
    "mask_stride_r": "i32",
    "excluded_columns": "*u8",
    "owners": "*i64",
    "in_batch": "*u8",
    "limits": "scores",
    "scores": "scores",
    "gradient": "gradient",
    "losses": "scores",
    "grad_dot_logits": "scores",
    "sums": "scores",
    "logits": "scores",
    "gaps": "scores",
    "positives": "*i64",
    "coefficients": "scores",
    "logit_scale": "scores",
    "loss_scale": "scores",
    "column_lse": "scores",
    "column_coefficients": "scores",
    "queries": "gradient",
    "passages": "gradient",
    "row_maxima": "scores",
    "row_sums": "scores",
    "column_maxima": "scores",
    "column_sums": "scores",
    "maxima": "scores",
    "parts": "scores",
    "lse": "scores",
    "grad_positives": "scores",
    "stride_s": "i32",
    "stride_g": "i32",
    "R": "i32",
    "N": "i32",
    "D": "i32",
    "T": "i32",
    "M": "i32",
    "flag": "*i32",
    "exponentials": "gradient",
    "row_dots": "scores",
    "row_factors": "scores",
    "column_factors": "scores",
    "origins": "scores",
    "references": "scores",
    "longest_passage": "scores",
    "positive_scores": "scores",
    "headroom": "fp32",
    "factors": "scores",
    "dots": "scores",
    "rests": "scores",
    "scale": "scores",
    "scaled": "gradient",
    "ends": "*i32",
    "total": "scores",
    "ratio": "scores",
    "stride_e": "i32",
    "SIZE": "i32",
}
ONE_DIRECTION = {
    name: None for name in ("column_lse", "column_coefficients", "column_maxima", "column_sums")
}
NO_MASK = dict.fromkeys(KernelMask._fields)
PLAIN = ONE_DIRECTION | NO_MASK | {"loss_scale": None}
# Columns that every row excludes are those of "hard_only", which is refused with `symmetric`.
SYMMETRIC = {"excluded_columns": None}


def compile_kernel(
    function, target, scores, gradient, constants, options, odd=("R",), types=MappingProxyType({})
):
    """Compile as for a contiguous mask; 16 divides all numbers and addresses that are not odd."""
    constants = {"mask_stride_n": 1} | constants
    dtypes = {"scores": f"*{scores}", "gradient": f"*{gradient}"}
    types = TYPES | types
    signature, constexprs, attributes = {}, {}, {}

    def type_of(argument, *place):
        if argument in constants:
            constexprs[place] = constants[argument]
            return "constexpr"
        kind = dtypes.get(types[argument], types[argument])
        if argument not in odd and kind.startswith(("*", "i")):
            attributes[place] = [["tt.divisibility", 16]]
        return kind

    for i, argument in enumerate(function.arg_names):
        if argument == "negative_mask":
            fields = enumerate(KernelMask._fields)
            signature[argument] = KernelMask(*[type_of(field, i, j) for j, field in fields])
        else:
            signature[argument] = type_of(argument, i)
    return triton.compile(
        ASTSource(function, signature, constexprs, attributes),
        target=target,
        options=options | {"enable_fp_fusion": True},
    )


def cuobjdump(path, option):
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return subprocess.run([tool, option, path], capture_output=True, text=True, check=True).stdout


def check_nvidia(compiled, architecture, folder):
    """Check what the binary uses and return its instructions."""
    assert compiled.metadata.shared <= TARGETS[architecture][1]
    binary = folder / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    usage = cuobjdump(binary, "--dump-resource-usage")
    assert "STACK:0 " in usage, usage
    instructions = cuobjdump(binary, "-sass")
    assert not re.search(r"\b(STL|LDL)\b", instructions)
    registers = re.search(r"REG:(\d+)", usage)
    print(f"{architecture}: {registers[1]} registers, {compiled.metadata.shared} B shared")
    return instructions


def check_ampere(compiled, architecture, folder):
    """Check a kernel of tiles for Ampere or Ada: tensor cores, and loads ahead of the product."""
    instructions = check_nvidia(compiled, architecture, folder)
    assert "HMMA.16816.F32" in instructions
    assert re.search(r"LDGSTS\.E\.\S*128", instructions)  # asynchronous, 16 bytes at a time


def check_amd(compiled, *, scalars_too=True):
    assert compiled.metadata.shared <= TARGETS["gfx942"][1]
    text = compiled.asm["amdgcn"]
    spills = ("vgpr_spill_count", "sgpr_spill_count") if scalars_too else ("vgpr_spill_count",)
    for what in ("private_segment_fixed_size", *spills):
        found = re.search(rf"\.{what}:\s*(\d+)", text)
        assert found is not None
        assert found[1] == "0", what
    registers = re.search(r"\.vgpr_count:\s*(\d+)", text)
    print(f"gfx942: {registers[1]} registers, {compiled.metadata.shared} B shared")
    return text
