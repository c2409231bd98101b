"""Each Triton kernel compiled for GPUs that are not here: fits, spills nothing, loads vectors.

Those of tiles must use tensor cores, and start loads of the next step before the product of this.

`n_spills` of a compiled kernel is known only once a driver has loaded it: the binary is read.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed: nothing to compile with")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 replaces the compiler", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource, make_backend  # noqa: E402
from triton.runtime.jit import compute_cache_key, create_function_from_signature  # noqa: E402

from hybrid_fast.ops.backends import row_kernels, tile_kernels, triton_rows, triton_tiles  # noqa: E402
from hybrid_fast.ops.backends.triton_mask import KernelMask, kernel_mask  # noqa: E402
from hybrid_fast.ops.negative_mask import NegativeMask  # noqa: E402

TARGETS = {
    "sm_80": (GPUTarget("cuda", 80, 32), 163 * 1024),
    "sm_90": (GPUTarget("cuda", 90, 32), 227 * 1024),
    "gfx942": (GPUTarget("hip", "gfx942", 64), 64 * 1024),
}
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
}
ONE_DIRECTION = {
    name: None for name in ("column_lse", "column_coefficients", "column_maxima", "column_sums")
}
NO_MASK = dict.fromkeys(KernelMask._fields)
PLAIN = ONE_DIRECTION | NO_MASK | {"loss_scale": None}
# Columns that every row excludes are those of "hard_only", which is refused with `symmetric`.
SYMMETRIC = {"excluded_columns": None}
# Kernel, dtype of scores, of the gradient, what is not passed.
CASES = {
    "losses": ("rows", "fp32", "fp32", PLAIN | {"gradient": None}),
    "gradient": ("rows", "fp32", "bf16", PLAIN),
    "gradient in place": ("rows", "fp32", "fp32", PLAIN),
    "gradient, every mask": ("rows", "fp32", "fp16", ONE_DIRECTION),
    "gradient, every mask, symmetric": ("rows", "fp32", "fp16", SYMMETRIC),
    "gradient in float64, every mask": ("rows", "fp64", "fp64", ONE_DIRECTION),
    "gradient in float64, every mask, symmetric": ("rows", "fp64", "fp64", SYMMETRIC),
    "column sums": ("columns", "fp32", "fp32", PLAIN),
    "column sums, every mask": ("columns", "fp32", "fp32", SYMMETRIC),
    "column sums in float64, every mask": ("columns", "fp64", "fp64", SYMMETRIC),
}


# Kernel, dtype of embeddings and W, whether sizes are even, what is not passed. Even: 16 divides N,
# and the last step in D is whole.
TILE_CASES = {
    "positives": ("positive_scores", "bf16", True, NO_MASK),
    "positives, every mask, odd sizes": ("positive_scores", "fp16", False, {}),
    "sums": ("tile_sums", "bf16", True, PLAIN),
    "sums, odd sizes": ("tile_sums", "fp16", False, PLAIN),
    "sums, symmetric": ("tile_sums", "bf16", True, NO_MASK),
    "sums, every mask": ("tile_sums", "bf16", True, ONE_DIRECTION),
    "sums, every mask, symmetric, odd sizes": ("tile_sums", "bf16", False, SYMMETRIC),
    "weights": ("weights", "bf16", True, PLAIN),
    "weights with loss scale": ("weights", "fp16", True, NO_MASK | ONE_DIRECTION),
    "weights, symmetric, odd sizes": ("weights", "bf16", False, NO_MASK | {"loss_scale": None}),
    "weights with loss scale, symmetric": ("weights", "fp16", True, NO_MASK),
    "weights, every mask": ("weights", "bf16", True, ONE_DIRECTION | {"loss_scale": None}),
    "weights, every mask, symmetric": ("weights", "bf16", True, SYMMETRIC | {"loss_scale": None}),
    "weights with loss scale, every mask, symmetric, odd sizes": (
        "weights",
        "fp16",
        False,
        SYMMETRIC,
    ),
}
# Of each, both a simpler and a harder case of the same kernel and tile is compiled: CI adds them.
IN_BETWEEN = {
    "sums, odd sizes",
    "sums, every mask",
    "weights with loss scale",
    "weights with loss scale, symmetric",
    "weights, every mask",
    "weights, every mask, symmetric",
}
assert TILE_CASES.keys() >= IN_BETWEEN
tile_cases = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in IN_BETWEEN)) for n in TILE_CASES],
)


def compile_case(name, target):
    """Compile as for a number of passages that 16 divides."""
    which, scores, gradient, absent = CASES[name]
    size = 8 if scores == "fp64" else 4
    if which == "rows":
        function = row_kernels.contrast_rows_kernel
        block, num_warps = triton_rows.row_block(2**20, size)
        blocks = {"BLOCK_N": block}
    else:
        function = row_kernels.add_column_sums_kernel
        num_warps = triton_rows.COLUMN_WARPS
        blocks = {
            "BLOCK_R": triton_rows._COLUMN_BLOCK_BYTES // size,
            "BLOCK_N": triton_rows._COLUMN_BLOCK,
        }
    return compile_kernel(
        function, target, scores, gradient, absent | blocks, {"num_warps": num_warps}
    )


def compile_tile_case(name, architecture, sizes=None):
    which, dtype, even, absent = TILE_CASES[name]
    tile = triton_tiles.tile_of(architecture, masked=not absent.keys() >= NO_MASK.keys())
    arguments = tile.arguments()
    options = {key: arguments.pop(key) for key in ("num_warps", "num_stages")}
    constants = absent | arguments | {"EVEN_D": even, "NUM_PARTS": tile.parts, "GROUP": 8}
    function = getattr(tile_kernels, f"{which}_kernel")
    target, constants = TARGETS[architecture][0], constants | (sizes or {})
    odd = ("R",) if even else ("R", "N", "mask_stride_r", "row_sums", "column_sums")
    return compile_kernel(function, target, "fp32", dtype, constants, options, odd)


def compile_kernel(function, target, scores, gradient, constants, options, odd=("R",)):
    """Compile as for a contiguous mask; 16 divides all numbers and addresses that are not odd."""
    constants = {"mask_stride_n": 1} | constants
    dtypes = {"scores": f"*{scores}", "gradient": f"*{gradient}"}
    signature, constexprs, attributes = {}, {}, {}

    def type_of(argument, *place):
        if argument in constants:
            constexprs[place] = constants[argument]
            return "constexpr"
        if argument not in odd:
            attributes[place] = [["tt.divisibility", 16]]
        return dtypes.get(TYPES[argument], TYPES[argument])

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


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


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


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvidia(name, architecture, tmp_path):
    compiled = compile_case(name, TARGETS[architecture][0])
    assert "LDG.E.128" in check_nvidia(compiled, architecture, tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_amd(name):
    text = check_amd(compile_case(name, TARGETS["gfx942"][0]))
    # A lane of 64 has one float64 of a row: 8 bytes are then all there is to load at once.
    widest = "[24]" if CASES[name][1] == "fp64" else "4"
    assert re.search(f"global_load_dwordx{widest}", text)


@tile_cases
def test_tiles_on_sm_80(name, tmp_path):
    instructions = check_nvidia(compile_tile_case(name, "sm_80"), "sm_80", tmp_path)
    assert "HMMA.16816.F32" in instructions
    assert re.search(r"LDGSTS\.E\.\S*128", instructions)  # asynchronous, 16 bytes at a time


@tile_cases
def test_tiles_on_sm_90(name, tmp_path):
    compiled = compile_tile_case(name, "sm_90")
    instructions = check_nvidia(compiled, "sm_90", tmp_path)
    assert "wgmma.mma_async" in compiled.asm["ptx"]
    assert re.search(r"HGMMA\.64x(128|256)x16\.F32", instructions)
    assert re.search(r"LDGSTS\.E\.\S*128", instructions)


@tile_cases
def test_tiles_on_gfx942(name):
    # Of odd sizes each entry has a mask of its own, in scalar registers; what does not fit there
    # goes to vector registers, not to memory.
    text = check_amd(compile_tile_case(name, "gfx942"), scalars_too=TILE_CASES[name][2])
    assert re.search(r"v_mfma_f32_\d+x\d+x\d+_b?f16", text)
    assert "global_load_dwordx4" in text or "buffer_load_dwordx4" in text


@pytest.mark.parametrize("architecture", TARGETS)
def test_merge(architecture, tmp_path):
    function = tile_kernels.merge_sums_kernel
    target = TARGETS[architecture][0]
    compiled = compile_kernel(function, target, "fp32", "fp32", triton_tiles.MERGE_BLOCKS, {})
    if architecture == "gfx942":
        check_amd(compiled)
    else:
        assert "LDG.E.128" in check_nvidia(compiled, architecture, tmp_path)


@pytest.mark.parametrize("name", ["positives", "sums, symmetric", "weights, every mask, symmetric"])
def test_sizes_of_one(name, tmp_path):
    """Triton makes constants of them, which the interpreter does not."""
    compiled = compile_tile_case(name, "sm_90", {"R": 1, "N": 1})
    check_nvidia(compiled, "sm_90", tmp_path)


def test_merge_of_one_tile_and_one_row(tmp_path):
    function, target = tile_kernels.merge_sums_kernel, TARGETS["sm_90"][0]
    constants = triton_tiles.MERGE_BLOCKS | {"T": 1, "M": 1}
    check_nvidia(compile_kernel(function, target, "fp32", "fp32", constants, {}), "sm_90", tmp_path)


@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("scores", ["fp32", "fp64"])
def test_terms_of_columns(architecture, scores, tmp_path):
    function, target = row_kernels.column_terms_kernel, TARGETS[architecture][0]
    compiled = compile_kernel(function, target, scores, scores, triton_rows.TERM_BLOCKS, {})
    if architecture == "gfx942":
        # In float64 some masks of lanes move from scalar to vector registers, none to memory.
        check_amd(compiled, scalars_too=scores == "fp32")
    else:
        check_nvidia(compiled, architecture, tmp_path)


def launched(rows, **parts):
    """Return the types of a mask by field as a launch sees them, and under which key it is kept."""
    kernel, backend = row_kernels.contrast_rows_kernel, make_backend(TARGETS["sm_90"][0])
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    others = dict.fromkeys(set(kernel.arg_names) - {"negative_mask"})
    mask = kernel_mask(NegativeMask(**parts), None)
    _, seen, options = bind(**others | {"negative_mask": mask, "R": rows, "BLOCK_N": 128})
    types = seen[kernel.arg_names.index("negative_mask")][0]
    key = compute_cache_key({}, seen, options)
    return dict(zip(KernelMask._fields, types, strict=True)), key


def parts_of_a_mask(rows):
    return {
        "passage_groups": torch.arange(64),
        "query_groups": torch.arange(rows),
        "mask": torch.ones(rows, 64, dtype=torch.bool),
        "in_batch": torch.ones(rows, dtype=torch.bool),
        "owners": torch.arange(64),
    }


@pytest.mark.parametrize("part", parts_of_a_mask(3))
def test_a_launch_makes_constants_of_parts_that_were_not_asked_for(part):
    types, _ = launched(3, **{part: parts_of_a_mask(3)[part]})
    given = {part, "mask_stride_r"} if part == "mask" else {part}
    assert {name for name, kind in types.items() if kind != "constexpr"} == given
    assert types[part] == TYPES[part]


def test_a_kernel_is_compiled_once_for_each_kind_of_mask():
    everything, key = launched(13, **parts_of_a_mask(13))
    assert launched(13, **parts_of_a_mask(13)) == (everything, key)
    assert launched(21, **parts_of_a_mask(21)) == (everything, key)
    assert launched(13)[1] == launched(21)[1]
    keys = {launched(13, **{part: value})[1] for part, value in parts_of_a_mask(13).items()}
    assert len(keys | {key, launched(13)[1]}) == 7
