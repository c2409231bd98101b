"""What training is measured on: texts of realistic lengths and encoders of known shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from hybrid_fast.data import AlignedTable

NUM_WORDS = 20_000
LONGEST = 256  # tokens of a text, as encoders are told
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def draw_texts(num_texts: int, mean: float, most: int, seed: int, sigma: float = 0.8) -> list[str]:
    """Texts of log-normal length in words, which are drawn as in a language, by Zipf's law.

    Args:
        num_texts: how many.
        mean: of their lengths.
        most: words.
        seed: of lengths and words.
        sigma: of the logarithm of the lengths.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, num_texts)
    lengths = lengths.round().clip(1, most).astype(int)
    chances = 1 / np.arange(1, NUM_WORDS + 1)
    words = rng.choice(NUM_WORDS, lengths.sum(), p=chances / chances.sum())
    ends = lengths.cumsum()
    return [
        " ".join(f"w{word}" for word in words[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]


def make_table(
    queries: list[str], passages: list[str], languages: list[str] | None = None
) -> AlignedTable:
    """One group a pair, in English unless said otherwise."""
    return AlignedTable.from_columns(
        {
            "group_id": [str(row) for row in range(len(queries))],
            "lang": languages or ["en"] * len(queries),
            "query": queries,
            "passage": passages,
            "passage_id": [str(row) for row in range(len(queries))],
        }
    )


def save_encoder(
    folder: Path, *, layers: int, width: int, vocab_size: int, dropout: float = 0.0, head: int = 32
) -> Path:
    """Write an XLM-R-shaped encoder of random weights, the same at any dropout, and a tokenizer.

    Heads are `head` wide.
    """
    vocabulary = {token: index for index, token in enumerate(SPECIAL)}
    vocabulary |= {f"w{word}": len(SPECIAL) + word for word in range(NUM_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = ("bos", "pad", "eos", "unk")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)},
    )
    config = XLMRobertaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // head,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
