"""The files of a saved model: those of sentence-transformers, so that either loads the other's.

    modules.json                        the chain of modules: Transformer, Pooling, Normalize
                                        or StaticEmbedding, Normalize
    config_sentence_transformers.json   prompts "query" and "document"
    sentence_bert_config.json           lengths (transformer only)
    1_Pooling/config.json               pooling (transformer only)
    config.json, tokenizer files, model.safetensors

A folder without modules.json is a plain transformer, with the defaults of this library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hybrid_fast.models.texts import Side
from hybrid_fast.models.transformer import UNLIMITED

T = TypeVar("T")

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
_POOLING_NAMES = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
_PASSAGE_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Layout:
    """The settings of a model that its folder holds besides weights and tokenizer.

    Attributes:
        weights_folder: the folder of weights and tokenizer.
        static: whether it is a static encoder.
        pooling: "mean", "cls" or "last".
        normalize: whether embeddings are scaled to norm 1.
        prompts: of each side.
        max_lengths: maximum tokens of each side; empty for a static encoder.
        lowercase: whether texts are lower-cased before the tokenizer's own normalisation.

    The defaults are those of a plain transformer.
    """

    weights_folder: Path
    static: bool = False
    pooling: str = "mean"
    normalize: bool = True
    prompts: dict[Side, str] = field(
        default_factory=lambda: {"query": "Query: ", "passage": "Passage: "}
    )
    max_lengths: dict[Side, int] = field(default_factory=lambda: {"query": 96, "passage": 256})
    lowercase: bool = False


def read_layout(folder: Path) -> Layout:
    """Read the settings of the model in a folder.

    Raises:
        FileNotFoundError: it holds no model.
        ValueError: it holds modules that are not supported, or a file is not the JSON it should be.
    """
    if not (folder / MODULES_FILE).is_file():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds neither {MODULES_FILE} nor config.json; give the folder of a "
                "saved encoder"
            )
        return Layout(folder)
    names, paths = _read_chain(folder)
    normalize = names[-1:] == ["Normalize"]
    chain = names[:-1] if normalize else names
    if chain not in _CHAINS:
        raise ValueError(
            f"{folder / MODULES_FILE} lists {', '.join(names) or 'nothing'}; only Transformer and "
            "Pooling, or StaticEmbedding, each with or without Normalize, are supported"
        )
    prompts = _read_prompts(folder)
    if chain == ["StaticEmbedding"]:
        return Layout(paths[0], True, normalize=normalize, prompts=prompts, max_lengths={})
    lengths = _read_optional(paths[0] / LENGTHS_FILE)
    longest = lengths.get("max_seq_length") or UNLIMITED
    return Layout(
        paths[0],
        pooling=_read_pooling(paths[1] / "config.json"),
        normalize=normalize,
        prompts=prompts,
        max_lengths={
            "query": lengths.get("query_length") or longest,
            "passage": lengths.get("document_length") or longest,
        },
        lowercase=bool(lengths.get("do_lower_case")),
    )


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
        _write_json(folder / "1_Pooling" / "config.json", pooling)
        _write_json(folder / LENGTHS_FILE, _lengths(layout.max_lengths))
    if layout.normalize:
        _write_json(folder / paths[-1] / "config.json", {})
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": layout.prompts["query"], "document": layout.prompts["passage"]},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine" if layout.normalize else "dot",
    }
    _write_json(folder / SETTINGS_FILE, settings)
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": _CLASSES[name]}
        for index, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    _write_json(folder / MODULES_FILE, modules)


def _read_chain(folder: Path) -> tuple[list[str], list[Path]]:
    names, paths = [], []
    for index, module in enumerate(_read_json(folder / MODULES_FILE, list)):
        if not isinstance(module, dict) or not {"path", "type"} <= module.keys():
            raise ValueError(f"{folder / MODULES_FILE}: entry {index} needs 'path' and 'type'")
        path = folder / str(module["path"])
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{folder / MODULES_FILE}: the path {module['path']!r} is outside the folder"
            )
        names.append(str(module["type"]).rsplit(".", 1)[-1])
        paths.append(path)
    return names, paths


def _lengths(max_lengths: dict[Side, int]) -> dict[str, int | bool]:
    query, passage = max_lengths["query"], max_lengths["passage"]
    lengths: dict[str, int | bool] = {"max_seq_length": max(query, passage), "do_lower_case": False}
    if query != passage:
        lengths |= {"query_length": query, "document_length": passage}
    return lengths


def _read_prompts(folder: Path) -> dict[Side, str]:
    prompts = _read_optional(folder / SETTINGS_FILE).get("prompts") or {}
    passage = next((prompts[name] for name in _PASSAGE_PROMPTS if name in prompts), None)
    return {"query": prompts.get("query") or "", "passage": passage or ""}


def _read_pooling(path: Path) -> str:
    config = _read_json(path, dict)
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


def _read_optional(path: Path) -> dict[str, Any]:
    return _read_json(path, dict) if path.is_file() else {}


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: line {error.lineno}: {error.msg}; JSON is needed") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds a {type(content).__name__}; a {kind.__name__} is needed")
    return content


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
