"""The files of a saved model: those of sentence-transformers, so that either loads the other's.

    modules.json                        the chain of modules: Transformer and Pooling, or
                                        StaticEmbedding; Dense and others; Normalize
    config_sentence_transformers.json   prompts by name, similarity, dimensions that are kept
    sentence_bert_config.json           lengths, direction of attention (transformer only)
    1_Pooling/config.json               pooling (transformer only)
    2_Dense/ and the like               modules after pooling
    config.json, tokenizer files, model.safetensors

A folder without modules.json is a plain transformer, pooled as sentence-transformers pools it, or
a static encoder of model2vec.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_fast.common.json_files import read_json, read_optional, write_json
from hybrid_fast.models.backbones.direction import take_direction
from hybrid_fast.models.backbones.pooling import POOLINGS, check_pooling
from hybrid_fast.models.folders.chain import (
    MODULES_FILE,
    Part,
    chain_folders,
    check_order,
    first_names,
    read_chain,
    write_chain,
)
from hybrid_fast.models.folders.foreign import refuse_empty, refuse_settings, untrainable
from hybrid_fast.models.head.files import CONFIG_FILE, read_config
from hybrid_fast.models.head.modules import check_normalize
from hybrid_fast.models.prompts import Prompts
from hybrid_fast.models.similarity import Similarity, check_similarity
from hybrid_fast.models.texts import SIDES, Side

SETTINGS_FILE = "config_sentence_transformers.json"
LENGTHS_FILE = "sentence_bert_config.json"

# Other names of it, of older versions of sentence-transformers, which takes the first with content.
_LENGTHS_FILES = (
    LENGTHS_FILE,
    *(
        f"sentence_{name}_config.json"
        for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)
# What each says the maximum tokens of; the later ones count.
_LENGTHS: dict[str, tuple[Side, ...]] = {
    "max_seq_length": SIDES,
    "query_length": ("query",),
    "document_length": ("passage",),
}
_SAVED_POOLINGS = {**dict(zip(POOLINGS, POOLINGS, strict=True)), "last": "lasttoken"}
# Until sentence-transformers 5.3 a key for each, concatenated in this order.
_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What else a Transformer of sentence-transformers may be told, where it embeds as ours does.
_USUAL: dict[str, tuple[object, ...]] = {
    "transformer_task": (None, "feature-extraction"),
    "module_output_name": (None, "token_embeddings"),
    "query_expansion": (None,),
    "tokenizer_name_or_path": (None,),
}
_OF_LOADING = ("model", "tokenizer", "processor", "config")
_HARMLESS_OPTIONS = {
    *("trust_remote_code", "add_pooling_layer", "attn_implementation", "dtype", "torch_dtype"),
    *("use_safetensors", "low_cpu_mem_usage", "use_fast", "reference_compile"),
}


@dataclass(frozen=True)
class Layout:
    """The settings of a model that its folder holds besides weights and tokenizer.

    Attributes:
        weights_folder: the folder of weights and tokenizer.
        static: whether it is a static encoder.
        pooling: as `check_pooling` returns it.
        include_prompt: whether pooling includes the tokens of the prompt.
        head: the modules after pooling, a final Normalize aside.
        normalize: whether embeddings are scaled to norm 1; None if the folder does not say.
        similarity: what `similarity_fn_name` says; None is the default of sentence-transformers.
        prompts: by name.
        default_prompt_name: of the prompt of a bare `encode`; None is no prompt.
        truncate_dim: entries of embeddings that encoding keeps; None keeps all.
        max_lengths: maximum tokens of each side that the folder has one of.
        lowercase: whether texts are lower-cased before the tokenizer's own normalisation.
        direction: see `direction_options`; what the transformer's configuration lacks.
        bidirectional: what they say; None leaves it to the configuration.

    The defaults are those of a plain transformer.
    """

    weights_folder: Path
    static: bool = False
    pooling: str = "mean"
    include_prompt: bool = True
    head: tuple[Part, ...] = ()
    normalize: bool | None = None
    similarity: str | None = None
    prompts: Prompts = field(default_factory=Prompts)
    default_prompt_name: str | None = None
    truncate_dim: int | None = None
    max_lengths: dict[Side, int] = field(default_factory=dict)
    lowercase: bool = False
    direction: dict[str, dict[str, object]] = field(default_factory=dict)
    bidirectional: bool | None = None

    @property
    def is_plain(self) -> bool:
        """Whether no modules.json says that it embeds texts, and how."""
        return self.normalize is None


def read_layout(folder: Path, *, trust_remote_code: bool = False) -> Layout:
    """Read the settings of the model in a folder.

    Args:
        folder: of the model.
        trust_remote_code: see `read_chain`.

    Raises:
        FileNotFoundError: it holds no model.
        UntrainableChainError: its modules are none that can be trained here.
        ValueError: it holds a model of another kind, or a file is not the JSON it should be.
    """
    settings = read_optional(folder / SETTINGS_FILE)
    refuse_settings(folder / SETTINGS_FILE, settings)
    if not (folder / MODULES_FILE).is_file():
        return _plain_layout(folder)
    parts = read_chain(folder, trust_remote_code=trust_remote_code)
    transformer: dict[str, Any] = {}
    if parts and parts[0].name == "Transformer":
        transformer = _read_transformer(folder, parts[0].folder)
    pooling, head = check_order(folder, parts)
    normalize = bool(head) and head[-1].name == "Normalize"
    if normalize:
        check_normalize(head.pop().folder)
    of_pooling = {}
    if pooling is not None:
        of_pooling = read_pooling(pooling.folder / CONFIG_FILE, read_config(pooling.folder))
    return Layout(
        parts[0].folder,
        static=pooling is None,
        head=tuple(head),
        normalize=normalize,
        similarity=settings.get("similarity_fn_name"),
        prompts=Prompts(settings.get("prompts")),
        default_prompt_name=settings.get("default_prompt_name"),
        truncate_dim=_truncate_dim(folder / SETTINGS_FILE, settings.get("truncate_dim")),
        **of_pooling,
        **transformer,
    )


def _plain_layout(folder: Path) -> Layout:
    if not (folder / "config.json").is_file():
        refuse_empty(folder)
    config = read_json(folder / "config.json", dict)
    if config.get("model_type") == "model2vec":
        return Layout(folder, static=True, normalize=bool(config.get("normalize")))
    first, *_ = map(str, config.get("architectures") or [""])
    is_causal = first.endswith("ForCausalLM") and config.get("is_causal", True)
    return Layout(folder, pooling="last" if is_causal else "mean")


def choose_comparison(
    layout: Layout, similarity: str | None, normalize: bool | None
) -> tuple[Similarity, bool]:
    """Return the similarity, and whether embeddings are normalised: as given, else the folder's.

    Raises:
        ValueError: a similarity that is not supported.
    """
    if similarity is None:
        chosen = check_similarity(
            f"the similarity_fn_name of {layout.weights_folder}",
            layout.similarity,
            "; give similarity='cosine' or 'dot' to use the encoder nevertheless",
        )
    else:
        chosen = check_similarity("similarity", similarity)
    default = chosen == "cosine" if layout.normalize is None else layout.normalize
    return chosen, default if normalize is None else normalize


def write_layout(layout: Layout, token_dim: int) -> None:
    """Write the settings of a model into its folder, beside weights, tokenizer and head.

    Args:
        layout: the settings; the folders of the head are there.
        token_dim: dimension of the states of tokens.
    """
    folder = layout.weights_folder
    names = [*first_names(static=layout.static), *(part.name for part in layout.head)]
    names += ["Normalize"] if layout.normalize else []
    if not layout.static:
        (folder / "1_Pooling").mkdir()
        write_json(folder / "1_Pooling" / "config.json", _pooling_config(layout, token_dim))
        write_json(folder / LENGTHS_FILE, _transformer_config(layout))
    if layout.normalize:
        last = folder / chain_folders(names)[-1]
        last.mkdir()
        write_json(last / "config.json", {})
    settings: dict[str, object] = {
        "model_type": "SentenceTransformer",
        "prompts": layout.prompts,
        "default_prompt_name": layout.default_prompt_name,
        "similarity_fn_name": layout.similarity,
    }
    settings |= {} if layout.truncate_dim is None else {"truncate_dim": layout.truncate_dim}
    write_json(folder / SETTINGS_FILE, settings)
    write_chain(folder, names)


def _pooling_config(layout: Layout, token_dim: int) -> dict[str, object]:
    modes = [_SAVED_POOLINGS[name] for name in layout.pooling.split("+")]
    return {
        "embedding_dimension": token_dim,
        "pooling_mode": modes[0] if len(modes) == 1 else modes,
        "include_prompt": layout.include_prompt,
    }


def _read_transformer(folder: Path, place: Path) -> dict[str, Any]:
    """Return the settings of a Layout that the file of a Transformer in `place` decides.

    Raises:
        UntrainableChainError: it embeds tokens in another way than is usual.
        ValueError: a length is no number of tokens.
    """
    files = [place / name for name in _LENGTHS_FILES]
    file, config = next(
        ((file, content) for file in files if (content := read_optional(file))), (files[0], {})
    )
    bidirectional = take_direction(config)
    check_transformer(folder, file, config)
    return {
        "max_lengths": _max_lengths(file, config),
        "lowercase": bool(config.get("do_lower_case")),
        "bidirectional": bidirectional,
    }


def check_transformer(folder: Path | None, place: object, config: dict[str, Any]) -> None:
    """Check that a Transformer of sentence-transformers embeds tokens as ours does.

    Args:
        folder: of the model; None if it is in memory.
        place: of the configuration, for messages.
        config: what sentence-transformers saves of the module.

    Raises:
        UntrainableChainError: it embeds them in another way.
    """
    for name, usual in _USUAL.items():
        if config.get(name) not in usual:
            raise untrainable(
                folder, f"{place}: {name} is {config[name]!r}; only {usual[-1]!r} is known"
            )
    modalities = config.get("modality_config", {"text": {}})
    if "message" in modalities:
        raise untrainable(folder, f"{place}: texts are put into the tokenizer's chat template")
    of_text = modalities.get("text", {"method": "chat"})
    if {*of_text.values()} - {"forward", "last_hidden_state"}:
        raise untrainable(folder, f"{place}: texts are embedded by {of_text}")
    given = dict(config.get("processing_kwargs") or {})
    options = {*given.get("text", {}), *given.get("common", {})}
    for kind in _OF_LOADING:
        for ending in ("args", "kwargs"):
            options |= {*(config.get(f"{kind}_{ending}") or {})} - _HARMLESS_OPTIONS
    if options:
        raise untrainable(folder, f"{place} has options of its own: {', '.join(sorted(options))}")


def _max_lengths(file: Path, config: dict[str, Any]) -> dict[Side, int]:
    lengths: dict[Side, int] = {}
    for name, sides in _LENGTHS.items():
        length = config.get(name)
        if length is None:
            continue
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ValueError(
                f"{file}: {name} is {length!r}; a number of tokens from 1, or null, is needed"
            )
        lengths |= dict.fromkeys(sides, length)
    return lengths


def _truncate_dim(file: Path, value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(
        f"{file}: truncate_dim is {value!r}; a number of dimensions from 1, or null, is needed"
    )


def _transformer_config(layout: Layout) -> dict[str, Any]:
    query, passage = layout.max_lengths["query"], layout.max_lengths["passage"]
    config: dict[str, Any] = {"max_seq_length": max(query, passage), "do_lower_case": False}
    if query != passage:
        config |= {"query_length": query, "document_length": passage}
    return config | layout.direction


def read_pooling(place: object, config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a TransformerBackbone that a Pooling decides.

    Args:
        place: of the configuration, for messages.
        config: what sentence-transformers saves of the module.

    Raises:
        ValueError: the pooling is missing or not known.
    """
    if "pooling_mode" in config:
        modes: Any = config["pooling_mode"]
    elif config.keys() & {*_POOLING_KEYS, "embedding_dimension", "word_embedding_dimension"}:
        modes = [mode for key, mode in _POOLING_KEYS.items() if config.get(key)] or "mean"
    else:
        raise ValueError(f"{place}: pooling_mode is missing; add it, such as 'mean'")
    ours = {saved: name for name, saved in _SAVED_POOLINGS.items()}
    names = modes if isinstance(modes, list | tuple) else [modes]
    try:
        pooling = check_pooling([ours.get(str(name), str(name)) for name in names])
    except ValueError as error:
        raise ValueError(f"{place}: pooling_mode is {modes!r}: {error}") from error
    return {"pooling": pooling, "include_prompt": bool(config.get("include_prompt", True))}
