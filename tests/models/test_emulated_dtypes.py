"""Encoders on a CPU that emulates half precision: one warning, where it is computed in."""

from types import SimpleNamespace

import pytest
import torch

from hybrid_fast.cpu import half_precision
from hybrid_fast.models import BiEncoder, dtypes, process_pool

pytestmark = pytest.mark.usefixtures("emulating")


@pytest.fixture
def said(caplog):
    def warnings() -> list[str]:
        texts = (each.getMessage() for each in caplog.records if each.levelname == "WARNING")
        return [text for text in texts if "emulates" in text]

    return warnings


@pytest.fixture
def half_folder(bert_folder, tmp_path):
    BiEncoder.from_pretrained(bert_folder).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    return tmp_path / "half"


@pytest.mark.parametrize("dtype", ["bfloat16", "bf16", torch.bfloat16, "float16"])
def test_a_dtype_that_was_asked_for_is_said_at_loading_and_never_again(
    bert_folder, texts, said, dtype
):
    model = BiEncoder.from_pretrained(bert_folder, dtype=dtype)
    (text,) = said()
    assert text.startswith(f"dtype='{dtype}': this processor (AMD EPYC 7763) has no products of ")
    assert "take 16 times as long as in float32" in text
    assert text.endswith("Set dtype='float32'.")
    model.encode_queries(texts)
    with torch.autocast("cpu", model.dtype):
        model.encode_queries(texts)
    assert len(said()) == 1


def test_a_model_that_may_go_to_an_accelerator_is_said_when_it_encodes(
    bert_folder, texts, said, monkeypatch
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    model = BiEncoder.from_pretrained(bert_folder, dtype="bfloat16")
    assert said() == []
    model.encode_queries(texts)
    assert [text.partition(":")[0] for text in said()] == ["weights in bfloat16"]


@pytest.mark.parametrize("asked", [None, "auto"])
def test_a_folder_in_half_precision_is_said_when_it_encodes(half_folder, texts, said, asked):
    """Not before: training widens its weights."""
    model = BiEncoder.from_pretrained(half_folder, dtype=asked)
    assert said() == []
    model.encode_passages(texts)
    model.encode(texts)
    (text,) = said()
    assert text.startswith("weights in bfloat16: ")
    assert text.endswith("Load the model with dtype='float32', or call its float().")


@pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), lambda m: m.bfloat16()])
@pytest.mark.parametrize("output", ["sentence_embedding", "token_embeddings"])
def test_a_model_that_was_cast_is_said_when_it_encodes(bert_folder, texts, said, cast, output):
    model = cast(BiEncoder.from_pretrained(bert_folder))
    model.encode(texts, output_value=output, convert_to_numpy=False)
    assert [text.partition(":")[0] for text in said()] == ["weights in bfloat16"]


def test_autocast_is_said_in_encoding_and_in_training(bert_folder, texts, said, monkeypatch):
    model = BiEncoder.from_pretrained(bert_folder)
    with torch.autocast("cpu", torch.bfloat16):
        model.encode_queries(texts)
    monkeypatch.setattr(half_precision, "_said", set())
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        model(model.tokenize(texts, "query")).sum().backward()
    assert [text.partition(":")[0] for text in said()] == ["autocast to bfloat16"] * 2
    assert all(text.endswith("Leave autocast out.") for text in said())


def test_nothing_is_said_in_float32_or_of_a_static_encoder(bert_folder, texts, said):
    BiEncoder.from_pretrained(bert_folder, dtype="float32").encode_queries(texts)
    static = BiEncoder.static(texts, dim=16, vocab_size=200).to(torch.bfloat16)
    static.encode_queries(texts)
    with torch.autocast("cpu", torch.bfloat16):
        static.encode_queries(texts)
    assert said() == []


@pytest.mark.parametrize("has", [["avx2", "avx512_bf16"], ["amx_bf16"], ["asimd", "bf16"]])
def test_nothing_is_said_on_a_processor_that_has_bfloat16(
    bert_folder, texts, said, monkeypatch, has
):
    monkeypatch.setattr(half_precision, "processor", lambda: {"instruction_sets": has})
    model = BiEncoder.from_pretrained(bert_folder, dtype="bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        model.encode_queries(texts)
    assert said() == []


def test_nothing_is_said_on_another_device(said):
    dtypes.say_if_slow(torch.nn.Linear(2, 2, dtype=torch.bfloat16, device="meta"))
    dtypes.say_if_asked_slow("bf16", torch.device("meta"))
    assert said() == []


def test_a_pool_on_the_cpu_is_said_once_and_here(half_folder, texts, said, monkeypatch):
    started = []

    def start(*_, initargs, **__):
        started.append(initargs)
        return SimpleNamespace(submit=lambda work: None, shutdown=lambda **_: None)

    monkeypatch.setattr(process_pool, "ProcessPoolExecutor", start)
    monkeypatch.setattr(process_pool, "finalize", lambda *_, **__: None)
    model = BiEncoder.from_pretrained(half_folder)
    with torch.autocast("cpu", torch.float16):  # not that of the processes
        process_pool.EncoderPool.start(model, ["cpu", "cpu"])
    assert [text.partition(":")[0] for text in said()] == ["weights in bfloat16"]
    monkeypatch.setattr(half_precision, "_said", set())
    ((copied, places, threads),) = started
    process_pool._Worker.start(copied, places, threads)
    copied.encode_queries(texts)
    assert len(said()) == 1


def test_a_compiler_is_told_nothing(bert_folder, texts, said, monkeypatch):
    model = BiEncoder.from_pretrained(bert_folder).to(torch.bfloat16)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    dtypes.say_if_slow(model)
    assert said() == []
