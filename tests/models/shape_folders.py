"""Tiny random encoders of every shape that people have, by name, and their folders."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from model_folders import SIZES, TEXTS, trained
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

T5_SIZES = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
# Families have numbers of real vocabularies here.
ENDS = {"bos_token_id": 2, "eos_token_id": 2}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}


@dataclass
class Shape:
    """An architecture: its classes, sizes, and the kind of tokenizer that it comes with."""

    model: str
    config: str
    sizes: dict = field(default_factory=lambda: dict(SIZES))
    tokenizer: str = "bert"

    def configuration(self, vocab_size: int) -> PretrainedConfig:
        """Return a configuration of this many tokens."""
        sizes = dict(self.sizes)
        for part in ("encoder", "decoder"):
            if part in sizes:
                sizes[part] = {**sizes[part], "vocab_size": vocab_size}
        return getattr(transformers, self.config)(vocab_size=vocab_size, **ENDS, **sizes)

    def build(self, vocab_size: int = 120) -> PreTrainedModel:
        """Return a model of random weights, none of them 0 or 1 as some layers begin."""
        torch.manual_seed(0)
        model = getattr(transformers, self.model)(self.configuration(vocab_size))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        return model.eval()


ENCODERS = {
    "bert": Shape("BertModel", "BertConfig", {**SIZES, "max_position_embeddings": 40}),
    "xlm-roberta": Shape(
        "XLMRobertaModel",
        "XLMRobertaConfig",
        {**SIZES, "max_position_embeddings": 42, "pad_token_id": 1},
        "roberta",
    ),
    "roberta": Shape(
        "RobertaModel",
        "RobertaConfig",
        {**SIZES, "max_position_embeddings": 42, "pad_token_id": 1},
        "roberta",
    ),
    "mpnet": Shape(
        "MPNetModel",
        "MPNetConfig",
        {**SIZES, "max_position_embeddings": 42, "pad_token_id": 1},
        "roberta",
    ),
    "distilbert": Shape(
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 40},
    ),
    "electra": Shape(
        "ElectraModel",
        "ElectraConfig",
        {**SIZES, "embedding_size": 24, "max_position_embeddings": 40},
    ),
    "albert": Shape(
        "AlbertModel",
        "AlbertConfig",
        {**SIZES, "embedding_size": 16, "max_position_embeddings": 40},
    ),
    "deberta": Shape(
        "DebertaModel",
        "DebertaConfig",
        {
            **SIZES,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "max_position_embeddings": 40,
        },
    ),
    "deberta-v2": Shape(
        "DebertaV2Model",
        "DebertaV2Config",
        {
            **SIZES,
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
            "max_position_embeddings": 40,
        },
    ),
    "modernbert": Shape(
        "ModernBertModel",
        "ModernBertConfig",
        {**SIZES, "num_hidden_layers": 3, "local_attention": 8, "pad_token_id": 0},
    ),
    "nomic_bert": Shape("NomicBertModel", "NomicBertConfig"),
    "gte": Shape("GteModel", "GteConfig"),
    "eurobert": Shape(
        "EuroBertModel", "EuroBertConfig", {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0}
    ),
    "jina_embeddings_v3": Shape(
        "JinaEmbeddingsV3Model", "JinaEmbeddingsV3Config", {**SIZES, "pad_token_id": 1}, "roberta"
    ),
    "rembert": Shape(
        "RemBertModel",
        "RemBertConfig",
        {**SIZES, "input_embedding_size": 24, "max_position_embeddings": 40},
    ),
    "roformer": Shape(
        "RoFormerModel", "RoFormerConfig", {**SIZES, "max_position_embeddings": 40}
    ),
    "xlnet": Shape(
        "XLNetModel", "XLNetConfig", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
    ),
    "gemma3-bidirectional": Shape(
        "Gemma3TextModel",
        "Gemma3TextConfig",
        {
            **SIZES,
            **GROUPED,
            "sliding_window": 6,
            "sliding_window_pattern": 2,
            "use_bidirectional_attention": True,
        },
        "decoder",
    ),
}  # fmt: skip

ENCODERS_OF_PAIRS = {
    "t5": Shape("T5EncoderModel", "T5Config", T5_SIZES, "t5"),
    "mt5": Shape("MT5EncoderModel", "MT5Config", T5_SIZES, "t5"),
    "umt5": Shape("UMT5EncoderModel", "UMT5Config", T5_SIZES, "t5"),
    "longt5": Shape(
        "LongT5EncoderModel", "LongT5Config", {**T5_SIZES, "local_radius": 3}, "t5"
    ),
    "switch_transformers": Shape(
        "SwitchTransformersEncoderModel",
        "SwitchTransformersConfig",
        {
            **T5_SIZES,
            "num_experts": 2,
            "num_sparse_encoder_layers": 1,
            "router_jitter_noise": 0.0,
        },
        "t5",
    ),
    "t5gemma": Shape(
        "T5GemmaEncoderModel",
        "T5GemmaConfig",
        {
            "encoder": {**SIZES, **GROUPED, "sliding_window": 6},
            "decoder": {**SIZES, **GROUPED},
            "is_encoder_decoder": False,
        },
        "t5",
    ),
}  # fmt: skip

DECODERS = {
    "qwen2": Shape("Qwen2Model", "Qwen2Config", {**SIZES, "num_key_value_heads": 2}, "decoder"),
    "qwen3": Shape("Qwen3Model", "Qwen3Config", {**SIZES, **GROUPED}, "decoder"),
    "llama": Shape("LlamaModel", "LlamaConfig", {**SIZES, "num_key_value_heads": 2}, "decoder"),
    "mistral": Shape(
        "MistralModel",
        "MistralConfig",
        {**SIZES, "num_key_value_heads": 2, "sliding_window": 6},
        "decoder",
    ),
    "gemma": Shape("GemmaModel", "GemmaConfig", {**SIZES, **GROUPED}, "decoder"),
    "gemma2": Shape(
        "Gemma2Model", "Gemma2Config", {**SIZES, **GROUPED, "sliding_window": 6}, "decoder"
    ),
    "gemma3": Shape(
        "Gemma3TextModel",
        "Gemma3TextConfig",
        {**SIZES, **GROUPED, "sliding_window": 6, "sliding_window_pattern": 2},
        "decoder",
    ),
    "gpt2": Shape("GPT2Model", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "t5"),
    "gpt_neox": Shape("GPTNeoXModel", "GPTNeoXConfig", tokenizer="decoder"),
    "opt": Shape(
        "OPTModel",
        "OPTConfig",
        {
            "hidden_size": 32,
            "word_embed_proj_dim": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 48,
            "max_position_embeddings": 40,
        },
        "decoder",
    ),
    "phi3": Shape("Phi3Model", "Phi3Config", {**SIZES, "pad_token_id": 0}, "decoder"),
}


def is_known(shape: Shape) -> bool:
    """Tell whether the installed transformers has the architecture in these sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions compile DeBERTa in a way torch has left
        try:
            return bool(getattr(transformers, shape.model) and shape.configuration(120))
        except (AttributeError, TypeError, StrictDataclassError):  # EuroBERT of 5.4
            return False


ALL = ENCODERS | ENCODERS_OF_PAIRS | DECODERS
SHAPES = {name: shape for name, shape in ALL.items() if is_known(shape)}


_SPECIAL = {  # all special tokens, that which begins a text, that which ends it
    "bert": (["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[CLS]", "[SEP]"),
    "roberta": (["<s>", "<pad>", "</s>", "<unk>"], "<s>", "</s>"),
    "t5": (["<pad>", "</s>", "<unk>"], None, "</s>"),
    "decoder": (["<pad>", "<unk>", "<end>"], None, "<end>"),
}


def make_tokenizer(kind: str, **options) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the kind that BERT, RoBERTa, T5 or a decoder has."""
    special, begin, end = _SPECIAL[kind]
    tokens = {token.strip("[]<>").lower(): token for token in special}
    tokenizer = _train_bytes(special) if kind == "decoder" else _train_words(special, tokens["unk"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(filter(None, [begin, "$A", end])),
        special_tokens=[(token, special.index(token)) for token in (begin, end) if token],
    )
    if begin:
        options |= {"cls_token": begin, "sep_token": end}
    if kind == "decoder":
        options = {"padding_side": "left"} | options
    options = {"pad_token": tokens["pad"]} | options
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=tokens["unk"], eos_token=end, **options
    )


def _train_words(special: list[str], unknown: str) -> Tokenizer:
    trainer = trainers.WordLevelTrainer(special_tokens=special)
    return trained(models.WordLevel(unk_token=unknown), trainer)


def _train_bytes(special: list[str]) -> Tokenizer:
    """Pieces of bytes; transformers makes nothing else of the tokenizer of a Qwen2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def make_folder(name: str, folder: Path, **options) -> Path:
    """Save the model of a shape and its tokenizer, which has the options."""
    tokenizer = make_tokenizer(SHAPES[name].tokenizer, **options)
    SHAPES[name].build(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
