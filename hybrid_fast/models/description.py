"""One line on how an encoder that was loaded embeds and compares texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hybrid_fast.models.adapters.adapters import adapter_names
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.dtypes import dtype_names
from hybrid_fast.models.head.head import members
from hybrid_fast.models.texts import SIDES

if TYPE_CHECKING:
    from hybrid_fast.models.bi_encoder import BiEncoder


def describe(model: BiEncoder) -> str:
    """Return, in one line, how texts are embedded and compared, in which dtype and where."""
    backbone = model.backbone
    parts = [f"{model.similarity_fn_name} similarity"]
    if isinstance(backbone, TransformerBackbone):
        parts += adapter_names(backbone.model)
        parts += ["attention in both directions"] if backbone.bidirectional else []
        without = "" if backbone.include_prompt else " without the prompt"
        parts.append(f"{backbone.pooling} pooling{without}")
    else:
        parts.append("static")
    parts += [module.description() for module in members(model.head)]
    parts.append("embeddings of norm 1" if model.has_unit_norm else "embeddings of any norm")
    prompts = {side: model.prompts.of_side(side) for side in SIDES}
    if any(prompts.values()):
        parts += [f"{side} prompt {prompt!r}" for side, prompt in prompts.items()]
    else:
        parts.append("no prompts")
    if model.max_length:
        lengths = " and ".join(str(model.max_length[side]) for side in SIDES)
        parts.append(f"at most {lengths} tokens of a query and a passage")
    if model.truncate_dim is not None:
        parts.append(f"truncated to {model.truncate_dim} of {model.embedding_dim} dimensions")
    parts += [dtype_names(model), model.device.type]
    return f"Loaded {model.name_or_path}: {', '.join(parts)}"
