"""An encoder on a GPU: its modules are torch's, and cuDNN makes no plan for each new shape."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel
from varlen_stand_in import use_stand_in

from hybrid_fast.models.kernels import flash, unpadded
from hybrid_fast.models.kernels.encoder import fast_encoder, is_unpadded

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 40}  # fmt: skip


@pytest.fixture
def model(monkeypatch) -> BertModel:
    use_stand_in(monkeypatch)
    return BertModel(BertConfig(**SIZES)).bfloat16()


@pytest.fixture(autouse=True)
def cudnn():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_modules_stay_torchs_and_padded_texts_keep_their_attention(model):
    with fast_encoder(model):
        kinds = {type(each) for each in model.modules()}
        assert {nn.Linear, nn.Dropout} <= kinds
        assert model.config._attn_implementation == "sdpa"
        assert not is_unpadded(model.config)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_unpadded_texts_get_ours(model):
    with fast_encoder(model, unpadded=True):
        assert model.config._attn_implementation == unpadded.NAME
        assert is_unpadded(model.config)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert model.config._attn_implementation == "sdpa"


def test_compiled_layers_may_be_unpadded_and_a_compiled_model_not(model):
    model.encoder.layer[0].compile(backend="eager")
    with fast_encoder(model, unpadded=True):
        assert is_unpadded(model.config)
    model.compile(backend="eager")
    with fast_encoder(nn.ModuleList([model]), unpadded=True):
        assert not is_unpadded(model.config)
        assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_cudnn_is_back_after_an_error_and_stays_off_where_the_user_turned_it_off(model):
    with pytest.raises(RuntimeError, match="stop"), fast_encoder(model):
        raise RuntimeError("stop")
    assert torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    with fast_encoder(model):
        pass
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_cudnn_is_back_when_the_last_of_several_threads_is_done(model):
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with fast_encoder(model):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    with fast_encoder(model):
        thread.start()
        assert inside.wait(10)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    leave.set()
    thread.join()
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_nothing_is_compiled_anew_for_the_switch(model):
    graphs = []
    attend = torch.compile(
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x),
        backend=lambda graph, _: graphs.append(graph) or graph.forward,
    )
    states = torch.ones(1, 2, 3, 8)
    attend(states)
    with fast_encoder(model):
        attend(states)
    assert len(graphs) == 1


def test_on_a_cpu_nothing_of_a_gpu_is_touched(monkeypatch):
    monkeypatch.setattr(flash, "has_varlen", lambda: pytest.fail("only GPUs need it"))
    model = BertModel(BertConfig(**SIZES))
    with fast_encoder(model, unpadded=True):
        assert torch.backends.cuda.cudnn_sdp_enabled()
    assert not flash.serves(torch.device("cpu"))
