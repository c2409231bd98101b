"""The dropout of an encoder: one rate in place of all those that its configuration names.

Families call their rates by many names (`hidden_dropout_prob`, `attention_dropout`, `resid_pdrop`),
and keep them in three places: in the configuration, in modules of dropout, and as numbers that
attention modules copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from hybrid_fast.models.backbones.static import StaticBackbone

_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
# Whole layers that are left out, which is something else, and heads that embed no text.
_OTHERS = ("layerdrop", "layer_drop", "path", "connect", "classif", "summary", "qa_")
# The dropout of an adapter is an option of the adapter.
_ADAPTERS = ("lora_dropout",)


def check_dropout(rate: object) -> float:
    """Return a rate of dropout.

    Raises:
        ValueError: it is no number from 0 to below 1.
    """
    if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate < 1:
        return float(rate)
    raise ValueError(f"dropout is {rate!r}; it must be a number from 0 to below 1")


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set every rate of dropout of a model, in place, and in its configuration.

    Rates of adapters, and the share of whole layers that some families leave out in training, stay.
    At a rate of 0 those layers are not left out either: the model computes the same in training as
    in evaluation.

    Args:
        model: an encoder or a part of one, in any mode.
        rate: from 0 to below 1.

    Raises:
        ValueError: a rate out of range, or one above 0 for a model that has no dropout at all.
    """
    rate = check_dropout(rate)
    modules = [each for name, each in model.named_modules() if not _is_adapter(name)]
    found = [_set_in_module(module, rate) for module in modules]
    if rate and not any(found):
        raise ValueError(
            f"dropout is {rate}, and a {_kind(model)} has no dropout; leave it out, or give 0"
        )
    for config in _configs(modules):
        _set_numbers(config, rate)


def has_dropout(model: nn.Module) -> bool:
    """Tell whether any rate of dropout of a model is above 0, those of an adapter included."""
    modules = list(model.modules())
    holders = (*modules, *_configs(modules))
    return any(module.p > 0 for module in modules if isinstance(module, _DROPOUTS)) or any(
        value > 0 for holder in holders for name, value in _numbers(holder) if _is_rate(name)
    )


def _is_adapter(name: str) -> bool:
    return any(part in _ADAPTERS for part in name.split("."))


def _set_in_module(module: nn.Module, rate: float) -> bool:
    """Set the rates that a module holds itself; return whether there are any."""
    if isinstance(module, _DROPOUTS):
        module.p = rate
        return True
    # What a rate of 0 in the configuration has become, as in ModernBERT.
    without = [
        name
        for name, child in module.named_children()
        if isinstance(child, nn.Identity) and _is_rate(name) and rate
    ]
    for name in without:
        setattr(module, name, nn.Dropout(rate).train(module.training))
    return _set_numbers(module, rate) or bool(without)


def _set_numbers(holder: Any, rate: float) -> bool:
    """Set the attributes of a module or a configuration that are rates of dropout."""
    rates = [name for name, _ in _numbers(holder) if _is_rate(name)]
    for name in rates:
        setattr(holder, name, rate)
    if not rate:
        for name, _ in _numbers(holder):
            if "layerdrop" in name or "layer_drop" in name:
                setattr(holder, name, 0.0)
    return bool(rates)


def _numbers(holder: Any) -> list[tuple[str, float]]:
    """Return the attributes of a module or a configuration that are numbers."""
    return [
        (name, value)
        for name, value in vars(holder).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _is_rate(name: str) -> bool:
    return "drop" in name and not any(other in name for other in _OTHERS)


def _configs(modules: list[nn.Module]) -> Iterator[Any]:
    """Yield the configurations of modules, and those within them, each once."""
    waiting = [module.config for module in modules if hasattr(module, "config")]
    seen: set[int] = set()
    while waiting:
        config = waiting.pop()
        if id(config) in seen or not hasattr(config, "to_dict"):
            continue
        seen.add(id(config))
        yield config
        waiting += [each for each in vars(config).values() if hasattr(each, "to_dict")]


def _kind(model: nn.Module) -> str:
    kinds = {getattr(config, "model_type", None) for config in _configs([*model.modules()])}
    if any(isinstance(module, StaticBackbone) for module in model.modules()):
        return "static encoder"
    return next(filter(None, kinds), type(model).__name__)
