"""The public door of the loss: every bad input has one clear error; backends; light imports."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import registry
from hybrid_fast.ops.backends.registry import select_backend

NAN, INF = float("nan"), float("inf")


def embeddings(num_rows, dim=3, dtype=torch.float32):
    return torch.ones(num_rows, dim, dtype=dtype)


def with_value(tensor, row, value):
    tensor = tensor.clone()
    tensor[row] = value
    return tensor


BAD_EMBEDDINGS = {
    "queries as list": (TypeError, "queries must be a torch.Tensor, got list",
                        [[1.0]], embeddings(2)),
    "integers": (TypeError, "passages has dtype torch.int64; need torch.float16 or",
                 embeddings(2), torch.ones(2, 3, dtype=torch.int64)),
    "one dimension": (ValueError, r"queries has shape \(3,\); need \(rows, dimension\)",
                      torch.ones(3), embeddings(2)),
    "no rows": (ValueError, r"queries has shape \(0, 3\)", embeddings(0), embeddings(2)),
    "no dimension": (ValueError, r"queries has shape \(2, 0\)", embeddings(2, 0), embeddings(2, 0)),
    "sparse": (TypeError, "passages has layout torch.sparse_coo; need a dense tensor: .to_dense()",
               embeddings(2), embeddings(2).to_sparse()),
    "two dtypes": (TypeError, "passages is torch.float64 but queries is torch.float32",
                   embeddings(2), embeddings(2, dtype=torch.float64)),
    "two dimensions": (ValueError, "passages has dimension 4 but queries has 3; encode both",
                       embeddings(2), embeddings(2, 4)),
    "too few passages": (ValueError, "got 1 passages for 2 queries", embeddings(2), embeddings(1)),
    "two devices": (ValueError, "passages is on meta but queries is on cpu",
                    embeddings(2), embeddings(2).to("meta")),
    "NaN": (ValueError, "queries has NaN or infinite values; first bad row: 1",
            with_value(embeddings(3), 1, NAN), embeddings(3)),
    "infinite": (ValueError, "passages has NaN or infinite values; first bad row: 2",
                 embeddings(3), with_value(embeddings(3), 2, -INF)),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_EMBEDDINGS)
def test_bad_embeddings(case):
    error, message, queries, passages = BAD_EMBEDDINGS[case]
    with pytest.raises(error, match=message):
        info_nce(queries, passages)


BAD_ARGUMENTS = [
    (ValueError, "temperature is 0; need a number above 0", {"temperature": 0}),
    (ValueError, "temperature is -0.1; need", {"temperature": -0.1}),
    (ValueError, "temperature is nan; need a finite", {"temperature": NAN}),
    (ValueError, "temperature is inf; need a finite", {"temperature": INF}),
    (TypeError, "temperature must be a number, got bool", {"temperature": True}),
    (TypeError, "temperature must be a number, got str", {"temperature": "0.05"}),
    (TypeError, "temperature has dtype torch.int64", {"temperature": torch.tensor(1)}),
    (ValueError, r"temperature has shape \(1,\); need a 0-dim", {"temperature": torch.ones(1)}),
    (ValueError, "temperature is 0.0; need a number above 0", {"temperature": torch.tensor(0.0)}),
    (ValueError, "temperature is nan; need a finite", {"temperature": torch.tensor(NAN)}),
    (ValueError, "temperature is on meta", {"temperature": torch.tensor(1.0, device="meta")}),
    (TypeError, "positives must be a torch.Tensor, got list", {"positives": [0, 1]}),
    (TypeError, "positives has dtype torch.int32; need torch.int64",
     {"positives": torch.tensor([0, 1], dtype=torch.int32)}),
    (ValueError, r"positives has shape \(3,\); need \(2,\)",
     {"positives": torch.tensor([0, 1, 2])}),
    (ValueError, "positives must be columns of passages, 0 to 2; first bad row: 1",
     {"positives": torch.tensor([0, 3])}),
    (ValueError, "first bad row: 0", {"positives": torch.tensor([-1, 0])}),
    (ValueError, "query_groups is given without passage_groups", {"query_groups": torch.arange(2)}),
    (ValueError, "passage_groups is given without query_groups",
     {"passage_groups": torch.arange(3)}),
    (ValueError, "query_passage_ids is given without passage_ids",
     {"query_passage_ids": torch.arange(2)}),
    (ValueError, r"passage_ids has shape \(2,\); need \(3,\)", {"passage_ids": torch.arange(2)}),
    (TypeError, "passage_ids has dtype torch.float32", {"passage_ids": torch.ones(3)}),
    (TypeError, "mask has dtype torch.float32; need torch.bool", {"mask": torch.ones(2, 3)}),
    (ValueError, r"mask has shape \(3, 2\); need \(2, number of passages\)",
     {"mask": torch.ones(3, 2, dtype=torch.bool)}),
    (ValueError, "mask has 2 columns; need 3", {"mask": torch.ones(2, 2, dtype=torch.bool)}),
    (ValueError, r"mask has shape \(2,\)", {"mask": torch.ones(2, dtype=torch.bool)}),
    (TypeError, "margin must be a number, got Tensor", {"margin": torch.tensor(0.1)}),
    (ValueError, "margin is nan", {"margin": NAN}),
    (TypeError, "weights has dtype torch.int64", {"weights": torch.tensor([1, 1])}),
    (ValueError, r"weights has shape \(2, 1\); need \(2,\)", {"weights": torch.ones(2, 1)}),
    (ValueError, "weights must be finite and at least 0; first bad row: 1",
     {"weights": torch.tensor([1.0, -1.0])}),
    (ValueError, "weights must be finite", {"weights": torch.tensor([NAN, 1.0])}),
    (ValueError, "reduction is 'men'; .* one of .* did you mean 'mean'", {"reduction": "men"}),
    (ValueError, "negatives is 'hard'; .* one of 'all', 'hard_only'", {"negatives": "hard"}),
    (ValueError, "symmetric=True needs negatives='all'",
     {"symmetric": True, "negatives": "hard_only"}),
    (ValueError, "backend is 'refrence'; .* did you mean 'reference'", {"backend": "refrence"}),
    (ValueError, "backend 'triton' is not for tensors on 'cpu'; available: 'auto', 'cpu', 'ref",
     {"backend": "triton"}),
    (ValueError, "does not support precision 'bf16' for tensors on 'cpu'; it supports: None",
     {"precision": "bf16", "backend": "reference"}),
    (TypeError, "symmetric must be True or False, got 'no'", {"symmetric": "no"}),
    (TypeError, "normalize must be True or False, got 'false'", {"normalize": "false"}),
    (TypeError, "recompute must be True or False, got None", {"recompute": None}),
    (TypeError, "check must be True or False, got 'yes'", {"check": "yes"}),
    (ValueError, r"temperature is 1e-39; need .* from 1.2e-38 to 3.4e\+38, .*float32",
     {"temperature": 1e-39}),
    (ValueError, r"temperature is 1e\+39; need", {"temperature": 1e39}),
    (ValueError, "temperature is 1e-50; need",
     {"temperature": torch.tensor(1e-50, dtype=torch.float64)}),
    (TypeError, "mask has layout torch.sparse_coo; need a dense tensor",
     {"mask": torch.ones(2, 3, dtype=torch.bool).to_sparse()}),
    (ValueError, "the sum of weights is beyond torch.float32; divide",
     {"weights": torch.full((2,), 3e38)}),
    (ValueError, "all weights are 0 in torch.float32; divide",
     {"weights": torch.full((2,), 1e-60, dtype=torch.float64)}),
    (ValueError, "weights must be finite .* first bad row: 1",
     {"weights": torch.tensor([1.0, 1e60], dtype=torch.float64)}),
    (TypeError, "max_scratch_bytes must be an int, got float", {"max_scratch_bytes": 1e9}),
    (ValueError, "max_scratch_bytes is 0; need at least 1", {"max_scratch_bytes": 0}),
    (TypeError, "owners must be a torch.Tensor, got list", {"owners": [-1, -1, 0]}),
    (TypeError, "owners has dtype torch.int32; need torch.int64",
     {"owners": torch.tensor([-1, -1, 0], dtype=torch.int32)}),
    (ValueError, r"owners has shape \(2,\); need \(3,\)", {"owners": torch.tensor([-1, 0])}),
    (ValueError, r"owners has shape \(3, 1\)", {"owners": torch.zeros(3, 1).long()}),
    (ValueError, "owners is on meta but queries is on cpu",
     {"owners": torch.tensor([-1, -1, 0], device="meta")}),
    (ValueError, "owners must be .*; first bad row: 2", {"owners": torch.tensor([-1, -1, 2])}),
    (ValueError, "owners must be .*; first bad row: 0", {"owners": torch.tensor([-2, -1, 0])}),
    (ValueError, "owners must be .*; first bad row: 1",
     {"owners": torch.tensor([-1, 2**62, 0]), "margin": 0.1}),
    (TypeError, "in_batch must be a torch.Tensor, got bool", {"in_batch": False}),
    (TypeError, "in_batch has dtype torch.int64; need torch.bool",
     {"in_batch": torch.tensor([0, 1]), "owners": torch.tensor([-1, -1, 0])}),
    (ValueError, r"in_batch has shape \(3,\); need \(2,\)",
     {"in_batch": torch.ones(3).bool(), "owners": torch.tensor([-1, -1, 0])}),
    (ValueError, "in_batch is on meta but queries is on cpu",
     {"in_batch": torch.ones(2, device="meta").bool(), "owners": torch.tensor([-1, -1, 0])}),
    (ValueError, "in_batch.* owners", {"in_batch": torch.tensor([True, False])}),
    (TypeError, "process_group must be a torch.distributed.ProcessGroup .* got str",
     {"process_group": "world"}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "arguments"), BAD_ARGUMENTS)
def test_bad_arguments(error, message, arguments):
    with pytest.raises(error, match=message):
        info_nce(embeddings(2), embeddings(3), **arguments)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("number", [np.float32(0.25), np.int64(1), Fraction(1, 4)], ids=repr)
def test_numbers_of_other_libraries(number, backend):
    queries, passages = torch.eye(4, 8), torch.arange(48.0).reshape(6, 8).sin()

    def loss(number):
        options = {"temperature": number, "margin": number, "backend": backend}
        return info_nce(queries, passages, **options)

    assert torch.equal(loss(number), loss(float(number)))


def test_flags_and_sizes_of_numpy():
    queries = torch.eye(4, 8)
    options = {"symmetric": np.True_, "max_scratch_bytes": np.int64(2**20)}
    expected = info_nce(queries, queries, symmetric=True, max_scratch_bytes=2**20)
    assert torch.equal(info_nce(queries, queries, **options), expected)


@pytest.mark.parametrize("device", ["xpu", "mps", "hpu", "meta", "privateuseone"])
def test_other_devices_take_the_reference(device):
    """None of them is here: what they are chosen for, and that autocast does not stop them."""
    assert select_backend("auto", None, device) == "reference"
    for backend in ("cpu", "triton"):
        with pytest.raises(ValueError, match=rf"is not (for tensors on '{device}'|installed)"):
            select_backend(backend, None, device)
    with pytest.raises(ValueError, match=rf"precision 'bf16' for tensors on '{device}'; .*None"):
        select_backend("auto", "bf16", device)


def preferring(monkeypatch, name):
    monkeypatch.setenv("HYBRID_FAST_LOSS_BACKEND", name)


@pytest.mark.parametrize("name", ["triton_one_pass", "triton", "reference", "cpu", " cpu "])
def test_the_environment_names_the_backend_of_auto(name, monkeypatch):
    def chosen(asked, device, precision=None):
        return select_backend(asked, precision, device)

    for known in ("triton", "triton_one_pass"):
        there = replace(registry.BACKENDS[known], is_installed=True)
        monkeypatch.setitem(registry.BACKENDS, known, there)
    preferring(monkeypatch, name)
    on = {"triton": ["cuda"], "triton_one_pass": ["cuda"], "cpu": ["cpu"]}
    for device, usual in {"cuda": "triton", "cpu": "cpu", "mps": "reference"}.items():
        supported = device in on.get(name.strip(), [device])
        assert chosen("auto", device) == (name.strip() if supported else usual)
        assert chosen(usual, device) == usual
    # The definition has no such precision.
    for device, usual in {"cuda": "triton", "cpu": "cpu"}.items():
        supported = device in on.get(name.strip(), [])
        assert chosen("auto", device, "bf16") == (name.strip() if supported else usual)


@pytest.mark.parametrize("name", ["", " ", "auto"])
def test_no_name_in_the_environment_is_no_preference(name, monkeypatch):
    preferring(monkeypatch, name)
    assert select_backend("auto", None, "cpu") == "cpu"


def test_an_unknown_name_in_the_environment(monkeypatch):
    preferring(monkeypatch, "triton_onepass")
    with pytest.raises(
        ValueError,
        match=(
            r"environment variable HYBRID_FAST_LOSS_BACKEND is 'triton_onepass'; .*'reference'; "
            r"did you mean 'triton_one_pass'"
        ),
    ):
        info_nce(embeddings(2), embeddings(2))
    assert info_nce(embeddings(2), embeddings(2), backend="cpu").isfinite()


def test_the_environment_is_read_when_a_loss_is_compiled(monkeypatch):
    queries = torch.linspace(-1, 1, 20).reshape(5, 4).sin()
    for name in ("reference", "cpu"):
        torch._dynamo.reset()
        preferring(monkeypatch, name)
        function = torch.compile(
            lambda q: info_nce(q, q.flip(1)), fullgraph=True, backend="aot_eager"
        )
        torch.testing.assert_close(function(queries), info_nce(queries, queries.flip(1)))


def test_the_reference_runs_where_there_is_no_autocast():
    queries = torch.ones(2, 3, device="meta")
    loss = info_nce(queries, queries, symmetric=True, normalize=True)
    assert (loss.device.type, loss.shape, loss.dtype) == ("meta", (), torch.float32)


def test_precision_bf16_is_not_for_float64():
    with pytest.raises(ValueError, match=r"at most float32, got float64.*\.float\(\)"):
        info_nce(embeddings(2).double(), embeddings(3).double(), precision="bf16")


@pytest.mark.parametrize(
    ("num_passages", "positives"), [(2, None), (2, torch.tensor([1, 0]))], ids=["default", "given"]
)
def test_hard_only_without_hard_negatives(num_passages, positives):
    with pytest.raises(ValueError, match=r"hard_only.*all 2 are positives; append hard negatives"):
        info_nce(
            embeddings(2), embeddings(num_passages), negatives="hard_only", positives=positives
        )


def test_in_batch_needs_owners_where_a_passage_could_be_a_hard_negative():
    alone = torch.tensor([True, False])
    with pytest.raises(ValueError, match=r"in_batch.*owners"):
        info_nce(embeddings(2), embeddings(3), in_batch=torch.tensor([True, True]))
    nobodys = torch.full((3,), -1)
    assert info_nce(embeddings(2), embeddings(3), in_batch=alone, owners=nobodys).item() > 0
    assert info_nce(embeddings(2), embeddings(2), in_batch=alone).item() > 0


def test_values_of_owners_are_checked_where_there_are_any():
    """Not on meta, which has none, unless it is asked for."""
    queries, passages = (embeddings(n).to("meta") for n in (2, 3))
    owners = torch.full((3,), 7, device="meta")
    assert info_nce(queries, passages, owners=owners, margin=0.1).shape == ()
    for backend in ("cpu", "reference"):
        with pytest.raises(ValueError, match="owners must be"):
            info_nce(embeddings(2), embeddings(3), owners=torch.full((3,), 7), backend=backend)


def test_hard_only_with_one_passage_for_two_queries():
    shared = torch.tensor([1, 1])
    loss = info_nce(embeddings(2), embeddings(2), negatives="hard_only", positives=shared)
    assert loss.item() == pytest.approx(0.6931472)


def test_backends_that_exist_agree():
    queries, passages = torch.eye(4, 8), torch.ones(6, 8)
    reference = info_nce(queries, passages, backend="reference")
    assert torch.equal(info_nce(queries, passages, backend="auto"), reference)


def test_ops_needs_torch_alone():
    script = """
import sys
for name in ("numpy", "transformers", "datasets", "scipy", "matplotlib", "triton"):
    sys.modules[name] = None  # makes its import fail
import hybrid_fast.ops
PARTS = ("hybrid_fast.ops", "hybrid_fast.cpu", "hybrid_fast.common")
ours = {name for name in sys.modules if name.startswith("hybrid_fast.")}
assert all(name.startswith(PARTS) for name in ours), ours
"""
    paths = [path for path in sys.path if path]
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = {paths!r}\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_is_waited_for_only_when_asked():
    queries = with_value(embeddings(2), 0, NAN).cuda()
    rules = {"owners": torch.tensor([-1, 7]).cuda(), "in_batch": torch.tensor([True, False]).cuda()}
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = info_nce(queries, queries, symmetric=True, margin=0.1, **rules)
        with pytest.raises(RuntimeError, match="synchroniz"):
            info_nce(queries, queries, check=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isnan().item()
    with pytest.raises(ValueError, match="queries has NaN"):
        info_nce(queries, queries, check=True)
    queries = embeddings(2).cuda()
    with pytest.raises(ValueError, match=r"owners must be .*; first bad row: 1"):
        info_nce(queries, queries, check=True, **rules)
