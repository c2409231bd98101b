"""Tiny encoders in folders, made here: no weights are fetched."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

TEXTS = [
    "Where does the river begin?",
    "The river begins in the mountains and ends in the sea.",
    "Wo beginnt der Fluss?",
    "Der Fluss beginnt in den Bergen und endet 1250 km weiter im Meer.",
    "河流从哪里开始？",
    "这条河发源于山区，流入大海。",
    "แม่น้ำเริ่มต้นที่ไหน",
    "แม่น้ำเริ่มต้นในภูเขาและไหลลงสู่ทะเล",
    "أين يبدأ النهر؟",
    "Sea.",
]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small spend all their time waking threads up."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Ten texts in five scripts, from one word to a sentence."""
    return list(TEXTS)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory) -> Path:
    """BERT: absolute positions, token types, a word-level tokenizer."""
    trainer = trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer = trained(models.WordLevel(unk_token="[UNK]"), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    config = BertConfig(vocab_size=len(fast), max_position_embeddings=300, **SIZES)
    return saved(BertModel, config, fast, tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def xlm_roberta_folder(tmp_path_factory) -> Path:
    """XLM-R: positions counted from the padding token, a unigram tokenizer."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer = trained(models.Unigram(), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", cls_token="<s>", sep_token="</s>",
    )  # fmt: skip
    config = XLMRobertaConfig(
        vocab_size=len(fast), max_position_embeddings=130, pad_token_id=1, **SIZES
    )
    return saved(XLMRobertaModel, config, fast, tmp_path_factory.mktemp("xlmr"))


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory) -> Path:
    """Qwen2: causal, rotary positions, padding on the left, pieces of bytes.

    transformers gives it that kind of tokenizer whatever the file says.
    """
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<unk>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<end>",
        padding_side="left",
    )  # fmt: skip
    config = Qwen2Config(vocab_size=len(fast), num_key_value_heads=2, pad_token_id=0, **SIZES)
    return saved(Qwen2Model, config, fast, tmp_path_factory.mktemp("qwen"))


def trained(model, trainer, pre_tokenizer=None) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def saved(model_class, config, tokenizer, folder: Path) -> Path:
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def edit_json(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
