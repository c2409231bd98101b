"""What training relies on in other libraries without a promise: checked, or replaced."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest
import torch
from toy_training import make_static_trainer
from transformers import Trainer

from hybrid_fast.training import HybridTrainer, trainer
from hybrid_fast.training.compat import (
    TESTED_TRANSFORMERS,
    TRAINER_HOOKS,
    TRAINER_METHODS,
    check_trainer_hooks,
    is_out_of_memory,
    sparse_entries,
)

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
NAMES = (*TRAINER_HOOKS, *TRAINER_METHODS)
# What transformers documents for subclasses to override.
DOCUMENTED = {
    "create_optimizer",
    "create_scheduler",
    "evaluate",
    "floating_point_ops",
    "get_train_dataloader",
    "log",
    "predict",
    "push_to_hub",
    "train",
    "training_step",
}


def trainer_class(hook: str = "", *, defined: bool = True, called: bool = True) -> type:
    """Make a class with all hooks and a loop that calls them, but for one hook."""
    definitions = [h for h in NAMES if defined or h != hook]
    calls = [h for h in NAMES if called or h != hook]
    lines = [
        "class StandIn:",
        *(f"    def {name}(self): pass" for name in definitions),
        "    def train(self):",
        "        def nested(): pass",
        *(f"        self.{name}()" for name in calls),
    ]
    names: dict[str, type] = {}
    exec("\n".join(lines), names)
    return names["StandIn"]


def test_the_installed_trainer_calls_all_hooks():
    check_trainer_hooks(Trainer)


def test_every_method_that_is_overridden_is_documented_or_checked():
    rooms = HybridTrainer.__mro__[: HybridTrainer.__mro__.index(Trainer)]
    overridden = {
        name
        for room in rooms
        for name, value in vars(room).items()
        if inspect.isroutine(value) and not name.startswith("__") and hasattr(Trainer, name)
    }
    assert overridden == DOCUMENTED | set(TRAINER_HOOKS)


@pytest.mark.parametrize("hook", NAMES)
@pytest.mark.parametrize("change", [{"defined": False}, {"called": False}], ids=str)
def test_a_hook_that_is_gone_or_not_called_is_named_with_versions(hook, change):
    check_trainer_hooks(trainer_class())
    oldest, newest = TESTED_TRANSFORMERS
    versions = rf"{oldest} to {newest} are known to work: pip install 'transformers=={newest}\.\*'"
    message = rf"transformers [\d.]+ has no Trainer\.{hook}, .* versions {versions}"
    with pytest.raises(ImportError, match=message):
        check_trainer_hooks(trainer_class(hook, **change))


def test_hooks_are_found_where_the_loop_is_inherited_decorated_or_nested():
    class Inherits(trainer_class("_save", called=False)):
        def save(self):
            return [self._save() for _ in range(1)]

    check_trainer_hooks(Inherits)

    class Decorated(trainer_class("_save", called=False)):
        @torch.no_grad()
        def save(self):
            (lambda: self._save())()

    check_trainer_hooks(Decorated)


def test_a_trainer_whose_hooks_are_gone_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "Trainer", trainer_class("_get_grad_norm", called=False))
    with pytest.raises(ImportError, match=r"has no Trainer\._get_grad_norm, or does not call it"):
        make_static_trainer(tmp_path)


def test_the_oldest_version_is_that_of_pyproject():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    (requirement,) = (r for r in project["dependencies"] if r.startswith("transformers"))
    oldest = requirement.removeprefix("transformers>=").partition(",")[0]
    assert TESTED_TRANSFORMERS[0] == oldest


class PublicOnly:
    """A sparse tensor without torch's private accessors."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def coalesce(self) -> torch.Tensor:
        return self.tensor.coalesce()


def test_sparse_entries_with_and_without_private_accessors():
    values = torch.arange(6.0).reshape(3, 2)
    gradient = torch.sparse_coo_tensor([[4, 1, 4]], values, (5, 2), check_invariants=True)
    indices, found = sparse_entries(gradient)
    assert indices.tolist() == [[4, 1, 4]]
    assert torch.equal(found, values)
    indices, found = sparse_entries(PublicOnly(gradient))
    assert indices.tolist() == [[1, 4]]
    assert torch.equal(found, torch.stack([values[1], values[0] + values[2]]))


def test_an_impossible_allocation_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    # Under another name of the allocator too.
    assert is_out_of_memory(RuntimeError(str(caught.value).replace("DefaultCPUAllocator", "x")))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
