"""Options of adapters: configurations of peft, checked before anything is changed.

peft itself passes over names that it does not find beside one that it does, and notices other
mistakes when half of the layers are made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from torch import nn

from hybrid_fast.common.choices import nearest

if TYPE_CHECKING:
    from peft import PeftConfig

AdapterOptions = Mapping[str, Any]

# Fields that say where an adapter came from or what it is used for, not what it is.
_ORIGIN = frozenset(
    "base_model_name_or_path revision inference_mode auto_mapping peft_version task_type".split()
)
ALL_LINEAR = "all-linear"
_MAX_SHOWN = 12


def import_peft() -> Any:
    """Return the module peft, with its functions for models of others.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import peft
        import peft.functional
    except ImportError as error:
        raise ImportError("adapters need peft: pip install 'hybrid_fast[lora]'") from error
    return peft


def make_config(options: AdapterOptions | PeftConfig) -> PeftConfig:
    """Return a new configuration of an adapter.

    Args:
        options: of peft.LoraConfig, or, with "peft_type", of another kind of adapter; or a
            configuration of peft.

    Raises:
        ImportError: peft is not installed.
        TypeError: neither options nor a configuration.
        ValueError: an unknown option, a value out of range, or a kind that is not supported.
    """
    peft = import_peft()
    if isinstance(options, peft.PeftConfig):
        config = deepcopy(options)
    elif isinstance(options, Mapping):
        config = _from_options(options, peft.PEFT_TYPE_TO_CONFIG_MAPPING)
    else:
        raise TypeError(
            f"the adapter is {options!r}; options of peft.LoraConfig are needed, such as "
            "{'r': 16}, or a configuration of peft"
        )
    _check_numbers(config)
    refuse_unsupported(config)
    return config


def plain_options(given: AdapterOptions | PeftConfig | None) -> dict[str, Any] | None:
    """Return options of an adapter, given as such or as a configuration, after a check.

    Raises:
        ImportError, TypeError, ValueError: as `make_config`.
    """
    if given is None:
        return None
    config = make_config(given)
    return dict(given) if isinstance(given, Mapping) else plain_config(config)


def _from_options(options: AdapterOptions, kinds: Mapping[str, Any]) -> PeftConfig:
    kind = kind_of(options.get("peft_type", "LORA"))
    if kind not in kinds:
        known = nearest(kind, map(kind_of, kinds))
        raise ValueError(f"adapter: peft_type is {kind!r}, which peft does not have{known}")
    config_class = kinds[kind]
    names = config_class.__dataclass_fields__
    given = {name: value for name, value in options.items() if name != "peft_type"}
    for name in given:
        if name not in names:
            hint = nearest(name, names)
            raise ValueError(f"adapter: {config_class.__name__} has no option {name!r}{hint}")
    try:
        config: PeftConfig = config_class(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"adapter: {error}") from error
    return config


def _check_numbers(config: Any) -> None:
    """Check what peft would notice of LoRA only when it makes the layers, if at all."""
    if kind_of(config.peft_type) != "LORA":
        return
    if not isinstance(config.r, int) or isinstance(config.r, bool) or config.r < 1:
        raise ValueError(f"adapter: r is {config.r!r}; a whole number of at least 1 is needed")
    if not _is_number(config.lora_alpha):
        raise ValueError(f"adapter: lora_alpha is {config.lora_alpha!r}; a number is needed")
    dropout = config.lora_dropout
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise ValueError(f"adapter: lora_dropout is {dropout!r}; it must be at least 0 and below 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def refuse_unsupported(config: Any) -> None:
    """Raise ValueError about an adapter that changes no layers, or its ranks between steps."""
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise ValueError(
            f"a {kind_of(config.peft_type)} adapter puts tokens of its own before a text instead "
            "of changing layers, which is not supported; use LORA or another kind that does"
        )
    if kind_of(config.peft_type) == "ADALORA":
        raise ValueError(
            "an ADALORA adapter moves its ranks between layers by a call after each step, which is "
            "not supported; use LORA, with rank_pattern for ranks of layers"
        )


def kind_of(peft_type: Any) -> str:
    """Return the name of a kind of adapter, such as "LORA"."""
    return str(getattr(peft_type, "value", peft_type))


def plain_config(config: Any) -> dict[str, Any]:
    """Return kind and options that differ from the defaults, as JSON holds them."""
    default = type(config)().to_dict()
    return {"peft_type": kind_of(config.peft_type)} | {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in config.to_dict().items()
        if name not in _ORIGIN and name != "peft_type" and value != default.get(name)
    }


def targets_all(config: Any) -> bool:
    """Tell whether a configuration changes all linear layers: LoRA that names none, or says so."""
    if config.target_modules is None and kind_of(config.peft_type) == "LORA":
        return not config.target_parameters
    return bool(config.target_modules == ALL_LINEAR)


def complete_targets(config: Any, model: nn.Module) -> None:
    """Let an adapter of all linear layers leave out the pooler's: no embedding depends on it."""
    if not targets_all(config):
        return
    config.target_modules = ALL_LINEAR
    if config.exclude_modules is None:
        names = {name for name, _ in model.named_modules() if name.split(".")[0] == "pooler"}
        config.exclude_modules = names or None


def check_modules(config: Any, model: nn.Module) -> None:
    """Check that every module that a configuration names is in a model.

    Raises:
        ValueError: one is not; the message names the nearest, and some that are.
    """
    names = [name for name, _ in model.named_modules() if name]
    for option in ("target_modules", "modules_to_save"):
        named = getattr(config, option, None)
        if isinstance(named, str):
            if named != ALL_LINEAR and not _matches(option, named, names):
                raise ValueError(_no_module(option, named, model))
            continue
        if not isinstance(named, list | tuple | set | None):
            raise ValueError(
                f"adapter: {option} is {named!r}; a list of names of modules is needed"
            )
        for target in named or ():
            if not any(f".{name}".endswith(f".{target}") for name in names):
                raise ValueError(_no_module(option, target, model))


def _matches(option: str, pattern: str, names: Iterable[str]) -> bool:
    try:
        return any(re.fullmatch(pattern, name) for name in names)
    except re.error as error:
        raise ValueError(
            f"adapter: {option} is {pattern!r}, which is no regular expression ({error}); give a "
            "list of names"
        ) from error


def _no_module(option: str, target: str, model: nn.Module) -> str:
    layers = [
        name for name, each in model.named_modules() if getattr(each, "weight", None) is not None
    ]
    last = dict.fromkeys(name.rsplit(".", 1)[-1] for name in layers)
    if target in last:  # given as a pattern
        hint = f"; it is read as a pattern of whole names: give a list, [{target!r}]"
    else:
        hint = nearest(target, last) or nearest(target, layers)
    shown = ", ".join(list(last)[:_MAX_SHOWN]) + (", ..." if len(last) > _MAX_SHOWN else "")
    return (
        f"adapter: {option} names {target!r}, which is no module of a {type(model).__name__}{hint}"
        f" (there are {shown})"
    )
