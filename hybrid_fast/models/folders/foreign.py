"""Folders that hold something else than a bi-encoder: what they are, and what to do with them.

AutoModel would load many of them without a word, such as the encoder of a cross-encoder, whose
embeddings mean nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hybrid_fast.common.json_files import read_optional

# What is not read of a folder without safetensors, by a file that tells.
_FORMATS = {
    "*.gguf": "GGUF (llama.cpp)",
    "*.onnx": "ONNX",
    "openvino_model*.xml": "OpenVINO",
    "*.bin": "pickled PyTorch",
    "*.pt": "pickled PyTorch",
    "*.pth": "pickled PyTorch",
    "*.h5": "TensorFlow",
    "*.msgpack": "Flax",
    "*.ot": "Rust",
}
_HEADS = {
    "SequenceClassification": "a cross-encoder or classifier: it scores texts and embeds none",
    "QuestionAnswering": "a reader: it finds answers in a passage and embeds no text",
    "TokenClassification": "a tagger: it labels tokens and embeds no text",
    "MultipleChoice": "a classifier: it scores choices and embeds no text",
}
_CARDS = {
    "CrossEncoder": "scores pairs of texts and embeds none",
    "SparseEncoder": "gives sparse embeddings, a weight for each token of a vocabulary",
    "MultiVectorEncoder": "gives one embedding for each token of a text",
}
# Modules of sentence-transformers that are not trained here.
OTHER_MODULES = {
    "Router": "different modules for queries and documents",
    "Asym": "different modules for queries and documents",
    "SpladePooling": "a sparse embedding",
    "MLMTransformer": "a sparse embedding",
    "SparseAutoEncoder": "a sparse embedding",
    "SparseStaticEmbedding": "a sparse embedding",
    "MultiVectorMask": "one embedding for each token",
    "CLIPModel": "a model of images and texts",
    "BoW": "counts of whole words",
    "CNN": "a convolution over tokens",
    "LSTM": "a recurrent network over tokens",
    "WordEmbeddings": "embeddings of whole words",
    "WordWeights": "weights of whole words",
    "WeightedLayerPooling": "a mean over several layers",
}
# Attributes of configurations of models that take other things than text.
_SENSES = {
    "vision_config": "images and texts",
    "image_size": "images",
    "num_channels": "images",
    "audio_config": "sound and texts",
    "feat_extract_norm": "sound",
    "max_source_positions": "sound",
}
# Of these the models of sound have a vocabulary too, of what they write.
_SOUND = ("feat_extract_norm", "max_source_positions")


class UntrainableChainError(ValueError):
    """A model of sentence-transformers that can be evaluated here, but not trained."""


def untrainable(
    folder: Path | None, what: str, *, trust_remote_code: bool = False
) -> UntrainableChainError:
    """Return an error that says how the model can be evaluated.

    Args:
        folder: of the model; None if it is in memory.
        what: what stands in the way of training.
        trust_remote_code: whether its own code is needed.
    """
    if folder is None:
        return UntrainableChainError(
            f"{what}. It cannot be trained here, but evaluated as it is: task.evaluate(model)"
        )
    option, flag = (
        (", trust_remote_code=True", " --trust-remote-code") if trust_remote_code else ("", "")
    )
    return UntrainableChainError(
        f"{what}. The model cannot be trained here, but evaluated as it is: hybrid-fast evaluate "
        f"{folder} --task NAME{flag}, or task.evaluate(SentenceTransformer(folder{option}))"
    )


def refuse_settings(path: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError if config_sentence_transformers.json asks for what is not supported.

    Args:
        path: the file, for the message.
        settings: its content.
    """
    kind = settings.get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        what = _CARDS.get(kind, "is not known here")
        raise ValueError(
            f"{path.parent} is a {kind}, which {what}; give a SentenceTransformer or an encoder"
        )


def refuse_empty(folder: Path) -> None:
    """Raise FileNotFoundError about a folder without modules.json and config.json."""
    found = _other_weights(folder)
    holds = f" but {found}" if found else ""
    raise FileNotFoundError(
        f"{folder} holds neither modules.json nor config.json{holds}; give the folder of a saved "
        "encoder"
    )


def refuse_weights(folder: Path) -> None:
    """Raise FileNotFoundError if a folder has no safetensors, with what it has instead."""
    if any(folder.glob("*.safetensors")):
        return
    found = _other_weights(folder)
    raise FileNotFoundError(
        f"{folder} has no *.safetensors{' but ' + found if found else ''}; other formats are not "
        "read (unpickling may run code): load the model with its own library where you trust it, "
        "and save it again as safetensors"
    )


def _other_weights(folder: Path) -> str:
    for pattern, name in _FORMATS.items():
        for path in (*sorted(folder.glob(pattern)), *sorted(folder.glob(f"*/{pattern}"))):
            return f"{path.relative_to(folder)}, weights as {name}"
    return ""


def refuse_head(folder: Path) -> None:
    """Raise ValueError if config.json says that a plain transformer was trained for other tasks."""
    for name in read_optional(folder / "config.json").get("architectures") or []:
        for head, what in _HEADS.items():
            if str(name).endswith(f"For{head}"):
                raise ValueError(
                    f"{folder} is a {name}, {what}. Give a bi-encoder; to train one from its "
                    "encoder, save that alone: AutoModel.from_pretrained(folder)"
                    ".save_pretrained(other), and the tokenizer"
                )


def refuse_config(config: Any) -> None:
    """Raise ValueError if a configuration of transformers is of no encoder or decoder of texts."""
    kind = config.model_type
    if hasattr(config, "vocab_size") and not any(hasattr(config, name) for name in _SOUND):
        return
    for name, what in _SENSES.items():
        if hasattr(config, name):
            raise ValueError(f"a {kind} is a model of {what}; give an encoder of texts")
