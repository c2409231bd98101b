"""What the loss does where a private name of torch is missing."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from hybrid_fast.ops import compat, info_nce


def gradients(backward_passes=1):
    """Return the gradient of the queries after each backward pass over one graph."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(12, 8, generator=generator).requires_grad_()
    loss = info_nce(queries, torch.randn(20, 8, generator=generator), backend="cpu")
    found = []
    for left in reversed(range(backward_passes)):
        queries.grad = None
        loss.backward(retain_graph=left > 0)
        found.append(queries.grad)
    return found


def test_a_missing_name_is_an_error_that_names_versions():
    assert compat.required(SimpleNamespace(_name=3), "_name") == 3
    expected = f"torch {torch.__version__} has no _gone, .* known to work: {compat.TESTED_TORCH}"
    with pytest.raises(ImportError, match=expected.replace("+", r"\+")):
        compat.required(SimpleNamespace(), "_gone")


def test_a_torch_without_the_dispatcher_guard_is_refused_at_import():
    script = (
        "import torch; del torch._C._AutoDispatchBelowAutograd\n"
        "try:\n    import hybrid_fast.ops\n"
        "except ImportError as error:\n    print(error)"
    )
    paths = [path for path in sys.path if path]
    code = f"import sys; sys.path[:0] = {paths!r}\n{script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "has no _AutoDispatchBelowAutograd, which hybrid_fast.ops needs" in done.stdout


def test_saved_gradients_are_copied_where_torch_cannot_tell_whether_a_graph_is_kept(monkeypatch):
    (expected,) = gradients()
    monkeypatch.delattr(torch._C._autograd, "_get_current_graph_task_keep_graph")
    assert compat.keeps_graph()
    assert all(torch.equal(gradient, expected) for gradient in gradients(backward_passes=2))


def test_an_unknown_process_group_is_an_error():
    with pytest.raises((RuntimeError, ValueError)):
        compat.process_group("no such group")
