"""Loading of a model and its tokenizer as transformers saves them, with a check of both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from tokenizers.normalizers import Lowercase, Sequence
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from hybrid_fast.models.adapters.folders import AdapterFolder, load_adapter
from hybrid_fast.models.backbones.architectures import (
    MIXING_PADDING,
    UNLIMITED,
    loading_class,
    position_limit,
)
from hybrid_fast.models.backbones.direction import turn, turned_config
from hybrid_fast.models.backbones.embedded_tokens import check_vocabulary, count_embeddings
from hybrid_fast.models.backbones.static import StaticBackbone, load_static
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.compat import without_load_report
from hybrid_fast.models.dtypes import Dtype, check_dtype
from hybrid_fast.models.folders.foreign import (
    UntrainableChainError,
    refuse_config,
    refuse_head,
    refuse_weights,
    untrainable,
)
from hybrid_fast.models.folders.layout import Layout, read_layout
from hybrid_fast.models.texts import SIDES, Side

logger = logging.getLogger(__name__)
_PLAIN_LENGTHS: dict[Side, int] = {"query": 96, "passage": 256}
# What older checkpoints hold although it is computed.
_COMPUTED = ("position_ids", "inv_freq", "masked_bias", "attn.bias")


def load_backbone(
    layout: Layout,
    *,
    pooling: str | None = None,
    lengths: Mapping[Side, int | None],
    dtype: Dtype | None = None,
    attn_implementation: str | None = None,
    bidirectional: bool | None = None,
    trust_remote_code: bool = False,
    adapted: AdapterFolder | None = None,
) -> StaticBackbone | TransformerBackbone:
    """Load the weights and the tokenizer of a folder; see `BiEncoder.from_pretrained`.

    Args:
        layout: what the folder says; it is followed where options are None.
        pooling: see TransformerBackbone.
        lengths: maximum tokens of each side.
        dtype: of the weights.
        attn_implementation: as in transformers.
        bidirectional: whether a decoder attends in both directions.
        trust_remote_code: whether Python files of the folder may be run.
        adapted: an adapter to put into the transformer; weights are then those of its base.

    Raises:
        FileNotFoundError: there are no safetensors, or there is no tokenizer.
        ValueError: an option that a static encoder does not have, a model of another kind, or files
            that cannot be read or do not belong together.
    """
    folder, checked_dtype = layout.weights_folder, check_dtype(dtype)
    if adapted is not None:
        folder = _weights_below(adapted, trust_remote_code)
    given = {side: length for side, length in lengths.items() if length is not None}
    if layout.static:
        only_transformer = {
            "pooling": pooling,
            **{f"max_{side}_length": length for side, length in given.items()},
            "attn_implementation": attn_implementation,
            "bidirectional": bidirectional,
        }
        _refuse_options(only_transformer, folder)
        return load_static(folder, None if checked_dtype == "auto" else checked_dtype)
    if layout.is_plain:
        refuse_head(folder)
        if pooling is None and bidirectional is not None:
            pooling = "mean" if bidirectional else "last"
    options: dict[str, Any] = {"dtype": checked_dtype}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    if bidirectional is None:
        bidirectional = layout.bidirectional
    model, tokenizer = load_pretrained(
        folder,
        tokenizer_folder=adapted.tokenizer if adapted else None,
        bidirectional=bidirectional,
        trust_remote_code=trust_remote_code,
        **options,
    )
    _say_what_is_unusual(layout, model, tokenizer)
    if adapted is not None:
        load_adapter(model, adapted)
    if layout.lowercase:
        lowercase_first(tokenizer)
    return TransformerBackbone(
        model,
        tokenizer,
        pooling or layout.pooling,
        _saved_lengths(layout, model, tokenizer) | given,
        include_prompt=layout.include_prompt,
    )


def _say_what_is_unusual(layout: Layout, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Log where embeddings are not what they would be alone, or in sentence-transformers."""
    kind = model.config.model_type
    if kind in MIXING_PADDING:
        logger.warning(
            "A %s lets padding into the states of tokens: its embeddings depend on the other texts "
            "of a batch, and on how the batch is divided.",
            kind,
        )
    if layout.is_plain and getattr(tokenizer, "chat_template", None):
        logger.info(
            "Texts are not put into the chat template of the tokenizer in %s, as "
            "sentence-transformers would.",
            layout.weights_folder,
        )


def _saved_lengths(layout: Layout, model: PreTrainedModel, tokenizer: Tokenizer) -> dict[Side, int]:
    """Return the maximum tokens of each side, as the folder says, else its tokenizer.

    They are no more than the model has positions for.
    """
    of_tokenizer = int(min(tokenizer.model_max_length, UNLIMITED))
    lengths = dict.fromkeys(SIDES, of_tokenizer)
    if layout.is_plain:
        lengths = {side: min(length, of_tokenizer) for side, length in _PLAIN_LENGTHS.items()}
    limit = position_limit(model)
    return {side: min(length, limit) for side, length in (lengths | layout.max_lengths).items()}


def _weights_below(adapted: AdapterFolder, trust_remote_code: bool) -> Path:
    """Return the folder of the transformer that an adapter belongs to."""
    base = read_layout(adapted.base_folder, trust_remote_code=trust_remote_code)
    if base.static:
        raise ValueError(
            f"{adapted.base_folder} is a static encoder, which has no layers for the adapter in "
            f"{adapted.folder}; give the transformer it was made for"
        )
    return base.weights_folder


def _refuse_options(options: Mapping[str, object], folder: Path) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"{folder} is a static encoder, which has no {', '.join(given)}; leave it out"
        )


def load_pretrained(
    folder: Path,
    auto_class: Any = AutoModel,
    *,
    new_head: bool = False,
    tokenizer_folder: Path | None = None,
    bidirectional: bool | None = None,
    trust_remote_code: bool = False,
    **model_options: Any,
) -> tuple[PreTrainedModel, Tokenizer]:
    """Load model and tokenizer of a folder, and check that nothing is missing.

    Args:
        folder: with config.json, weights as safetensors, and tokenizer files.
        auto_class: of transformers; AutoModel loads the encoder of an encoder-decoder.
        new_head: whether the weights may lack the head that `auto_class` adds to the encoder, which
            is then initialised at random; they may always lack the pooler.
        tokenizer_folder: of the tokenizer; None: the same folder.
        bidirectional: whether a decoder attends in both directions; None as saved.
        trust_remote_code: whether Python files of the folder may be run.
        **model_options: for its `from_pretrained`, such as dtype and attn_implementation.

    Raises:
        FileNotFoundError: there are no safetensors, or there is no tokenizer.
        UntrainableChainError: an encoder-decoder whose encoder is not loaded alone.
        ValueError: an architecture that embeds no texts or attends in one way only, or files that
            cannot be read or do not belong together.
    """
    refuse_weights(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        refuse_config(config)
        config = turned_config(config, folder, bidirectional)
        with without_load_report():
            model, report = loading_class(config, auto_class, folder).from_pretrained(
                folder,
                config=config,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # named by `_check_weights`
                **model_options,
            )
        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer_folder or folder, trust_remote_code=trust_remote_code
        )
    except UntrainableChainError:
        raise
    except (ImportError, OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder} cannot be loaded: {error}") from error
    _check_weights(folder, model, report, new_head)
    _check_tokenizer(tokenizer_folder or folder, model, tokenizer)
    if bidirectional is not None:
        turn(model, bidirectional)
    return model, tokenizer


def _check_weights(
    folder: Path, model: PreTrainedModel, report: dict[str, Any], new_head: bool
) -> None:
    # transformers fills what is missing with random numbers, and leaves out what does not fit.
    kind = model.config.model_type
    missing = [name for name in report["missing_keys"] if not name.startswith("pooler.")]
    if new_head:
        missing = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
    if missing:
        raise ValueError(
            f"the weights in {folder} lack {len(missing)} parameters of a {kind}, such as "
            f"{min(missing)}; config.json is of another model"
        )
    if report["mismatched_keys"]:
        name, found, needed = min(report["mismatched_keys"])
        raise ValueError(
            f"the weights in {folder} are not those of its config.json: {name} has shape "
            f"{tuple(found)}, {tuple(needed)} is needed"
        )
    parts = {name for name, _ in model.named_children()}
    unused = [
        name
        for name in report["unexpected_keys"]
        if name.split(".")[0] in parts and not name.endswith(_COMPUTED)
    ]
    if unused:
        logger.warning(
            "%d weights in %s are not used, such as %s: by its config.json the %s has no such "
            "parameters.",
            len(unused),
            folder,
            min(unused),
            kind,
        )


def _check_tokenizer(folder: Path, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    # transformers replaces a missing tokenizer with one that has no tokens.
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise FileNotFoundError(f"{folder} holds no tokenizer; save the tokenizer there too")
    try:
        num_embeddings = count_embeddings(model)
    except NotImplementedError as error:  # CANINE hashes characters
        what = f"a {model.config.model_type} has no table with an embedding for each token"
        raise untrainable(folder, what) from error
    check_vocabulary(folder, tokenizer, num_embeddings)


def lowercase_first(tokenizer: Tokenizer) -> None:
    """Make a tokenizer lower-case texts before its own normalisation.

    Raises:
        ValueError: the tokenizer is written in Python and normalises in its own way.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"do_lower_case is set for a {type(tokenizer).__name__}, which is not a fast tokenizer "
            "and lower-cases texts by an option of its own; set that, and do_lower_case to false"
        )
    backend = tokenizer.backend_tokenizer
    steps = [Lowercase()] if backend.normalizer is None else [Lowercase(), backend.normalizer]
    backend.normalizer = Sequence(steps)
