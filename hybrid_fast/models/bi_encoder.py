"""BiEncoder: one encoder that embeds queries and passages, made, loaded and saved."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hybrid_fast.common.files import complete_folder
from hybrid_fast.models.adaptable_encoder import AdaptableEncoder
from hybrid_fast.models.adapters.folders import find_adapter
from hybrid_fast.models.backbones.pooling import check_pooling
from hybrid_fast.models.backbones.static import StaticBackbone, train_static
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.card_prompts import hint_at_prompts
from hybrid_fast.models.description import describe
from hybrid_fast.models.devices import check_device
from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.models.dtypes import Dtype, say_if_asked_slow
from hybrid_fast.models.evaluation_record import EvaluationRecord
from hybrid_fast.models.folders.finding import MODEL_FILES, find_folder
from hybrid_fast.models.folders.layout import Layout, choose_comparison, read_layout, write_layout
from hybrid_fast.models.folders.loading import load_backbone
from hybrid_fast.models.head.head import head_parts, load_head, save_head, untrained_head
from hybrid_fast.models.prompts import with_sides
from hybrid_fast.models.sentence_transformer import parts_of

logger = logging.getLogger(__name__)


class BiEncoder(AdaptableEncoder):
    """A dual encoder with shared weights; make one with `from_pretrained` or `static`.

    Attributes:
        backbone: a StaticBackbone or TransformerBackbone.
        head: the modules after it, see `hybrid_fast.models.head.head`; empty if there are none.
        normalize: whether embeddings are scaled to norm 1.
        similarity_fn_name: "cosine" or "dot", what embeddings are compared by. Loss and evaluation
            normalise where it is "cosine" and the model does not.
        prompts: what is put before texts, by name: "query", "document" (also read as "passage")
            and any others.
        default_prompt_name: of the prompt of `encode`; None is no prompt.
        truncate_dim: entries of embeddings that encoding keeps, the first ones; None keeps all.
        token_counts: how many texts this process has truncated so far, and tokens it did not know.
        name_or_path: where the weights came from, for reports.
        revision: of the hub model that was loaded; None is the main branch.
        trust_remote_code: whether Python files that came with the model may be run.
        model_card_data: what evaluators of sentence-transformers report.
    """

    def __init__(
        self,
        backbone: StaticBackbone | TransformerBackbone,
        *,
        head: nn.Sequential | None = None,
        normalize: bool = True,
        similarity: str = "cosine",
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        name_or_path: str = "",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(
            backbone,
            nn.Sequential() if head is None else head,
            with_sides(prompts or {}, query_prompt, passage_prompt),
            normalize=normalize,
            similarity=similarity,
            default_prompt_name=default_prompt_name,
            truncate_dim=truncate_dim,
        )
        self.name_or_path = name_or_path
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.model_card_data = EvaluationRecord(name_or_path)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_name: str | Path,
        *,
        adapter: str | Path | None = None,
        pooling: str | Sequence[str] | None = None,
        normalize: bool | None = None,
        similarity: str | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        truncate_dim: int | None = None,
        max_query_length: int | None = None,
        max_passage_length: int | None = None,
        dtype: Dtype | None = None,
        device: str | torch.device | None = None,
        attn_implementation: str | None = None,
        bidirectional: bool | None = None,
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
            path_or_hub_name: a folder, or the name of a model on the hub; that of an adapter (peft)
                loads the model it belongs to as well.
            adapter: a folder or the name on the hub of an adapter to put into the model.
            pooling: "mean", "cls", "last", "max", "mean_sqrt_len_tokens" or "weightedmean", or
                several in a list or joined by "+", to be concatenated (transformer only).
            normalize: whether embeddings are scaled to norm 1.
            similarity: "cosine" or "dot", what embeddings are compared by; cosine in folders that
                name none.
            query_prompt: put before every query.
            passage_prompt: put before every passage.
            truncate_dim: entries of embeddings that encoding keeps, the first ones.
            max_query_length: maximum tokens of a query, prompt included (transformer only).
            max_passage_length: maximum tokens of a passage, prompt included (transformer only).
            dtype: of the weights, such as "float32" or "bf16"; "auto" and None as saved. An adapter
                is never in half precision.
            device: to load onto, such as "cuda", or "auto"; default the CPU.
            attn_implementation: as in transformers (transformer only).
            bidirectional: whether a decoder attends in both directions, pooled by the mean, or to
                what is before a token alone, pooled by the last (transformer only).
            dropout: in training, in place of every rate that the configuration names (transformer
                only; a static encoder has none).
            revision: of the hub model: branch, tag or commit.
            trust_remote_code: whether Python files that come with the model may be run.

        Raises:
            FileNotFoundError: no such folder or hub model, or it lacks a file.
            ImportError: there is an adapter, and peft is not installed.
            UntrainableChainError: a model of sentence-transformers that can only be evaluated.
            ValueError: an option or a file that is not supported.
        """
        place = check_device("cpu" if device is None else device)
        adapted = find_adapter(path_or_hub_name, revision, adapter)
        folder = adapted.settings if adapted else find_folder(path_or_hub_name, revision)
        layout = read_layout(folder, trust_remote_code=trust_remote_code)
        similarity, normalize = choose_comparison(layout, similarity, normalize)
        backbone = load_backbone(
            layout,
            pooling=None if pooling is None else check_pooling(pooling),
            lengths={"query": max_query_length, "passage": max_passage_length},
            dtype=dtype,
            attn_implementation=attn_implementation,
            bidirectional=bidirectional,
            trust_remote_code=trust_remote_code,
            adapted=adapted,
        )
        weights_dtype = next(backbone.parameters()).dtype
        model = cls(
            backbone,
            head=load_head(
                layout.head,
                backbone.embedding_dim,
                weights_dtype,
                trust_remote_code=trust_remote_code,
            ),
            normalize=normalize,
            similarity=similarity,
            query_prompt=query_prompt,
            passage_prompt=passage_prompt,
            prompts=layout.prompts,
            default_prompt_name=layout.default_prompt_name,
            truncate_dim=layout.truncate_dim if truncate_dim is None else truncate_dim,
            name_or_path=str(path_or_hub_name if adapter is None else adapter),
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        if dropout is not None:
            set_dropout(model, dropout)
        model.to(place)
        if model.has_layers:
            say_if_asked_slow(dtype, place)
        logger.info("%s", describe(model))
        if query_prompt is None and passage_prompt is None and not any(model.prompts.values()):
            hint_at_prompts(model.name_or_path, folder)
        return model

    @classmethod
    def from_sentence_transformer(cls, model: Any) -> BiEncoder:
        """Make an encoder of a SentenceTransformer in memory, which shares its weights.

        Where one is trained, moved or cast, so is the other. Prompts, lengths, similarity and
        truncation are taken over, and may be changed for each.

        Raises:
            TypeError: it is no SentenceTransformer.
            ValueError: its modules are none that can be trained here.
        """
        return cls(**parts_of(model))

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
            head=untrained_head(self.head, seed),
            normalize=self.normalize,
            similarity=self.similarity_fn_name,
            prompts=self.prompts,
            default_prompt_name=self.default_prompt_name,
            truncate_dim=self.truncate_dim,
            name_or_path="untrained",
        )

    def modules_by_folder(self) -> dict[str, nn.Module]:
        """Return the modules with weights, by the folder of their files within the saved model's.

        The folder of the model itself is "".
        """
        backbone = self.backbone
        first = backbone.model if isinstance(backbone, TransformerBackbone) else backbone
        parts = head_parts(self.head, Path(), static=isinstance(backbone, StaticBackbone))
        places = [str(part.folder) for part in parts]
        with_weights = {
            place: module
            for place, module in zip(places, self.head, strict=True)
            if module.state_dict()
        }
        return {"": first, **with_weights}

    def save_pretrained(self, folder: str | Path, *, merge_adapter: bool = True) -> None:
        """Write a folder that `from_pretrained` and `SentenceTransformer` read.

        It appears complete or not at all. In a folder that exists already, the model is replaced
        and other files stay. The folder of a transformer also loads with AutoModel.

        Args:
            folder: to write to.
            merge_adapter: whether an adapter is merged into the weights that are written; the model
                itself keeps it apart. Otherwise it is written instead of the weights, and the
                folder names the model it belongs to.

        Raises:
            NotADirectoryError: `folder` is a file.
            ValueError: there is an adapter that cannot be merged, or several to keep apart.
        """
        apart = not merge_adapter and self.adapter_config is not None
        with complete_folder(folder, stale=MODEL_FILES) as staged:
            direction = {}
            if apart:
                direction = self._save_apart(staged)
            else:
                self.backbone.save(staged)
            is_static = isinstance(self.backbone, StaticBackbone)
            layout = Layout(
                staged,
                static=is_static,
                pooling=getattr(self.backbone, "pooling", "mean"),
                include_prompt=getattr(self.backbone, "include_prompt", True),
                head=save_head(self.head, staged, static=is_static),
                normalize=self.normalize,
                similarity=self.similarity_fn_name,
                prompts=self.prompts,
                default_prompt_name=self.default_prompt_name,
                truncate_dim=self.truncate_dim,
                max_lengths=self.max_length,
                direction=direction,
            )
            write_layout(layout, self.backbone.token_dim)
