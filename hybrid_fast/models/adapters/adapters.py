"""Adapters (peft): small trained weights within a transformer whose own weights are frozen.

peft puts its layers into the modules of the transformer, which stays what it is: configuration,
class and forward pass are its own. A PeftModel around it, which users of peft make themselves, is
taken as well; its layers stand in the same places.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hybrid_fast.models.adapters.options import (
    check_modules,
    complete_targets,
    import_peft,
    kind_of,
    plain_config,
    refuse_unsupported,
    targets_all,
)
from hybrid_fast.models.compat import mark_adapted

if TYPE_CHECKING:
    from peft import PeftConfig

logger = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_NAME = "default"  # what peft calls an adapter
PREFIX = "base_model.model."  # of every name in its files
# transformers reads magnitudes of DoRA by the name of the parameter, peft without its last part.
MAGNITUDE, OF_PARAMETER = "lora_magnitude_vector", ".weight"
_HALF = (torch.float16, torch.bfloat16)


def transformer_of(model: Any) -> Any:
    """Return the transformer out of peft's PeftModel; a model that is in none as it is."""
    unwrap = getattr(model, "get_base_model", None)
    return model if unwrap is None else unwrap()


def has_adapter(model: nn.Module) -> bool:
    """Tell whether a model has an adapter, or several."""
    return bool(getattr(model, "peft_config", None))


def adapter_of(model: nn.Module) -> tuple[str, PeftConfig] | None:
    """Return name and configuration of the adapter of a model, None if it has none.

    Raises:
        ValueError: it has several, or one that is not supported.
    """
    configs = getattr(model, "peft_config", None) or {}
    if len(configs) > 1:
        raise ValueError(
            f"the encoder has {len(configs)} adapters, {', '.join(configs)}, and one is supported; "
            "delete the others with peft (delete_adapter)"
        )
    for name, config in configs.items():
        refuse_unsupported(config)
        return name, config
    return None


def adapter_names(model: nn.Module) -> list[str]:
    """Return what a model has as adapters, in words: ["LORA adapter"]."""
    configs = getattr(model, "peft_config", None) or {}
    return [f"{kind_of(config.peft_type)} adapter" for config in configs.values()]


def add_adapter(model: Any, config: PeftConfig, seed: int = 0, *, strict: bool = True) -> None:
    """Put an adapter into a transformer, in place, and freeze all other weights of it.

    Args:
        model: the transformer.
        config: of the adapter; it becomes the model's.
        seed: of the first weights.
        strict: whether all modules that are named must be there, or one of them.

    Raises:
        ValueError: the model has an adapter already, or this one cannot be put into it.
    """
    if adapter_of(model):
        raise ValueError(
            "the encoder has an adapter already; merge it first (merge_adapter), or load the "
            "encoder without it"
        )
    complete_targets(config, model)
    if strict:
        check_modules(config, model)
    peft, trained = import_peft(), [p for p in model.parameters() if p.requires_grad]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(config, model, _NAME)
        except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
            _remove_layers(model)
            for weight in trained:
                weight.requires_grad_(True)
            reason = " ".join(str(error).split())
            raise ValueError(
                f"a {kind_of(config.peft_type)} adapter cannot be put into a "
                f"{type(model).__name__}: {reason}"
            ) from error
    mark_adapted(model, True)
    peft.functional.cast_adapter_dtype(model, _NAME)  # half precision loses small updates
    if getattr(model, "pooler", None) is not None:
        model.pooler.requires_grad_(False)
    model.train(model.training)  # new layers are in training mode


def _remove_layers(model: nn.Module) -> None:
    """Take away the layers of an adapter that could not be put into all its places."""
    for parent, name, layer in list(_adapted_layers(model)):
        setattr(parent, name, getattr(layer, "original_module", None) or layer.get_base_layer())
    vars(model).pop("peft_config", None)


def is_adapter(model: nn.Module, asked: PeftConfig) -> bool:
    """Tell whether the adapter of a model is the one that is asked for, its first weights aside."""
    found = adapter_of(model)
    assert found is not None
    wanted, here = plain_config(asked), plain_config(found[1])
    ignored = {"init_lora_weights"}
    if targets_all(asked):
        ignored |= {"target_modules", "exclude_modules"}
        if any(isinstance(layer, nn.Linear) for layer in _other_modules(transformer_of(model))):
            return False
    for options in (wanted, here):
        if isinstance(options.get("target_modules"), list):
            options["target_modules"] = set(options["target_modules"])
    return all(wanted.get(name) == here.get(name) for name in {*wanted, *here} - ignored)


def _other_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules outside of layers with an adapter, and of the pooler."""
    adapted = {id(layer) for _, _, layer in _adapted_layers(module)}
    pending = [module]
    while pending:
        each = pending.pop()
        yield each
        pending += [
            child
            for name, child in each.named_children()
            if id(child) not in adapted and not (each is module and name == "pooler")
        ]


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of the adapter of a model by their names in a file, in living memory."""
    found = adapter_of(model)
    assert found is not None
    function = import_peft().functional.get_peft_model_state_dict
    # Left to itself peft would ask the hub whether the vocabulary has grown.
    state = function(model, adapter_name=found[0], save_embedding_layers=False)
    return {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in state.items()}


def beside_adapter(model: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return those of some weights of a model, by name, that are not its adapter's."""
    of_adapter = {weight.data_ptr() for weight in adapter_state(model).values()}
    return {name: weight for name, weight in weights if weight.data_ptr() not in of_adapter}


def load_adapter_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy weights of `adapter_state` into the adapter of a model."""
    found = adapter_of(model)
    assert found is not None
    if transformer_of(model) is model:  # peft takes the prefix away from names of a PeftModel alone
        state = {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    import_peft().functional.set_peft_model_state_dict(model, state, found[0])


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Within, a transformer is what it is with its adapter merged into its weights.

    Layers with an adapter are replaced by merged copies meanwhile; they themselves stay untouched.

    Raises:
        ValueError: an adapter cannot be merged.
    """
    layers = _merge_layers(model)
    configs = vars(model).pop("peft_config", None)
    mark_adapted(model, False)
    try:
        yield
    finally:
        for parent, name, layer in layers:
            setattr(parent, name, layer)
        if configs is not None:
            model.peft_config = configs
            mark_adapted(model, True)


def merge_adapter(model: Any) -> None:
    """Merge the adapter of a transformer into its weights for good, and train these from now on."""
    _merge_layers(model)
    vars(model).pop("peft_config", None)
    mark_adapted(model, False)
    model.requires_grad_(True)
    if getattr(model, "pooler", None) is not None:
        model.pooler.requires_grad_(False)


def _merge_layers(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Replace layers with an adapter by merged copies; return their parents, names and them."""
    layers = list(_adapted_layers(model))
    model.state_dict()  # rows of tables that have missed updates are caught up before it
    try:
        copies = [_merged_copy(layer) for _, _, layer in layers]  # all of them, or none
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"the adapter cannot be merged: {error}; save it apart with merge_adapter=False"
        ) from error
    for (parent, name, _), copied in zip(layers, copies, strict=True):
        setattr(parent, name, copied)
    return layers


def _adapted_layers(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Yield parent, name and layer of peft's layers, but not of those within them."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    for name, child in module.named_children():
        if isinstance(child, BaseTunerLayer | AuxiliaryTrainingWrapper):
            yield module, name, child
        else:
            yield from _adapted_layers(child)


def modules_of_base(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of a transformer, copies that are trained in their place included.

    What an adapter adds to a layer, as LoRA its two matrices, is left out.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    yield model
    for child in model.children():
        yield from modules_of_base(
            child.get_base_layer() if isinstance(child, BaseTunerLayer) else child
        )


def _merged_copy(layer: Any) -> nn.Module:
    """Return what a layer is with its adapter merged: a layer of its own, in the base's dtype."""
    layer = deepcopy(layer)
    base = getattr(layer, "original_module", None) or layer.get_base_layer()
    dtype = next((p.dtype for p in base.parameters() if p.is_floating_point()), None)
    if dtype in _HALF:  # rounded once
        layer.float()
    if hasattr(layer, "unload_and_optionally_merge_module"):
        base = layer.unload_and_optionally_merge_module(True, safe_merge=True, adapter_names=None)
    else:
        if not layer.merged:
            layer.merge(safe_merge=True)
        base = layer.get_base_layer()
    return base.to(dtype)
