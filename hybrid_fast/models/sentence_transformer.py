"""A SentenceTransformer in memory, taken apart: its weights are shared, not copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast.models.adapters.adapters import transformer_of
from hybrid_fast.models.backbones.architectures import position_limit
from hybrid_fast.models.backbones.static import StaticBackbone
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.folders.chain import first_names
from hybrid_fast.models.folders.foreign import OTHER_MODULES, refuse_config, untrainable
from hybrid_fast.models.folders.layout import check_transformer, read_pooling
from hybrid_fast.models.head.modules import HEAD_MODULES, Dense, Dropout, LayerNorm, Normalize
from hybrid_fast.models.texts import Side

_HOME = "sentence_transformers."


def parts_of(model: Any) -> dict[str, Any]:
    """Return the arguments of a BiEncoder that embeds as a SentenceTransformer does.

    Raises:
        TypeError: it is no SentenceTransformer.
        UntrainableChainError: its modules are none that can be trained here.
    """
    kinds = [kind for kind in type(model).__mro__ if kind.__module__.startswith(_HOME)]
    if not any(kind.__name__ == "SentenceTransformer" for kind in kinds):
        raise TypeError(
            f"model is a {type(model).__name__}; a SentenceTransformer is needed "
            "(BiEncoder.from_pretrained loads folders)"
        )
    modules = list(model)
    static = _name(modules[0]) == "StaticEmbedding"
    num_first = _check_order([_name(module) for module in modules], static=static)
    backbone = _static(modules[0]) if static else _transformer(*modules[:2])
    head = nn.Sequential(*_head(modules[num_first:], backbone.embedding_dim))
    normalize = bool(head) and isinstance(head[-1], Normalize)
    return {
        "backbone": backbone,
        "head": head[:-1] if normalize else head,
        "normalize": normalize,
        "similarity": model.similarity_fn_name,
        "prompts": model.prompts,
        "default_prompt_name": model.default_prompt_name,
        "truncate_dim": model.truncate_dim,
        "name_or_path": getattr(getattr(modules[0], "model", None), "name_or_path", "static"),
        "trust_remote_code": bool(model.trust_remote_code),
    }


def _name(module: Any) -> str:
    """Return the name of a class of sentence-transformers, with its package if it is another's."""
    kind = type(module)
    is_theirs = kind.__module__.startswith(_HOME)
    return kind.__name__ if is_theirs else f"{kind.__module__}.{kind.__name__}"


def _check_order(names: list[str], *, static: bool) -> int:
    """Return how many modules there are before the head."""
    first = first_names(static=static)
    unknown = [name for name in names[len(first) :] if name not in HEAD_MODULES]
    if names[: len(first)] != first or unknown:
        about = [f"{name} is {OTHER_MODULES[name]}" for name in names if name in OTHER_MODULES]
        raise untrainable(
            None,
            f"the model has the modules {', '.join([*names, *about])}; needed are Transformer and "
            f"Pooling, or StaticEmbedding, and then any of {', '.join(HEAD_MODULES)}",
        )
    return len(first)


def _static(module: Any) -> StaticBackbone:
    return StaticBackbone(deepcopy(module.tokenizer), module.embedding.weight)


def _transformer(module: Any, pooling: Any) -> TransformerBackbone:
    model, tokenizer = module.model, module.tokenizer
    is_known = isinstance(transformer_of(model), PreTrainedModel)  # in one of peft, or alone
    if not is_known or not isinstance(tokenizer, Tokenizer):
        what = f"its Transformer runs a {type(model).__name__}, no model of transformers in torch"
        raise untrainable(None, what)
    check_transformer(None, "its Transformer", module.get_config_dict())
    refuse_config(model.config)
    limit = position_limit(model)
    longest = int(min(module.max_seq_length or limit, limit))
    lengths: dict[Side, int] = {
        "query": min(module.query_length or longest, limit),
        "passage": min(module.document_length or longest, limit),
    }
    of_pooling = read_pooling("its Pooling", pooling.get_config_dict())
    # A copy: ours pads on the right, and the module goes on to pad as it did.
    return TransformerBackbone(model, deepcopy(tokenizer), max_lengths=lengths, **of_pooling)


def _head(modules: Iterable[Any], dim: int) -> Iterator[nn.Module]:
    """Yield modules of a head that have the weights of those of sentence-transformers."""
    for module in modules:
        names = {getattr(module, f"module_{end}_name", None) for end in ("input", "output")}
        if names - {None, "sentence_embedding"}:
            raise untrainable(None, f"its {_name(module)} is not of embeddings of texts: {module}")
        match _name(module):
            case "Dense":
                ours = Dense(
                    dim,
                    module.out_features,
                    activation=module.activation_function,
                    use_residual=module.use_residual,
                )
                ours.linear = module.linear
                if hasattr(module, "residual"):
                    ours.residual = module.residual
                yield ours
            case "LayerNorm":
                normed = LayerNorm(dim)
                normed.norm = module.norm
                yield normed
            case "Dropout":
                yield Dropout(module.dropout, dim)
            case "Normalize":
                yield Normalize(dim)
        dim = module.out_features if _name(module) == "Dense" else dim
