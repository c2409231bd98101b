"""A SentenceTransformer in memory, taken apart: its weights are shared, not copied."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast.models.foreign import refuse_config
from hybrid_fast.models.static import StaticBackbone
from hybrid_fast.models.texts import Side
from hybrid_fast.models.transformer import TransformerBackbone, position_limit

_HOME = "sentence_transformers."
_CHAINS = (["Transformer", "Pooling"], ["StaticEmbedding"])
_POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_AS_IT_IS = "It can be evaluated as it is: task.evaluate(model)"


def parts_of(model: Any) -> dict[str, Any]:
    """Return the arguments of a BiEncoder that embeds as a SentenceTransformer does.

    Raises:
        TypeError: it is no SentenceTransformer.
        ValueError: its modules are none that can be trained here.
    """
    kinds = [kind for kind in type(model).__mro__ if kind.__module__.startswith(_HOME)]
    if not any(kind.__name__ == "SentenceTransformer" for kind in kinds):
        raise TypeError(
            f"model is a {type(model).__name__}; a SentenceTransformer is needed "
            "(BiEncoder.from_pretrained loads folders)"
        )
    modules = list(model)
    first, names = modules[0], [_name(module) for module in modules]
    normalize = names[-1] == "Normalize"
    if normalize:
        names.pop()
    if names not in _CHAINS:
        raise ValueError(
            f"the model has the modules {', '.join(map(_name, modules))}; only Transformer and "
            "Pooling, or StaticEmbedding, each with or without Normalize, can be trained here. "
            f"{_AS_IT_IS}"
        )
    return {
        "backbone": _static(first) if names == ["StaticEmbedding"] else _transformer(*modules[:2]),
        "normalize": normalize,
        "similarity": model.similarity_fn_name,
        "prompts": model.prompts,
        "default_prompt_name": model.default_prompt_name,
        "truncate_dim": model.truncate_dim,
        "name_or_path": getattr(getattr(first, "model", None), "name_or_path", "static"),
        "trust_remote_code": bool(model.trust_remote_code),
    }


def _name(module: Any) -> str:
    """Return the name of a class of sentence-transformers, with its package if it is another's."""
    kind = type(module)
    is_theirs = kind.__module__.startswith(_HOME)
    return kind.__name__ if is_theirs else f"{kind.__module__}.{kind.__name__}"


def _static(module: Any) -> StaticBackbone:
    return StaticBackbone(deepcopy(module.tokenizer), module.embedding.weight)


def _transformer(module: Any, pooling: Any) -> TransformerBackbone:
    model, tokenizer = module.model, module.tokenizer
    if not isinstance(model, PreTrainedModel) or not isinstance(tokenizer, Tokenizer):
        raise ValueError(
            f"its Transformer runs a {type(model).__name__}; only models of transformers with a "
            f"tokenizer, of backend 'torch', can be trained here. {_AS_IT_IS}"
        )
    if (module.transformer_task, module.module_output_name) != (
        "feature-extraction",
        "token_embeddings",
    ):
        raise ValueError(
            f"its Transformer does {module.transformer_task!r} and gives "
            f"{module.module_output_name!r}; only 'feature-extraction', which gives "
            f"'token_embeddings', can be trained here. {_AS_IT_IS}"
        )
    refuse_config(model.config)
    limit = position_limit(model)
    longest = int(min(module.max_seq_length or limit, limit))
    lengths: dict[Side, int] = {
        "query": min(module.query_length or longest, limit),
        "passage": min(module.document_length or longest, limit),
    }
    # A copy: ours pads on the right, and the module goes on to pad as it did.
    return TransformerBackbone(model, deepcopy(tokenizer), _pooling(pooling), lengths)


def _pooling(module: Any) -> str:
    if not module.include_prompt:
        raise ValueError(
            f"its Pooling leaves out the prompt, which is not supported here. {_AS_IT_IS}"
        )
    if module.pooling_mode not in _POOLINGS:
        raise ValueError(
            f"its Pooling is {module.pooling_mode!r}; only {', '.join(_POOLINGS)} can be trained "
            f"here. {_AS_IT_IS}"
        )
    return _POOLINGS[module.pooling_mode]
