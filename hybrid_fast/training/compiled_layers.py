"""A transformer whose layers are compiled, for as long as a step takes.

Layers have the same code, so it is compiled once for all of them and, dynamic in its sizes, for any
number of tokens. What is no layer stays as it is, such as the token embeddings with their sparse
gradients, and so does all that is computed between steps.

Compiled, a forward pass without gradients is other code than one with them: it rounds and drops
otherwise. So both passes of the gradient cache have to be with gradients, see `GradientCache`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.layers import find_layers
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.compat import compiling_layers, watched_compilation
from hybrid_fast.training.timing import COMPILATION, StepTimer

logger = logging.getLogger(__name__)


class CompiledLayers:
    """The layers of an encoder under torch.compile, or its whole transformer if none are found.

    Nothing is compiled before it runs, and nothing of a static encoder ever.

    Args:
        encoder: weights, modules and their names stay as they are.
        backend: of torch.compile.
        mode: likewise.

    Attributes:
        modules: what is compiled.
        is_whole: whether that is the whole transformer.
    """

    def __init__(
        self,
        encoder: BiEncoder,
        backend: str | Callable[..., Any] | None = None,
        mode: str | None = None,
    ) -> None:
        self.modules = modules_to_compile(encoder)
        self.is_whole = compiles_whole(encoder)
        if self.is_whole:
            logger.warning(
                "No layers of equal shape were found that hold most weights of a %s: it is "
                "compiled as a whole, which takes longer.",
                type(self.modules[0]).__name__,
            )
        options: dict[str, Any] = {} if backend is None else {"backend": backend}
        self._forwards = [
            torch.compile(module.forward, dynamic=True, mode=mode, **options)
            for module in self.modules
        ]

    @contextmanager
    def running(self, timer: StepTimer) -> Iterator[None]:
        """Let the modules run compiled within.

        Args:
            timer: told of the seconds that compiling takes.
        """
        before = [vars(module).get("forward") for module in self.modules]
        with compiling_layers(), watched_compilation(lambda: timer.part(COMPILATION)):
            try:
                for module, forward in zip(self.modules, self._forwards, strict=True):
                    vars(module)["forward"] = forward
                yield
            finally:
                for module, own in zip(self.modules, before, strict=True):
                    del vars(module)["forward"]
                    vars(module).update({} if own is None else {"forward": own})


def compile_layers(encoder: BiEncoder, args: HybridTrainingArguments) -> CompiledLayers | None:
    """Return the layers of an encoder under torch.compile, if that is asked for and it has any."""
    if not args.torch_compile:
        return None
    if not modules_to_compile(encoder):
        logger.info("A static encoder has no layers: torch_compile changes nothing.")
        return None
    return CompiledLayers(encoder, args.torch_compile_backend, args.torch_compile_mode)


def modules_to_compile(encoder: BiEncoder) -> list[nn.Module]:
    """Return the layers of a transformer, or itself if they are not found; none if it is static."""
    if not isinstance(encoder.backbone, TransformerBackbone):
        return []
    transformer = encoder.backbone.model
    return _layers(transformer) or [transformer]


def compiles_whole(encoder: BiEncoder) -> bool:
    """Tell whether no layers are found in a transformer, so that it is compiled as a whole."""
    model = getattr(encoder.backbone, "model", None)
    return any(module is model for module in modules_to_compile(encoder))


def _layers(transformer: nn.Module) -> list[nn.Module]:
    """Return the modules that are called as layers, if they hold most weights but embeddings."""
    try:
        layers = list(find_layers(transformer).modules.values())
    except ValueError:
        return []
    tables = [module for module in transformer.modules() if isinstance(module, nn.Embedding)]
    others = _num_weights([transformer]) - _num_weights(tables)
    return layers if 2 * _num_weights(layers) > others else []


def _num_weights(modules: Sequence[nn.Module]) -> int:
    weights = {id(each): each.numel() for module in modules for each in module.parameters()}
    return sum(weights.values())
