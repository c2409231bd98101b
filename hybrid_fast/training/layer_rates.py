"""Learning rates of layers: groups of the optimiser, each with a factor of `learning_rate`.

With `layer_lr_decay` a layer learns by learning_rate * decay ** (number of layers above it), and
the embeddings count as the layer below the lowest; what follows the layers, such as a dense layer
after pooling, and the temperature have the full rate. ELECTRA (arXiv 2003.10555) and BEiT
(arXiv 2106.08254) are fine-tuned so, with one more power everywhere below the head of a task.
`lr_multipliers` gives factors by name; both are multiplied.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.frozen_layers import layers_of
from hybrid_fast.training.weight_names import check_matches, matches

# The option of a group of the optimiser that holds its factor.
FACTOR = "lr_factor"


class Rate(NamedTuple):
    """The learning rate of a weight; weights of equal ones share a group.

    Attributes:
        pattern: position of the name that matches among those of `lr_multipliers`, -1 if none.
        above: number of layers above, 0 without decay.
        factor: of `learning_rate`.
    """

    pattern: int = -1
    above: int = 0
    factor: float = 1.0


def has_layer_rates(args: HybridTrainingArguments) -> bool:
    """Tell whether layers have learning rates of their own."""
    return args.layer_lr_decay is not None or args.lr_multipliers is not None


def layer_rates(encoder: BiEncoder, args: HybridTrainingArguments) -> dict[str, Rate]:
    """Return the learning rate of each trained weight by its name.

    Raises:
        ValueError: a name that matches no weight, or no trained one; or an encoder without layers.
    """
    named = dict(encoder.named_parameters())
    trained = [name for name, weight in named.items() if weight.requires_grad]
    patterns = list(args.lr_multipliers or ())
    check_matches("lr_multipliers", patterns, named)
    for pattern in patterns:
        if not any(matches(pattern, name) for name in trained):
            raise ValueError(
                f"lr_multipliers: {pattern!r} matches frozen weights alone; leave it out"
            )
    decay = args.layer_lr_decay
    above = {} if decay is None else _layers_above(encoder)
    rates = {}
    for name in trained:
        found = next((i for i, pattern in enumerate(patterns) if matches(pattern, name)), -1)
        multiplier = (args.lr_multipliers or {})[patterns[found]] if found >= 0 else 1.0
        layers = above.get(id(named[name]), 0)
        rates[name] = Rate(found, layers, multiplier * (decay or 1.0) ** layers)
    return rates


def split_groups(
    optimizer: torch.optim.Optimizer, encoder: BiEncoder, args: HybridTrainingArguments
) -> None:
    """Split the groups of a new optimiser by learning rate, fastest layers first.

    Args:
        optimizer: has made no step yet; options of its groups are kept.
        encoder: see `layer_rates`; other parameters have the full rate.
        args: see `layer_rates`.

    Raises:
        ValueError: see `layer_rates`; or an optimiser that chooses its rate itself.
    """
    if not has_layer_rates(args):
        return
    rates = layer_rates(encoder, args)
    by_weight = {id(w): rates.get(name, Rate()) for name, w in encoder.named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        if group.get("lr") is None:
            raise ValueError(
                "layer_lr_decay and lr_multipliers need an optimiser that takes a learning rate, "
                f"and {type(optimizer).__name__} chooses its own; leave them out"
            )
        members: dict[Rate, list[nn.Parameter]] = defaultdict(list)
        for weight in group["params"]:
            members[by_weight.get(id(weight), Rate())].append(weight)
        for rate in sorted(members) or [Rate()]:
            options = {"lr": group["lr"] * rate.factor, FACTOR: rate.factor}
            groups.append({**group, **options, "params": members[rate]})
    optimizer.param_groups[:] = groups


def factor_of(group: dict[str, Any]) -> float:
    """Return by what `learning_rate` is multiplied in a group of an optimiser."""
    return float(group.get(FACTOR, 1.0))


def groups_digest(optimizer: Any, model: nn.Module) -> str:
    """Return a digest of which weights stand where in the groups of an optimiser."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    listed = [[names.get(id(w), "") for w in g["params"]] for g in optimizer.param_groups]
    return blake2b(str(listed).encode(), digest_size=8).hexdigest()


def _layers_above(encoder: BiEncoder) -> dict[int, int]:
    """Return the number of layers above each weight of the transformer, by the weight's id."""
    model, layers = layers_of(encoder, "layer_lr_decay")
    return {
        id(weight): max(0, layers.number - layers.depth(name))
        for name, weight in model.named_parameters()
    }
