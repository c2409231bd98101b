"""The files of a saved model: those of sentence-transformers, so that either loads the other's.

    modules.json                        the chain of modules: Transformer, Pooling, Normalize
                                        or StaticEmbedding, Normalize
    config_sentence_transformers.json   prompts "query" and "document"
    sentence_bert_config.json           lengths (transformer only)
    1_Pooling/config.json               pooling (transformer only)
    config.json, tokenizer files, model.safetensors

A folder without modules.json is a plain transformer, pooled as sentence-transformers pools it, or
a static encoder of model2vec.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_fast.models.foreign import (
    refuse_empty,
    refuse_modules,
    refuse_settings,
)
from hybrid_fast.models.json_files import read_json, read_optional, write_json
from hybrid_fast.models.similarity import Similarity, check_similarity
from hybrid_fast.models.texts import Side
from hybrid_fast.models.transformer import UNLIMITED

MODULES_FILE = "modules.json"
SETTINGS_FILE = "config_sentence_transformers.json"
LENGTHS_FILE = "sentence_bert_config.json"

_HOME = "sentence_transformers"
_CLASSES = {
    "Transformer": f"{_HOME}.base.modules.transformer.Transformer",
    "Pooling": f"{_HOME}.sentence_transformer.modules.pooling.Pooling",
    "StaticEmbedding": f"{_HOME}.sentence_transformer.modules.static_embedding.StaticEmbedding",
    "Normalize": f"{_HOME}.base.modules.normalize.Normalize",
}
_CHAINS = (["Transformer", "Pooling"], ["StaticEmbedding"])
_SUPPORTED = (
    "only Transformer and Pooling, or StaticEmbedding, each with or without Normalize, are "
    "supported"
)
_POOLING_NAMES = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
_PASSAGE_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Layout:
    """The settings of a model that its folder holds besides weights and tokenizer.

    Attributes:
        weights_folder: the folder of weights and tokenizer.
        static: whether it is a static encoder.
        pooling: "mean", "cls" or "last".
        normalize: whether embeddings are scaled to norm 1; None if the folder does not say.
        similarity: what `similarity_fn_name` says; None is the default of sentence-transformers.
        prompts: of each side.
        max_lengths: maximum tokens of each side; empty for a static encoder.
        lowercase: whether texts are lower-cased before the tokenizer's own normalisation.

    The defaults are those of a plain transformer.
    """

    weights_folder: Path
    static: bool = False
    pooling: str = "mean"
    normalize: bool | None = None
    similarity: str | None = None
    prompts: dict[Side, str] = field(default_factory=lambda: {"query": "", "passage": ""})
    max_lengths: dict[Side, int] = field(default_factory=lambda: {"query": 96, "passage": 256})
    lowercase: bool = False


def read_layout(folder: Path) -> Layout:
    """Read the settings of the model in a folder.

    Raises:
        FileNotFoundError: it holds no model.
        ValueError: it holds a model of another kind, or modules that are not supported, or a file
            is not the JSON it should be.
    """
    settings = read_optional(folder / SETTINGS_FILE)
    refuse_settings(folder / SETTINGS_FILE, settings)
    if not (folder / MODULES_FILE).is_file():
        return _plain_layout(folder)
    names, paths = _read_chain(folder)
    normalize = names[-1:] == ["Normalize"]
    prompts = _prompts(settings.get("prompts") or {})
    similarity = settings.get("similarity_fn_name")
    if names[0] == "StaticEmbedding":
        return Layout(paths[0], True, "mean", normalize, similarity, prompts, max_lengths={})
    lengths = read_optional(paths[0] / LENGTHS_FILE)
    _check_task(paths[0] / LENGTHS_FILE, lengths.get("transformer_task"))
    longest = lengths.get("max_seq_length") or UNLIMITED
    return Layout(
        paths[0],
        pooling=_read_pooling(paths[1] / "config.json"),
        normalize=normalize,
        similarity=similarity,
        prompts=prompts,
        max_lengths={
            "query": lengths.get("query_length") or longest,
            "passage": lengths.get("document_length") or longest,
        },
        lowercase=bool(lengths.get("do_lower_case")),
    )


def _plain_layout(folder: Path) -> Layout:
    if not (folder / "config.json").is_file():
        refuse_empty(folder)
    config = read_json(folder / "config.json", dict)
    if config.get("model_type") == "model2vec":
        return Layout(folder, True, normalize=bool(config.get("normalize")), max_lengths={})
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


def write_layout(layout: Layout, embedding_dim: int) -> None:
    """Write the settings of a model into its folder, beside weights and tokenizer."""
    folder = layout.weights_folder
    names = ["StaticEmbedding"] if layout.static else ["Transformer", "Pooling"]
    names += ["Normalize"] if layout.normalize else []
    paths = ["", *(f"{index}_{name}" for index, name in enumerate(names) if index)]
    for path in paths[1:]:
        (folder / path).mkdir()
    if not layout.static:
        pooling = {
            "embedding_dimension": embedding_dim,
            "pooling_mode": _POOLING_NAMES[layout.pooling],
            "include_prompt": True,
        }
        write_json(folder / "1_Pooling" / "config.json", pooling)
        write_json(folder / LENGTHS_FILE, _lengths(layout.max_lengths))
    if layout.normalize:
        write_json(folder / paths[-1] / "config.json", {})
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": layout.prompts["query"], "document": layout.prompts["passage"]},
        "default_prompt_name": None,
        "similarity_fn_name": layout.similarity,
    }
    write_json(folder / SETTINGS_FILE, settings)
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": _CLASSES[name]}
        for index, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    write_json(folder / MODULES_FILE, modules)


def _read_chain(folder: Path) -> tuple[list[str], list[Path]]:
    """Return the names of the modules of a chain that is supported, and their folders."""
    file = folder / MODULES_FILE
    types, paths = [], []
    for index, module in enumerate(read_json(file, list)):
        if not isinstance(module, dict) or not {"path", "type"} <= module.keys():
            raise ValueError(f"{file}: entry {index} needs 'path' and 'type'")
        path = folder / str(module["path"])
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{file}: the path {module['path']!r} is outside the folder")
        types.append(str(module["type"]))
        paths.append(path)
    names = [name.rsplit(".", 1)[-1] for name in types]
    chain = names[:-1] if names[-1:] == ["Normalize"] else names
    if chain not in _CHAINS or not all(name.startswith(f"{_HOME}.") for name in types):
        refuse_modules(file, types, _SUPPORTED)
    return names, paths


def _check_task(path: Path, task: object) -> None:
    if task not in (None, "feature-extraction"):
        raise ValueError(
            f"{path}: transformer_task is {task!r}; only 'feature-extraction', which gives the "
            "states of tokens, is supported"
        )


def _lengths(max_lengths: dict[Side, int]) -> dict[str, int | bool]:
    query, passage = max_lengths["query"], max_lengths["passage"]
    lengths: dict[str, int | bool] = {"max_seq_length": max(query, passage), "do_lower_case": False}
    if query != passage:
        lengths |= {"query_length": query, "document_length": passage}
    return lengths


def _prompts(saved: dict[str, Any]) -> dict[Side, str]:
    given = (saved[name] for name in _PASSAGE_PROMPTS if saved.get(name) is not None)
    return {"query": saved.get("query") or "", "passage": next(given, "")}


def _read_pooling(path: Path) -> str:
    config = read_json(path, dict)
    if not config.get("include_prompt", True):
        raise ValueError(
            f"{path}: include_prompt is false, which is not supported: pooling includes the prompt"
        )
    mode = config.get("pooling_mode")
    if mode is None:  # until sentence-transformers 5.3: pooling_mode_mean_tokens and the like
        active = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
        mode = "+".join(key.removeprefix("pooling_mode_").split("_token")[0] for key in active)
    mode = mode if isinstance(mode, str) else "+".join(mode)
    for name, saved_name in _POOLING_NAMES.items():
        if mode == saved_name:
            return name
    raise ValueError(
        f"{path}: pooling_mode is {mode or 'missing'}; only {', '.join(_POOLING_NAMES.values())} "
        "are supported"
    )
