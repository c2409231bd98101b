"""Weights of a model in training: saved so that the encoder loads by itself, read back into it.

The living modules stay: code of their own, adapters, dtype, attention and options are those of the
run, and nothing is made anew. A folder holds what `BiEncoder.save_pretrained` writes, an adapter
kept apart, and two more files where they are needed: the weights of the loss, and those of modules
whose own files do not have the names of their parameters, or not all that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hybrid_fast.common.files import staged_file
from hybrid_fast.models.adapters.adapters import (
    adapter_state,
    beside_adapter,
    has_adapter,
    load_adapter_state,
)
from hybrid_fast.models.adapters.folders import read_adapter_state
from hybrid_fast.models.folders.finding import WEIGHT_FILES
from hybrid_fast.training.model import ContrastiveModel

LOSS_FILE = "loss.safetensors"
TRAINED_FILE = "trained.safetensors"
_OWN_PACKAGES = ("hybrid_fast", "transformers")

Shapes = dict[str, tuple[int, ...]]


def save_weights(model: ContrastiveModel, folder: Path, *, merge_adapter: bool = False) -> None:
    """Save the encoder, and the loss if it has parameters.

    Args:
        model: encoder and loss.
        folder: to write to.
        merge_adapter: see `BiEncoder.save_pretrained`; such a folder is not to be read back.
    """
    encoder = model.encoder
    encoder.save_pretrained(folder, merge_adapter=merge_adapter)
    trained: dict[str, Tensor] = {}
    for place, module in encoder.modules_by_folder().items():
        beside = _beside(module, folder / place, merge_adapter)
        trained |= {f"{place}:{name}": value for name, value in beside.items()}
    for file, state in ((TRAINED_FILE, trained), (LOSS_FILE, model.loss.state_dict())):
        if state:
            with staged_file(folder / file) as staged:
                save_file(state, staged)
        else:
            (folder / file).unlink(missing_ok=True)


def _beside(module: nn.Module, folder: Path, merged: bool) -> dict[str, Tensor]:
    """Return what training changes of a module and its own files in a folder do not hold."""
    if has_adapter(module):
        return {} if merged else beside_adapter(module, _to_keep(module))
    return dict(_to_keep(module)) if _difference(module, _saved_shapes(folder)) else {}


def load_weights(model: ContrastiveModel, folder: Path) -> None:
    """Load what `save_weights` wrote into the modules that are there.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or holds weights of other names or shapes.
    """
    trained = _read([folder / TRAINED_FILE]) if (folder / TRAINED_FILE).is_file() else {}
    loads: list[Callable[[], object]] = []
    for place, module in model.encoder.modules_by_folder().items():
        prefix = f"{place}:"
        state = {k.removeprefix(prefix): v for k, v in trained.items() if k.startswith(prefix)}
        if has_adapter(module):
            adapter = read_adapter_state(folder / place)
            _check_adapter(folder, module, adapter, state)
            loads.append(partial(load_adapter_state, module, adapter))
        else:
            state = state or _read(_weight_files(folder / place))
            _check_same(folder, module, state)
        loads.append(partial(module.load_state_dict, state, strict=False))
    if model.loss.state_dict():
        state = _read([folder / LOSS_FILE])
        _check_same(folder, model.loss, state)
        loads.append(partial(model.loss.load_state_dict, state, strict=False))
    for load in loads:  # all of them, or none
        load()


def has_foreign_code(model: ContrastiveModel) -> bool:
    """Tell whether a module that is saved is of another package than transformers and this one."""
    modules = model.encoder.modules_by_folder().values()
    return any(type(m).__module__.partition(".")[0] not in _OWN_PACKAGES for m in modules)


def _check_same(folder: Path, module: nn.Module, state: dict[str, Tensor]) -> None:
    _refuse(folder, _difference(module, _shapes(state)))


def _check_adapter(
    folder: Path, module: nn.Module, adapter: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    living, saved = _shapes(adapter_state(module)), _shapes(adapter)
    for name in sorted({*living, *saved}):
        if living.get(name) != saved.get(name):
            here, there = living.get(name, "missing"), saved.get(name, "missing")
            _refuse(folder, f"of the adapter {name} has shape {here}, and {there} in the folder")
    living, saved = _shapes(beside_adapter(module, _to_keep(module))), _shapes(state)
    for name in living:
        if living[name] != saved.get(name):
            _refuse(folder, f"{name}, which is trained beside the adapter, is not in the folder")


def _refuse(folder: Path, difference: str) -> None:
    if difference:
        raise ValueError(
            f"{folder} holds another model: its weights are not those of the model to train: "
            f"{difference}; resume with the same model, or start anew"
        )


def _shapes(state: dict[str, Tensor]) -> Shapes:
    return {name: tuple(value.shape) for name, value in state.items()}


def _difference(module: nn.Module, saved: Shapes) -> str:
    """Return what distinguishes saved weights from those of a module, "" if nothing."""
    state = module.state_dict(keep_vars=True)
    for name, shape in saved.items():
        if name not in state:
            return f"it has no {name}"
        if shape != tuple(state[name].shape):
            return f"{name} has shape {tuple(state[name].shape)}, and {shape} in the folder"
    found = {id(state[name]) for name in saved}
    for name, _ in _to_keep(module):
        if id(state[name]) not in found:
            return f"{name} is not in the folder"
    return ""


def _to_keep(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what training changes: parameters that are not frozen, and buffers; tied ones once."""
    seen: set[int] = set()
    for name, value in module.state_dict(keep_vars=True).items():
        frozen = isinstance(value, nn.Parameter) and not value.requires_grad
        if isinstance(value, Tensor) and id(value) not in seen and not frozen:
            seen.add(id(value))
            yield name, value.detach().contiguous()


def _weight_files(folder: Path) -> list[Path]:
    files = [file for pattern in WEIGHT_FILES for file in folder.glob(pattern)]
    return sorted(file for file in files if file.suffix == ".safetensors")


def _saved_shapes(folder: Path) -> Shapes:
    shapes: Shapes = {}
    for path in _weight_files(folder):
        with safe_open(path, "pt") as file:
            names = file.keys()
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in names}
    return shapes


def _read(files: list[Path]) -> dict[str, Any]:
    state: dict[str, Tensor] = {}
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; start anew, or resume from another folder")
        try:
            state |= load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    return state
