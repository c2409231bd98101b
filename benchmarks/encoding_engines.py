"""Other engines for the transformer of a real encoder: ONNX Runtime, as exported and O3, OpenVINO.

Each takes padded batches of like length, as many texts at a time as is best for it; tokens, mean
pooling and norm are computed in the same way for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]  # ids and mask, (n, length), to states
_AXES = {name: {0: "texts", 1: "tokens"} for name in ("input_ids", "attention_mask", "states")}


class _States(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return states


def export(folder: str, to: Path) -> Path:
    """Write the transformer of a folder in float32 as ONNX, of any number and length of texts."""
    # Plain products and softmax, which the optimisers of both engines look for.
    model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    ids = torch.ones(2, 8, dtype=torch.long)
    path = to / "encoder.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is traced
        torch.onnx.export(
            _States(model.eval()), (ids, ids), str(path), input_names=list(_AXES)[:2],
            output_names=["states"], dynamic_axes=_AXES, opset_version=17, dynamo=False,
        )  # fmt: skip
    return path


def optimised(path: Path, heads: int, width: int) -> Path:
    """Write an ONNX file as level O3 of optimum has it: fused layers, GELU by tanh."""
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    options.enable_gelu_approximation = True
    found = optimizer.optimize_model(
        str(path), "bert", num_heads=heads, hidden_size=width, optimization_options=options,
        opt_level=2, use_gpu=False,
    )  # fmt: skip
    to = path.with_name("encoder-o3.onnx")
    found.save_model_to_file(str(to))
    return to


def onnx_runtime(path: Path, threads: int) -> Run:
    """Return ONNX Runtime on a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def openvino(path: Path, threads: int) -> Run:
    """Return OpenVINO on a file, in float32."""
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = (
        openvino.Core()
        .compile_model(openvino.convert_model(str(path)), "CPU", settings)
        .create_infer_request()
    )
    return lambda ids, mask: request.infer({"input_ids": ids, "attention_mask": mask})[0]


class EngineEncoder:
    """Encodes texts by an engine: longest first, mean of the states, norm 1.

    Args:
        folder: of the encoder, whose tokenizer is taken.
        run: see `Run`.
    """

    def __init__(self, folder: str, run: Run) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._run = run

    def encode(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Return the embeddings of texts, float32 (n, D)."""
        found = self._tokenizer(list(texts), truncation=True, max_length=512)
        ids = [np.array(each) for each in found["input_ids"]]
        longest_first = np.argsort([-len(each) for each in ids], kind="stable")
        parts = [
            longest_first[start : start + batch_size] for start in range(0, len(ids), batch_size)
        ]
        vectors = np.concatenate([self._embed([ids[row] for row in part]) for part in parts])
        embeddings = np.empty_like(vectors)
        embeddings[np.concatenate(parts)] = vectors
        return embeddings

    def _embed(self, ids: list[np.ndarray]) -> np.ndarray:
        length = max(map(len, ids))
        padded = np.full((len(ids), length), self._tokenizer.pad_token_id, np.int64)
        mask = np.zeros((len(ids), length), np.int64)
        for row, each in enumerate(ids):
            padded[row, : len(each)], mask[row, : len(each)] = each, 1
        sums = np.einsum("nld,nl->nd", self._run(padded, mask), mask.astype(np.float32))
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)
