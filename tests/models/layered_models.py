"""Transformers of many families, tiny and with random weights, and tokens for them."""

from __future__ import annotations

import torch
import transformers
from torch import nn

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
}
_T5 = {"d_model": 32, "num_layers": 3, "num_heads": 4, "d_ff": 48, "d_kv": 8, "vocab_size": 100}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DECODER = {**SIZES, **_SPECIAL, "num_key_value_heads": 2}
_RELATIVE = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
_XLM = {"emb_dim": 32, "n_layers": 3, "n_heads": 4, "vocab_size": 100}
_FUNNEL = {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "vocab_size": 100}

# The name of the configuration and of the model, and their options.
FAMILIES = {
    "bert": ("BertConfig", "BertModel", SIZES),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel", SIZES),
    "electra": ("ElectraConfig", "ElectraModel", {**SIZES, "embedding_size": 16}),
    "mpnet": ("MPNetConfig", "MPNetModel", SIZES),
    "deberta": ("DebertaV2Config", "DebertaV2Model", {**SIZES, **_RELATIVE}),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertModel",
        {**SIZES, **_SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "t5": ("T5Config", "T5EncoderModel", _T5),
    "qwen3": ("Qwen3Config", "Qwen3Model", {**_DECODER, "head_dim": 8}),
    "gemma3": ("Gemma3TextConfig", "Gemma3TextModel", {**_DECODER, "head_dim": 8}),
    "xlm": ("XLMConfig", "XLMModel", _XLM),
    "funnel": ("FunnelConfig", "FunnelBaseModel", {**_FUNNEL, "block_sizes": [1, 1, 1]}),
}


def make_family(family: str) -> transformers.PreTrainedModel:
    """Return a model in evaluation mode, whose dropout would hide what is compared."""
    config, model, options = FAMILIES[family]
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**options)).eval()


def features() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 90, (4, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    return {"input_ids": ids, "attention_mask": mask}


class Backbone(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model(**features).last_hidden_state.mean(1)


class Encoder(nn.Module):
    """What `widen_trainable` takes of a BiEncoder: a backbone, perhaps with a head behind it."""

    def __init__(self, model: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = Backbone(model)
        self.head = head or nn.Identity()

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.head(self.backbone(features))
