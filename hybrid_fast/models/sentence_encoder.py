"""SentenceEncoder: a TextEncoder with the methods of a SentenceTransformer, and their signatures.

Code that was written for a SentenceTransformer runs on it, its evaluators and tools included.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hybrid_fast.common.choices import check_choice
from hybrid_fast.models.backbones.static import StaticBackbone
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.devices import check_device
from hybrid_fast.models.encoding import EncodeOptions, check_truncate_dim
from hybrid_fast.models.process_pool import Device, EncoderPool, pool_of
from hybrid_fast.models.prompts import check_prompts
from hybrid_fast.models.quantisation import Precision, check_precision, converted
from hybrid_fast.models.similarity import (
    Similarity,
    Vectors,
    check_similarity,
    score_all,
    score_pairs,
)
from hybrid_fast.models.text_encoder import TextEncoder
from hybrid_fast.models.texts import Side, check_inputs

logger = logging.getLogger(__name__)
_Options = ParamSpec("_Options")
_Result = TypeVar("_Result")
Inputs = str | Iterable[str]
Encoded = np.ndarray | Tensor | list[Tensor]
_SIDES: dict[str, Side] = {"query": "query", "document": "passage"}
_OUTPUTS = ("sentence_embedding", "token_embeddings")


def _takes_sentences(method: Callable[_Options, _Result]) -> Callable[_Options, _Result]:
    """Let a method take its `inputs` as `sentences` too, the older name of them."""

    @wraps(method)
    def named(*args: _Options.args, **options: _Options.kwargs) -> _Result:
        if "sentences" in options:
            if "inputs" in options:
                raise TypeError("inputs and sentences are given, which are the same; give one")
            options["inputs"] = options.pop("sentences")
        return method(*args, **options)

    return named


class SentenceEncoder(TextEncoder):
    """An encoder that is used as a SentenceTransformer is.

    Args:
        backbone, head, prompts, normalize, truncate_dim: see TextEncoder.
        similarity: "cosine" or "dot", what embeddings are compared by.
        default_prompt_name: of the prompt that `encode` uses if none is asked for.
    """

    def __init__(
        self,
        backbone: StaticBackbone | TransformerBackbone,
        head: nn.Sequential,
        prompts: Mapping[str, str | None],
        normalize: bool,
        similarity: str,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__(backbone, head, prompts, normalize, truncate_dim)
        self.similarity_fn_name = similarity
        self.default_prompt_name = default_prompt_name

    @property
    def default_prompt_name(self) -> str | None:
        """Of the prompt that `encode` uses if none is asked for; None is no prompt.

        Raises:
            ValueError: there is no prompt of this name, or none any more.
        """
        name = self._default_prompt_name
        return None if name is None else self.prompts.check_name("default_prompt_name", name)

    @default_prompt_name.setter
    def default_prompt_name(self, name: str | None) -> None:
        if name is not None:
            self.prompts.check_name("default_prompt_name", name)
        self._default_prompt_name = name

    @property
    def similarity_fn_name(self) -> Similarity:
        """What embeddings are compared by; other names of cosine and dot may be assigned."""
        return self._similarity

    @similarity_fn_name.setter
    def similarity_fn_name(self, similarity: object) -> None:
        self._similarity = check_similarity("similarity", similarity)

    def similarity(self, embeddings1: Vectors, embeddings2: Vectors) -> Tensor:
        """Return the similarity of each embedding to each of others, float (n, m)."""
        return score_all(embeddings1, embeddings2, self.similarity_fn_name)

    def similarity_pairwise(self, embeddings1: Vectors, embeddings2: Vectors) -> Tensor:
        """Return the similarity of each embedding to that at its place in others, float (n,)."""
        return score_pairs(embeddings1, embeddings2, self.similarity_fn_name)

    def get_sentence_embedding_dimension(self) -> int:
        """Return what `get_embedding_dimension` does; the older name of it."""
        return self.get_embedding_dimension()

    @property
    def tokenizer(self) -> Any:
        """Of transformers, or of the tokenizers library if the encoder is static."""
        return self.backbone.tokenizer

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, the first ones."""
        return next(self.parameters()).dtype

    @property
    def max_seq_length(self) -> float:
        """Maximum number of tokens of the longer side; infinity if there is no limit.

        Assigned, it holds for both sides.
        """
        return max(self.max_length.values(), default=math.inf)

    @max_seq_length.setter
    def max_seq_length(self, length: int) -> None:
        if not isinstance(self.backbone, TransformerBackbone):
            raise ValueError("a static encoder has no maximum length; leave max_seq_length out")
        lengths: dict[Side, int] = dict.fromkeys(self.max_length, length)
        before = self.max_length
        self.backbone.set_max_lengths(lengths)
        try:
            check_prompts(self.backbone, self.prompts, lengths)
        except ValueError:
            self.backbone.set_max_lengths(before)
            raise

    @_takes_sentences
    def encode_query(
        self,
        inputs: Inputs,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Device | Sequence[Device] | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: EncoderPool | None = None,
        chunk_size: int | None = None,
    ) -> Encoded:
        """Encode queries as `encode_queries` does; the options are those of `encode`."""
        if prompt is None and prompt_name is None:
            prompt = self.prompts.of_side("query")
        return self.encode(
            inputs,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            precision=precision,
            convert_to_numpy=convert_to_numpy,
            convert_to_tensor=convert_to_tensor,
            device=device,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
            pool=pool,
            chunk_size=chunk_size,
            task="query",
        )

    @_takes_sentences
    def encode_document(
        self,
        inputs: Inputs,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Device | Sequence[Device] | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: EncoderPool | None = None,
        chunk_size: int | None = None,
    ) -> Encoded:
        """Encode passages as `encode_passages` does; the options are those of `encode`."""
        if prompt is None and prompt_name is None:
            prompt = self.prompts.of_side("passage")
        return self.encode(
            inputs,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            precision=precision,
            convert_to_numpy=convert_to_numpy,
            convert_to_tensor=convert_to_tensor,
            device=device,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
            pool=pool,
            chunk_size=chunk_size,
            task="document",
        )

    @_takes_sentences
    def encode(
        self,
        inputs: Inputs,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Device | Sequence[Device] | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: EncoderPool | None = None,
        chunk_size: int | None = None,
        *,
        task: str | None = None,
    ) -> Encoded:
        """Encode texts of any kind, empty ones too, without gradients, in evaluation mode.

        Args:
            inputs: a text or several.
            prompt_name: of the prompt to put before each text; default `default_prompt_name`.
            prompt: to put before each text, instead of a named one.
            batch_size: texts at a time, of like length.
            show_progress_bar: on a terminal and after two seconds; None: if the logger of this
                module logs what is merely informative.
            output_value: "sentence_embedding", or "token_embeddings", the last hidden states.
            precision: "float32", "int8", "uint8", "binary" or "ubinary"; see `quantize_embeddings`.
            convert_to_numpy: whether an array is returned.
            convert_to_tensor: whether a tensor is returned, on the device of the model. With
                neither it is a list of tensors.
            device: to move the model to before; several: for a process each, see
                `start_multi_process_pool`.
            normalize_embeddings: whether embeddings are scaled to norm 1, after truncation.
            truncate_dim: entries that are kept of each embedding; default those of the model.
            pool: of `start_multi_process_pool`.
            chunk_size: texts that a process takes at a time.
            task: "query" or "document", whose maximum length holds; default the larger one.

        Returns:
            (n, D), or (D,) of a single text. Of float32 an array is float32 and a tensor of the
            dtype of the model. Of no text an empty array, tensor or list. Of token embeddings a
            list of (number of tokens, hidden size), or one of them.

        Raises:
            TypeError: an element is not a string.
            ValueError: an option is out of range, or a transformer has no token for a text.
        """
        tokens = check_choice("output_value", output_value, _OUTPUTS) == "token_embeddings"
        if check_precision(precision) != "float32" and tokens:
            raise ValueError(f"precision is {precision!r}; token embeddings are of float32 alone")
        texts = check_inputs([inputs] if isinstance(inputs, str) else inputs)
        to_numpy = convert_to_numpy and not convert_to_tensor
        dim = self.truncate_dim if truncate_dim is None else truncate_dim
        options = EncodeOptions(
            side=self._side_of(task),
            prompt=self.prompts.choose(prompt, prompt_name, self.default_prompt_name),
            dim=self.embedding_dim if dim is None else check_truncate_dim(dim, self.embedding_dim),
            batch_size=batch_size,
            normalize=normalize_embeddings,
            on_cpu=to_numpy,
            must_have_tokens=False,
        )
        self.check_room(options.prompt, options.side)
        if show_progress_bar is None:
            show_progress_bar = logger.isEnabledFor(logging.INFO)
        progress = "encode" if show_progress_bar else None
        devices = None if isinstance(device, str | torch.device | None) else device
        found: Any
        if texts and (pool is not None or devices is not None):
            with pool_of(self, pool, devices) as processes:
                found = processes.encode(
                    texts, options, tokens=tokens, chunk_size=chunk_size, progress=progress
                )
        else:
            if isinstance(device, str | torch.device):
                self.to(check_device(device))
            found = (self.embed_tokens if tokens else self.embed)(texts, options, progress)
        if not tokens:
            found = converted(found, precision, to_numpy=to_numpy, to_tensor=convert_to_tensor)
        return found[0] if isinstance(inputs, str) else found

    def _side_of(self, task: str | None) -> Side:
        """Return the side whose maximum length holds."""
        if task is not None:
            return _SIDES[check_choice("task", task, _SIDES)]
        lengths = self.max_length
        return "query" if lengths.get("query", 0) > lengths.get("passage", 0) else "passage"

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | None = None) -> Any:
        """Return what an evaluator of sentence-transformers returns for this model.

        Args:
            evaluator: to call with it.
            output_path: folder for what the evaluator writes, made if it is missing.
        """
        if output_path is not None:
            Path(output_path).mkdir(parents=True, exist_ok=True)
        return evaluator(self, output_path)

    def start_multi_process_pool(
        self, target_devices: Sequence[Device] | None = None
    ) -> EncoderPool:
        """Start processes that encode with copies of the model, each on a device of its own.

        Give them to `encode` as `pool` as often as needed, then to `stop_multi_process_pool`.

        Args:
            target_devices: see `EncoderPool.start`.
        """
        return EncoderPool.start(self, target_devices)

    @staticmethod
    def stop_multi_process_pool(pool: EncoderPool) -> None:
        """End the processes of a pool."""
        pool.stop()
