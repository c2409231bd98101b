"""Each Triton kernel compiled for GPUs that are not here: fits, spills nothing, loads vectors.

`n_spills` of a compiled kernel is known only once a driver has loaded it: the binary is read.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="triton is not installed: nothing to compile with")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 replaces the compiler", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from hybrid_fast.ops import gpu, triton_kernels  # noqa: E402

TARGETS = {
    "sm_80": (GPUTarget("cuda", 80, 32), 163 * 1024),
    "sm_90": (GPUTarget("cuda", 90, 32), 227 * 1024),
    "gfx942": (GPUTarget("hip", "gfx942", 64), 64 * 1024),
}
RULES = {
    "row_groups": "*i64",
    "column_groups": "*i64",
    "row_ids": "*i64",
    "column_ids": "*i64",
    "mask": "*u8",
    "left_out": "*u8",
    "limits": "scores",
}
TYPES = RULES | {
    "scores": "scores",
    "gradient": "gradient",
    "losses": "scores",
    "dots": "scores",
    "sums": "scores",
    "positives": "*i64",
    "coefficients": "scores",
    "scale": "scores",
    "gain": "scores",
    "log_sums": "scores",
    "factors": "scores",
    "stride_s": "i32",
    "stride_g": "i32",
    "stride_mr": "i32",
    "R": "i32",
    "N": "i32",
}
PLAIN = {name: None for name in (*RULES, "log_sums", "factors", "gain")}
# Kernel, dtype of scores, of the gradient, what is not passed.
CASES = {
    "losses": ("rows", "fp32", "fp32", PLAIN | {"gradient": None}),
    "gradient": ("rows", "fp32", "bf16", PLAIN),
    "gradient in place": ("rows", "fp32", "fp32", PLAIN),
    "gradient, every rule, symmetric": ("rows", "fp32", "fp16", {}),
    "gradient in float64, every rule, symmetric": ("rows", "fp64", "fp64", {}),
    "column sums": ("columns", "fp32", "fp32", PLAIN),
    "column sums, every rule": ("columns", "fp32", "fp32", {}),
    "column sums in float64, every rule": ("columns", "fp64", "fp64", {}),
}


def compile_case(name, target):
    """Compile as for a contiguous mask and a number of passages that 16 divides."""
    which, scores, gradient, absent = CASES[name]
    size = 8 if scores == "fp64" else 4
    if which == "rows":
        function = triton_kernels.contrast_rows_kernel
        block, num_warps = gpu.row_block(2**20, size)
        blocks = {"BLOCK_N": block}
    else:
        function = triton_kernels.add_column_sums_kernel
        num_warps = gpu.COLUMN_WARPS
        blocks = {"BLOCK_R": gpu._COLUMN_BLOCK_BYTES // size, "BLOCK_N": gpu._COLUMN_BLOCK}
    constants = absent | blocks | {"stride_mn": 1}
    dtypes = {"scores": f"*{scores}", "gradient": f"*{gradient}"}
    signature, constexprs, attributes = {}, {}, {}
    for i, argument in enumerate(function.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
            constexprs[(i,)] = constants[argument]
        else:
            signature[argument] = dtypes.get(TYPES[argument], TYPES[argument])
            if argument != "R":
                attributes[(i,)] = [["tt.divisibility", 16]]
    return triton.compile(
        ASTSource(function, signature, constexprs, attributes),
        target=target,
        options={"num_warps": num_warps, "enable_fp_fusion": True},
    )


def cuobjdump(path, option):
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return subprocess.run([tool, option, path], capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvidia(name, architecture, tmp_path):
    target, most_shared = TARGETS[architecture]
    compiled = compile_case(name, target)
    assert compiled.metadata.shared <= most_shared
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    usage = cuobjdump(binary, "--dump-resource-usage")
    assert "STACK:0 " in usage, usage
    instructions = cuobjdump(binary, "-sass")
    assert not re.search(r"\b(STL|LDL)\b", instructions)
    assert "LDG.E.128" in instructions
    registers = re.search(r"REG:(\d+)", usage)
    print(f"{architecture} {name}: {registers[1]} registers, {compiled.metadata.shared} B shared")


@pytest.mark.parametrize("name", CASES)
def test_amd(name):
    target, most_shared = TARGETS["gfx942"]
    compiled = compile_case(name, target)
    assert compiled.metadata.shared <= most_shared
    text = compiled.asm["amdgcn"]
    for what in ("private_segment_fixed_size", "vgpr_spill_count", "sgpr_spill_count"):
        found = re.search(rf"\.{what}:\s*(\d+)", text)
        assert found is not None
        assert found[1] == "0", what
    # A lane of 64 has one float64 of a row: 8 bytes are then all there is to load at once.
    widest = "[24]" if CASES[name][1] == "fp64" else "4"
    assert re.search(f"global_load_dwordx{widest}", text)
    registers = re.search(r"\.vgpr_count:\s*(\d+)", text)
    print(f"gfx942 {name}: {registers[1]} registers, {compiled.metadata.shared} B shared")
