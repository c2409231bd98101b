"""Make what recipes/goldp_from_scratch.yaml starts from: a split of TyDi GoldP, and an encoder.

The answers of the published dev set are not always at hand, so a fifth of the paragraphs of train
is held out, the same ones each time, with all of their questions. The encoder is an untrained
transformer (BERT, random weights) with a vocabulary of the training texts.

    python recipes/goldp_from_scratch.py recipes/goldp_from_scratch.yaml ../shared/data runs/goldp
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path

import torch
from tokenizers import processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hybrid_fast.cli.recipe import load_recipe
from hybrid_fast.cli.runs import load_items
from hybrid_fast.models.backbones.vocabulary import UNKNOWN_TOKEN, sample_texts, train_tokenizer

LANGUAGES = ("en", "ko", "sw")
SPECIAL = ("[PAD]", "[CLS]", "[SEP]")
VOCAB_SIZE = 12_000


def split(source: Path, folder: Path) -> None:
    """Write the paragraphs of a file to train/ and held_out/, by a checksum of their text."""
    content = json.loads(gzip.decompress(source.read_bytes()))
    paragraphs = [each for article in content["data"] for each in article["paragraphs"]]
    for part, is_held_out in (("train", False), ("held_out", True)):
        chosen = [
            paragraph
            for paragraph in paragraphs
            if (zlib.crc32(paragraph["context"].encode()) % 5 == 0) == is_held_out
        ]
        path = folder / part / source.name.removesuffix(".gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"data": [{"paragraphs": chosen}]}
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def save_encoder(texts: list[str], folder: Path) -> None:
    """Write an untrained transformer and a tokenizer of these texts."""
    tokenizer = train_tokenizer(sample_texts(texts, seed=0), VOCAB_SIZE)
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN_TOKEN,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=160,
        pad_token_id=fast.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    fast.save_pretrained(folder)


def main(recipe: Path, data: Path, folder: Path) -> None:
    """Write train/, held_out/ and encoder/ into a folder."""
    for language in LANGUAGES:
        split(data / "tydiqa-goldp" / "train" / f"{language}.json.gz", folder)
    (folder / "encoder").mkdir(exist_ok=True)  # what a recipe names must be there
    table = load_items(load_recipe(recipe)[0])
    texts = [
        *table.queries(table.has_query.nonzero()[0]),
        *table.passages(table.has_passage.nonzero()[0]),
    ]
    save_encoder(texts, folder / "encoder")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
