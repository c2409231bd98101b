"""Modules that may follow pooling, those of sentence-transformers.

Each is saved in a folder of its own, and its parameters have the names of that folder's file.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn
from torch.nn.functional import normalize

from hybrid_fast.common.json_files import read_optional, write_json
from hybrid_fast.models.head.files import (
    CONFIG_FILE,
    check_dim,
    check_names,
    load_weights,
    read_activation,
    read_config,
    save_weights,
)

logger = logging.getLogger(__name__)


class HeadModule(Protocol):
    """What the members of a head have beside a `forward` of embeddings (n, D)."""

    @property
    def embedding_dim(self) -> int:
        """Dimension of what it returns."""

    @classmethod
    def load(cls, folder: Path, dim: int, *, trust_remote_code: bool = False) -> HeadModule:
        """Read what `save` or sentence-transformers wrote.

        Args:
            folder: of this module.
            dim: dimension of what it takes.
            trust_remote_code: whether classes that the folder names may be imported.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: its sizes do not fit, or an option is not supported.
        """

    def save(self, folder: Path) -> None:
        """Write configuration and weights into an existing folder."""

    def description(self) -> str:
        """Return what it does in a few words."""


class Dense(nn.Module):
    """A linear layer and an activation, with an optional residual connection around both.

    Args:
        in_features: dimension of what it takes.
        out_features: dimension of what it returns.
        bias: whether the linear layer has one.
        activation: default tanh. Folders name its class alone, without its options.
        use_residual: whether what it takes is added to what it returns, through a linear layer of
            its own if the dimensions differ.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        activation: nn.Module | None = None,
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation_function = nn.Tanh() if activation is None else activation
        _warn_of_options(self.activation_function)
        self.use_residual = use_residual
        if use_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)

    @property
    def embedding_dim(self) -> int:
        """Dimension of what it returns."""
        return self.linear.out_features

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return embeddings (n, out_features) of (n, in_features)."""
        embeddings = embeddings.to(self.linear.weight.dtype)
        projected: Tensor = self.activation_function(self.linear(embeddings))
        if not self.use_residual:
            return projected
        return projected + (
            self.residual(embeddings) if "residual" in self._modules else embeddings
        )

    @classmethod
    def load(cls, folder: Path, dim: int, *, trust_remote_code: bool = False) -> Dense:
        """See `HeadModule`; an activation that is not of torch is imported if that is trusted."""
        config = read_config(folder, "in_features", "out_features")
        unknown = config.keys() - {
            *("in_features", "out_features", "bias", "activation_function", "use_residual"),
            *("module_input_name", "module_output_name"),
        }
        if unknown:
            logger.warning(
                "%s: %s is not known, and not used.",
                folder / CONFIG_FILE,
                ", ".join(sorted(unknown)),
            )
        check_names(folder, config)
        check_dim(folder, "in_features", config["in_features"], dim)
        module = cls(
            config["in_features"],
            config["out_features"],
            bias=bool(config.get("bias", True)),
            activation=read_activation(folder, config, trust_remote_code),
            use_residual=bool(config.get("use_residual", False)),
        )
        load_weights(module, folder)
        return module

    def save(self, folder: Path) -> None:
        """See `HeadModule`."""
        activation = type(self.activation_function)
        config = {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{activation.__module__}.{activation.__qualname__}",
        }
        config |= {"use_residual": True} if self.use_residual else {}
        write_json(folder / CONFIG_FILE, config)
        save_weights(self, folder)

    def description(self) -> str:
        """See `HeadModule`."""
        activation = type(self.activation_function).__name__
        residual = ", residual" if self.use_residual else ""
        return f"Dense to {self.embedding_dim} ({activation}{residual})"


def _warn_of_options(activation: nn.Module) -> None:
    kind = type(activation)
    try:
        again = repr(kind())
    except TypeError:
        again = "nothing, since its class needs options"
    if again != repr(activation):
        logger.warning(
            "Folders name the class of an activation alone: %s loads again as %s.",
            activation,
            again,
        )


class LayerNorm(nn.Module):
    """Layer normalisation.

    Args:
        dimension: of what it takes and returns.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    @property
    def embedding_dim(self) -> int:
        """Dimension of what it takes and returns."""
        return self.norm.normalized_shape[0]

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return embeddings (n, D)."""
        normed: Tensor = self.norm(embeddings.to(self.norm.weight.dtype))
        return normed

    @classmethod
    def load(cls, folder: Path, dim: int, *, trust_remote_code: bool = False) -> LayerNorm:
        """See `HeadModule`."""
        config = read_config(folder, "dimension")
        check_dim(folder, "dimension", config["dimension"], dim)
        module = cls(dim)
        load_weights(module, folder)
        return module

    def save(self, folder: Path) -> None:
        """See `HeadModule`."""
        write_json(folder / CONFIG_FILE, {"dimension": self.embedding_dim})
        save_weights(self, folder)

    def description(self) -> str:
        """See `HeadModule`."""
        return "LayerNorm"


class Dropout(nn.Dropout):
    """Dropout, which acts in training alone.

    Args:
        p: the rate.
        embedding_dim: dimension of what it takes and returns.
    """

    def __init__(self, p: float, embedding_dim: int) -> None:
        super().__init__(p)
        self.embedding_dim = embedding_dim

    @classmethod
    def load(cls, folder: Path, dim: int, *, trust_remote_code: bool = False) -> Dropout:
        """See `HeadModule`."""
        rate = read_optional(folder / CONFIG_FILE).get("dropout", 0.2)
        if not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ValueError(
                f"{folder / CONFIG_FILE}: dropout is {rate!r}; a number from 0 to 1 is needed"
            )
        return cls(rate, dim)

    def save(self, folder: Path) -> None:
        """See `HeadModule`."""
        write_json(folder / CONFIG_FILE, {"dropout": self.p})

    def description(self) -> str:
        """See `HeadModule`."""
        return f"Dropout {self.p}"


class Normalize(nn.Module):
    """Scaling to norm 1 between other modules; at the end `BiEncoder.normalize` does it.

    Args:
        embedding_dim: dimension of what it takes and returns.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return embeddings (n, D) of norm 1."""
        return normalize(embeddings, dim=-1)

    @classmethod
    def load(cls, folder: Path, dim: int, *, trust_remote_code: bool = False) -> Normalize:
        """See `HeadModule`."""
        check_normalize(folder)
        return cls(dim)

    def save(self, folder: Path) -> None:
        """See `HeadModule`."""
        write_json(folder / CONFIG_FILE, {})

    def description(self) -> str:
        """See `HeadModule`."""
        return "Normalize"


HEAD_MODULES: dict[str, type[HeadModule]] = {
    "Dense": Dense,
    "LayerNorm": LayerNorm,
    "Dropout": Dropout,
    "Normalize": Normalize,
}


def check_normalize(folder: Path) -> None:
    """Check that a Normalize of sentence-transformers scales embeddings of texts.

    Raises:
        UntrainableChainError: it scales those of tokens.
    """
    check_names(folder, read_optional(folder / CONFIG_FILE))
