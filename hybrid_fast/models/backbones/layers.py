"""The layers of a transformer, whatever its family calls them: by how the modules lie in it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Layers(NamedTuple):
    """The modules of a transformer by depth.

    Attributes:
        number: L, how many layers there are.
        depths: of each module, by its name: 0 for what comes before the layers and for all
            embeddings; 1 to L for the layers and what is in them, from the lowest; L + 1 for what
            follows, such as a last normalisation.
        modules: the modules that are called as layers; several of one depth where a family keeps
            them in blocks, as Funnel does, or their parts in lists of their own, as XLM does.
    """

    number: int
    depths: dict[str, int]
    modules: dict[str, nn.Module]

    def depth(self, name: str) -> int:
        """Return the depth of a parameter or buffer, by its name."""
        return self.depths[name.rpartition(".")[0]]


def find_layers(model: nn.Module) -> Layers:
    """Find the layers of a transformer, also within an adapter's wrapper.

    They are the modules of its outermost nn.ModuleList, of the one as long as its configuration
    says, else of the longest; what comes before them are the modules registered before it.

    Raises:
        ValueError: it has none.
    """
    stacks = _stacks(model)
    if not stacks:
        raise ValueError(f"a {type(model).__name__} has no layers")
    number = len(next(iter(stacks.values())))
    of_layers = {f"{stack}.{place}": place + 1 for stack in stacks for place in range(number)}
    modules: dict[str, nn.Module] = {}
    for stack, layers in stacks.items():
        modules |= _called(stack, layers)
    return Layers(number, _depths(model, of_layers), modules)


def _depths(model: nn.Module, of_layers: dict[str, int]) -> dict[str, int]:
    """Return the depth of each module by its name, from those of the layers.

    A module registered after the layers follows them, unless it is an embedding, as of relative
    positions, or one that its parent has after that, as DeBERTa its normalisation.
    """
    depths: dict[str, int] = {}
    others = 0
    with_embeddings: tuple[str, ...] = ()
    for name, module in model.named_modules(remove_duplicate=False):
        layer = next((each for each in of_layers if f"{name}.".startswith(f"{each}.")), None)
        if layer is not None:
            depths[name], others = of_layers[layer], 1 + max(of_layers.values())
            continue
        if isinstance(module, nn.Embedding) and others and "." in name:
            with_embeddings = (*with_embeddings, f"{name.rpartition('.')[0]}.")
        is_embedding = isinstance(module, nn.Embedding) or f"{name}.".startswith(with_embeddings)
        depths[name] = 0 if is_embedding else others
    return depths


def _called(name: str, module: nn.Module) -> dict[str, nn.Module]:
    """Return a module by its name, or what a list of modules holds."""
    if not isinstance(module, nn.ModuleList):
        return {name: module}
    called: dict[str, nn.Module] = {}
    for place, each in enumerate(module):
        called |= _called(f"{name}.{place}", each)
    return called


def _stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """Return the outermost lists of modules that hold the layers, or parts of them."""
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module)
    }
    outer = {
        name: layers
        for name, layers in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists)
    }
    lengths = {len(layers) for layers in outer.values()}
    said = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    length = said if said in lengths else max(lengths, default=0)
    return {name: layers for name, layers in outer.items() if len(layers) == length}
