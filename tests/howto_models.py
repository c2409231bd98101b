"""Tiny models in place of those that how-to pages name: of the same families, in their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from tokenizers import processors
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from hybrid_fast.data import load_builtin
from hybrid_fast.models.backbones.vocabulary import UNKNOWN_TOKEN, sample_texts, train_tokenizer

SPECIAL = ("<s>", "<pad>", "</s>", "<mask>")
VOCAB_SIZE = 1500
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
DECODER = SIZES | {"num_key_value_heads": 2, "head_dim": 8}


class TinyModels:
    """Writes folders below one, each with the tokenizer of the same texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = load_builtin("test")
        rows = range(0, len(table), 9)
        texts = [*table.queries(rows), *table.passages(rows)]
        self._tokenizer = train_tokenizer(sample_texts(texts, seed=0), VOCAB_SIZE)
        self._tokenizer.add_special_tokens(list(SPECIAL))
        torch.manual_seed(0)

    def e5(self) -> Path:
        """XLM-R's shape, pooled by the mean."""
        return self._sentence_transformer("e5", self._xlm_roberta(), "mean")

    def bge_m3(self) -> Path:
        """XLM-R's shape, pooled by the first token."""
        return self._sentence_transformer("bge-m3-tiny", self._xlm_roberta(), "cls")

    def mmbert(self) -> Path:
        """ModernBERT with its head of a masked language model, in a plain folder."""
        size = {**SIZES, **self._tokens(), "max_position_embeddings": 600}
        return self._plain("mmbert", ModernBertForMaskedLM(ModernBertConfig(**size)))

    def qwen3_embedding(self) -> Path:
        """Qwen3's shape, pooled by the last token, which ends every text; prompts."""
        model = Qwen3Model(Qwen3Config(**DECODER, **self._tokens(), max_position_embeddings=600))
        prompts = {"query": "Instruct: find it\nQuery:", "document": ""}
        return self._sentence_transformer("qwen3-embedding", model, "lasttoken", prompts)

    def qwen3(self) -> Path:
        """Qwen3's shape with the head of a language model, in a plain folder."""
        config = Qwen3Config(**DECODER, **self._tokens(), max_position_embeddings=600)
        return self._plain("qwen3", Qwen3ForCausalLM(config))

    def _xlm_roberta(self) -> XLMRobertaModel:
        tokens = self._tokens()  # positions are counted from the padding token's id
        positions = {"max_position_embeddings": tokens["pad_token_id"] + 600}
        config = XLMRobertaConfig(**SIZES, **tokens, **positions)
        return XLMRobertaModel(config, add_pooling_layer=False)

    def _tokens(self) -> dict[str, int]:
        names = ("bos", "pad", "eos")
        ids = {
            f"{name}_token_id": self._tokenizer.token_to_id(token)
            for name, token in zip(names, SPECIAL, strict=False)
        }
        return ids | {"vocab_size": self._tokenizer.get_vocab_size()}

    def _plain(self, name: str, model: Any) -> Path:
        folder = self.folder / name
        ends = [(token, self._tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
        self._tokenizer.post_processor = processors.BertProcessing(*ends)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=self._tokenizer,
            unk_token=UNKNOWN_TOKEN,
            bos_token="<s>",
            pad_token="<pad>",
            eos_token="</s>",
            cls_token="<s>",
            sep_token="</s>",
            mask_token="<mask>",
            model_max_length=512,
            model_input_names=["input_ids", "attention_mask"],
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def _sentence_transformer(
        self, name: str, model: Any, pooling: str, prompts: dict[str, str] | None = None
    ) -> Path:
        transformer = modules.Transformer(str(self._plain(f"{name}-plain", model)))
        size = transformer.get_embedding_dimension()
        chain = [transformer, modules.Pooling(size, pooling), modules.Normalize()]
        folder = self.folder / name
        whole = SentenceTransformer(modules=chain, device="cpu", prompts=prompts)
        whole.save_pretrained(str(folder), create_model_card=False)
        return folder
