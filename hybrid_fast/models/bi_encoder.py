"""BiEncoder: one encoder that embeds queries and passages.

Queries and passages differ by prompt and, with a transformer, by maximum length. The
backbone handles tokens; prompts, normalisation, encoding and saving are here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hybrid_fast.common.files import complete_folder
from hybrid_fast.models.description import describe
from hybrid_fast.models.devices import check_device
from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.models.dtypes import Dtype
from hybrid_fast.models.encoding import encode_in_batches, evaluation_mode
from hybrid_fast.models.folders import WEIGHT_FILES, find_folder
from hybrid_fast.models.layout import Layout, choose_comparison, read_layout, write_layout
from hybrid_fast.models.loading import load_backbone
from hybrid_fast.models.prompts import check_prompts, hint_at_prompts
from hybrid_fast.models.similarity import check_similarity
from hybrid_fast.models.static import StaticBackbone, train_static
from hybrid_fast.models.texts import (
    Features,
    Integers,
    Side,
    TokenIds,
    check_num_tokens,
    check_side,
    check_texts,
)
from hybrid_fast.models.token_counts import TokenCounts
from hybrid_fast.models.transformer import TransformerBackbone

logger = logging.getLogger(__name__)


class BiEncoder(nn.Module):
    """A dual encoder with shared weights; make one with `from_pretrained` or `static`.

    Attributes:
        backbone: a StaticBackbone or TransformerBackbone.
        normalize: whether embeddings are scaled to norm 1.
        similarity_fn_name: "cosine" or "dot", what embeddings are compared by. Loss and evaluation
            normalise where it is "cosine" and the model does not.
        prompts: what is put before every text of a side, {"query": ..., "passage": ...}.
        token_counts: how many texts this process has truncated so far, and tokens it did not know.
        name_or_path: where the weights came from, for reports.
        revision: of the hub model that was loaded; None is the main branch.
        trust_remote_code: whether Python files that came with the model may be run.
    """

    def __init__(
        self,
        backbone: StaticBackbone | TransformerBackbone,
        *,
        normalize: bool = True,
        similarity: str = "cosine",
        query_prompt: str = "",
        passage_prompt: str = "",
        name_or_path: str = "",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = normalize
        self.similarity_fn_name = check_similarity("similarity", similarity)
        self.prompts: dict[Side, str] = {"query": query_prompt, "passage": passage_prompt}
        self.token_counts = TokenCounts(backbone)
        self.name_or_path = name_or_path
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        check_prompts(backbone, self.prompts)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_name: str | Path,
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        similarity: str | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        max_query_length: int | None = None,
        max_passage_length: int | None = None,
        dtype: Dtype | None = None,
        device: str | torch.device | None = None,
        attn_implementation: str | None = None,
        dropout: float | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> BiEncoder:
        """Load a saved BiEncoder, a SentenceTransformer folder or any AutoModel encoder.

        Options that are None are taken from the folder, as sentence-transformers reads it. A plain
        AutoModel folder is pooled by the mean, or by the last token of a ForCausalLM; it has no
        prompts, maximum lengths of 96 and 256 tokens, or fewer if the model takes fewer, and is
        normalised unless its similarity is "dot". Only safetensors and JSON are read.

        Args:
            path_or_hub_name: a folder, or the name of a model on the hub.
            pooling: "mean", "cls" or "last" (transformer only).
            normalize: whether embeddings are scaled to norm 1.
            similarity: "cosine" or "dot", what embeddings are compared by; cosine in folders that
                name none.
            query_prompt: put before every query.
            passage_prompt: put before every passage.
            max_query_length: maximum tokens of a query, prompt included (transformer only).
            max_passage_length: maximum tokens of a passage, prompt included (transformer only).
            dtype: of the weights, such as "float32" or "bf16"; "auto" and None as saved.
            device: to load onto, such as "cuda", or "auto"; default the CPU.
            attn_implementation: as in transformers (transformer only).
            dropout: in training, in place of every rate that the configuration names (transformer
                only; a static encoder has none).
            revision: of the hub model: branch, tag or commit.
            trust_remote_code: whether Python files that come with the model may be run.

        Raises:
            FileNotFoundError: no such folder or hub model, or it lacks a file.
            ValueError: an option or a file that is not supported.
        """
        place = check_device("cpu" if device is None else device)
        folder = find_folder(path_or_hub_name, revision)
        layout = read_layout(folder)
        similarity, normalize = choose_comparison(layout, similarity, normalize)
        backbone = load_backbone(
            layout,
            pooling=pooling,
            lengths={"query": max_query_length, "passage": max_passage_length},
            dtype=dtype,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
        )
        model = cls(
            backbone,
            normalize=normalize,
            similarity=similarity,
            query_prompt=layout.prompts["query"] if query_prompt is None else query_prompt,
            passage_prompt=layout.prompts["passage"] if passage_prompt is None else passage_prompt,
            name_or_path=str(path_or_hub_name),
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        if dropout is not None:
            set_dropout(model, dropout)
        model.to(place)
        logger.info("%s", describe(model))
        if query_prompt is None and passage_prompt is None and not any(model.prompts.values()):
            hint_at_prompts(model.name_or_path, folder)
        return model

    @classmethod
    def static(
        cls,
        texts: Iterable[str],
        dim: int = 384,
        vocab_size: int = 60_000,
        *,
        seed: int = 0,
        init: str = "idf",
        normalize: bool = True,
        similarity: str = "cosine",
        query_prompt: str = "",
        passage_prompt: str = "",
    ) -> BiEncoder:
        """Make a static encoder: a tokenizer trained on `texts`, and a random embedding per token.

        Args:
            texts: what it will be trained on; at most 10 million characters of them are used.
            dim: dimension of the embeddings.
            vocab_size: maximum number of tokens.
            seed: for the sample of texts and for the embeddings; equal seeds give equal models.
            init: "idf" scales each embedding by the idf of its token; "normal" does not.
            normalize: whether embeddings of texts are scaled to norm 1.
            similarity: "cosine" or "dot", what embeddings are compared by.
            query_prompt: put before every query.
            passage_prompt: put before every passage.

        Raises:
            TypeError: texts is a single string, or an element is not a string.
            ValueError: all texts are blank, or an option is out of range.
        """
        return cls(
            train_static(texts, dim, vocab_size, seed, init),
            normalize=normalize,
            similarity=similarity,
            query_prompt=query_prompt,
            passage_prompt=passage_prompt,
            name_or_path="static",
        )

    def untrained(self, seed: int = 0) -> BiEncoder:
        """Return an encoder of the same architecture, tokenizer and prompts with fresh weights."""
        return BiEncoder(
            self.backbone.untrained(seed),
            normalize=self.normalize,
            similarity=self.similarity_fn_name,
            query_prompt=self.prompts["query"],
            passage_prompt=self.prompts["passage"],
            name_or_path="untrained",
        )

    @property
    def num_truncated(self) -> dict[Side, int]:
        """How many texts of each side this process has truncated so far."""
        return self.token_counts.num_truncated

    @property
    def embedding_dim(self) -> int:
        """D, the dimension of the embeddings."""
        return self.backbone.embedding_dim

    def modules_by_folder(self) -> dict[str, nn.Module]:
        """Return the modules with weights, by the folder of their files within the saved model's.

        The folder of the model itself is "".
        """
        backbone = self.backbone
        return {"": backbone.model if isinstance(backbone, TransformerBackbone) else backbone}

    @property
    def max_length(self) -> dict[Side, int]:
        """Maximum number of tokens of each side; empty if there is no limit."""
        return self.backbone.max_lengths

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def token_ids(
        self, texts: Iterable[str], side: Side, *, warn: bool = True
    ) -> tuple[TokenIds, Integers, int]:
        """Tokenise texts, prompted and truncated to the maximum length; `warn` of what that loses.

        Returns:
            The token ids of all texts, concatenated, int32; the number of tokens of each text,
            int64 (n,); and how many texts were truncated.

        Raises:
            TypeError: a single string instead of a list, or an element that is not a string.
            ValueError: an empty text (with its position), no text at all, or an unknown side.
        """
        texts = check_texts(texts, check_side(side))
        if not texts:
            raise ValueError(f"there is no {side} to tokenise; give at least one text")
        prompt = self.prompts[side]
        prompted = [prompt + text for text in texts]
        ids, lengths, num_cut = self.backbone.token_ids(prompted, side)
        check_num_tokens(prompted, lengths)
        self.token_counts.add(side, ids, lengths, num_cut, warn=warn)
        return ids, lengths, num_cut

    def tokenizer_key(self, side: Side) -> str:
        """Return a digest of tokenizer, prompt and maximum length: equal keys, equal token ids."""
        parts = (
            self.backbone.tokenizer_state(),
            self.prompts[check_side(side)],
            str(self.max_length.get(side)),
            version("tokenizers"),
        )
        return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def tokenize(self, texts: Iterable[str], side: Side) -> Features:
        """Tokenise texts as `token_ids` does; return the features that `forward` takes, on the CPU.

        Of a transformer these are `input_ids` (n, longest) and, if there is padding,
        `attention_mask`; of a static encoder `input_ids`, the tokens of all texts concatenated, and
        `offsets` (n,), where each text starts.

        Raises:
            TypeError, ValueError: as `token_ids`.
        """
        ids, lengths, _ = self.token_ids(texts, side)
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        return self.backbone.features(ids, offsets, np.arange(len(lengths)))

    def forward(self, features: Features) -> Tensor:
        """Return embeddings (n, D), of norm 1 if the model normalises."""
        embeddings = self.backbone(features)
        return normalize(embeddings, dim=-1) if self.normalize else embeddings

    def encode_queries(
        self, texts: Iterable[str], batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Encode queries without gradients, in evaluation mode.

        Args:
            texts: the queries; none may be empty.
            batch_size: texts at a time, of like length; default 64, of a static encoder 1024.
            show_progress: whether to show a progress bar, on a terminal and after two seconds.

        Returns:
            float32 (n, D), in the order of the texts.

        Raises:
            TypeError: a single string instead of a list, or an element that is not a string.
            ValueError: an empty text (with its position), or a batch size below 1.
        """
        return self._encode(texts, "query", batch_size, show_progress)

    def encode_passages(
        self, texts: Iterable[str], batch_size: int | None = None, show_progress: bool = False
    ) -> np.ndarray:
        """Encode passages; see `encode_queries`."""
        return self._encode(texts, "passage", batch_size, show_progress)

    def _encode(
        self, texts: Iterable[str], side: Side, batch_size: int | None, show_progress: bool
    ) -> np.ndarray:
        texts = check_texts(texts, side)
        if batch_size is None:
            batch_size = self.backbone.default_batch_size

        def encode(batch: list[str]) -> Tensor:
            features = self.tokenize(batch, side)
            return self({name: tensor.to(self.device) for name, tensor in features.items()})

        progress = f"encode {side}" if show_progress else None
        with evaluation_mode(self):
            return encode_in_batches(
                encode, texts, self.embedding_dim, batch_size, progress=progress
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `from_pretrained` and `SentenceTransformer` read.

        It appears complete or not at all. In a folder that exists already, the model is replaced
        and other files stay. The folder of a transformer also loads with AutoModel.

        Raises:
            NotADirectoryError: `folder` is a file.
        """
        with complete_folder(folder, stale=WEIGHT_FILES) as staged:
            self.backbone.save(staged)
            layout = Layout(
                staged,
                static=isinstance(self.backbone, StaticBackbone),
                pooling=getattr(self.backbone, "pooling", "mean"),
                normalize=self.normalize,
                similarity=self.similarity_fn_name,
                prompts=self.prompts,
                max_lengths=self.max_length,
            )
            write_layout(layout, self.embedding_dim)
