"""Encoders on an NVIDIA GPU: without padding as with it, and the same twice."""

from __future__ import annotations

import pytest
import torch
from shape_folders import make_folder
from torch import Tensor

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.compat import varlen_attention
from hybrid_fast.models.kernels import flash
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.transfer import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]
FAMILIES = ["bert", "xlm-roberta", "modernbert", "gemma3-bidirectional", "qwen3", "gpt2"]
LENGTHS = [7, 1, 130, 64, 12]
WINDOWS = [(-1, -1), (-1, 0), (4, 0), (4, 4)]
# Of a norm: what rounding of the states leaves.
TOLERANCES = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def has_it():
    if not flash.serves(CUDA):
        pytest.skip("this torch has no torch.nn.attention.varlen with windows")


def states(heads=4, key_heads=4, dim=64, dtype=torch.bfloat16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(sum(LENGTHS), each, dim) for each in (heads, key_heads, key_heads)]
    made = [torch.randn(shape, generator=generator).to(CUDA, dtype) for shape in shapes]
    return [x.requires_grad_() for x in made]


def attend(inputs, window=(-1, -1), rate=0.0) -> Tensor:
    begins = torch.tensor([0, *LENGTHS]).cumsum(0).int().to(CUDA)
    return varlen_attention(*inputs, begins, 256, scale=0.2, window=window, rate=rate)


def define(inputs, window) -> Tensor:
    """Each text by itself in float64."""
    left, right = (sum(LENGTHS) if side < 0 else side for side in window)
    outs = []
    for of_text in zip(*(x.split(LENGTHS) for x in inputs), strict=True):
        q, k, v = (x.double().transpose(0, 1) for x in of_text)
        k, v = (x.repeat_interleave(len(q) // len(x), dim=0) for x in (k, v))
        places = torch.arange(q.shape[1], device=CUDA)
        distance = places - places[:, None]
        seen = (-left <= distance) & (distance <= right)
        weights = (q @ k.mT * 0.2).masked_fill(~seen, -torch.inf).softmax(-1)
        outs.append((weights @ v).transpose(0, 1))
    return torch.cat(outs)


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert (found.double() - expected.double()).norm() <= tolerance * expected.double().norm()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", [(4, 4, 64), (4, 2, 8), (4, 1, 128), (2, 2, 256)])
def test_attention_and_its_gradients_are_those_of_each_text(shape, window, dtype):
    inputs = states(*shape, dtype=dtype)
    out, truth = attend(inputs, window), define(inputs, window)
    assert_near(out, truth, TOLERANCES[dtype])
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).to(CUDA)
    found = torch.autograd.grad(out, inputs, towards.to(dtype))
    expected = torch.autograd.grad(truth, inputs, towards.to(dtype).double())
    for gradient, each in zip(found, expected, strict=True):
        assert_near(gradient, each, 2 * TOLERANCES[dtype])


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_same_seed_gives_the_same_bits(window, rate):
    inputs, outs = states(), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        torch.randn(3, device=CUDA)  # the state is not that of a seed alone
        outs.append(attend(inputs, window, rate))
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2]) == (rate == 0)


@pytest.mark.parametrize("window", WINDOWS)
def test_dropout_keeps_the_mean_and_drops_by_its_rate(window):
    """Values of 1 make each output the sum of the weights that are kept, over 1 - rate."""
    rate, repeats = 0.3, 200
    inputs = [x.detach() for x in states()]
    inputs[0] = torch.zeros_like(inputs[0])  # all keys weigh the same
    inputs[2] = torch.ones_like(inputs[2])
    outs = torch.stack([attend(inputs, window, rate)[..., 0].double() for _ in range(repeats)])
    # A sum of n weights 1 / n, each kept or not, has the variance rate / (1 - rate) / n.
    alone = outs[:, LENGTHS[0]]  # of the text of one token
    dropped = (alone == 0).double().mean()
    spread = (rate * (1 - rate) / alone.numel()) ** 0.5
    assert abs(dropped - rate) < 5 * spread
    error = (rate / (1 - rate) / outs.numel()) ** 0.5
    assert abs(outs.mean() - 1) < 5 * error + 4e-3


def test_gradients_under_dropout_belong_to_the_masks_of_the_forward_pass():
    inputs = states(dtype=torch.float16)
    outs = []
    for _ in range(2):
        torch.manual_seed(7)
        outs.append(attend(inputs, rate=0.3))
    towards = torch.randn_like(outs[0])
    first, second = (torch.autograd.grad(out, inputs[2], towards)[0] for out in outs)
    # It is linear in the values: V . dV is what the outputs are towards the gradient.
    out, values = outs[0].detach().double(), inputs[2].detach().double()
    inner, expected = (values * first.double()).sum(), (out * towards.double()).sum()
    norm = float(out.norm() * towards.double().norm())
    assert abs(float(inner - expected)) < 1e-3 * norm
    assert_near(second, first, 1e-3)


def load(name, tmp_path, **options) -> BiEncoder:
    return BiEncoder.from_pretrained(make_folder(name, tmp_path / name), device="cuda", **options)


def embed(model: BiEncoder, texts: list[str], unpadded: bool, seed: int = 0):
    """Vectors, and gradients of the weights, of a model in its mode under autocast."""
    model.zero_grad()
    with fast_encoder(model, unpadded=unpadded), torch.autocast("cuda", torch.bfloat16):
        features = to_device(model.tokenize(texts, "passage"), CUDA)
        assert ("cu_seq_lens" in features) == unpadded
        torch.manual_seed(seed)
        vectors = model(features)
    vectors[:, 0].float().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return vectors.detach().float(), {name: each.clone() for name, each in gradients.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_models_embed_and_learn_as_with_padding(name, texts, tmp_path):
    model = load(name, tmp_path, dropout=0.0).train()
    with torch.autocast("cuda", torch.bfloat16):
        assert model.can_unpad()
    texts = [*texts, "river sea " * 9, "river"]
    padded, expected = embed(model, texts, unpadded=False)
    flat, gradients = embed(model, texts, unpadded=True)
    assert_near(flat, padded, 0.03)
    assert gradients.keys() == expected.keys()
    found, whole = (
        torch.cat([each[name].flatten() for name in expected]) for each in (gradients, expected)
    )
    assert_near(found, whole, 0.06)


@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pass_is_replayed_to_the_bit(name, rate, texts, tmp_path):
    model = load(name, tmp_path, dropout=rate).train()
    texts = [*texts, "river sea " * 9]
    first, _ = embed(model, texts, unpadded=True, seed=3)
    again, _ = embed(model, texts, unpadded=True, seed=3)
    other, _ = embed(model, texts, unpadded=True, seed=4)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (rate == 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_encoding_in_half_precision_is_unpadded(dtype, texts, tmp_path):
    model = load("xlm-roberta", tmp_path, dtype=dtype)
    assert model.can_unpad()
    exact = load("xlm-roberta", tmp_path / "exact")
    assert not exact.can_unpad()
    texts = [*texts, "river sea " * 9]
    found, expected = (torch.from_numpy(each.encode_passages(texts)) for each in (model, exact))
    assert_near(found, expected, 0.03)
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_the_trial_leaves_random_states_and_gradients(tmp_path):
    model = load("xlm-roberta", tmp_path, dropout=0.1).train()
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    with torch.autocast("cuda", torch.bfloat16):
        assert model.can_unpad()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(torch.cuda.get_rng_state(), states[1])
    assert all(p.grad is None for p in model.parameters())


def test_nothing_waits_for_the_gpu(texts, tmp_path):
    """In a forward pass of an encoder; a decoder's positions are looked at by transformers."""
    model = load("xlm-roberta", tmp_path).train()
    with torch.autocast("cuda", torch.bfloat16):
        assert model.can_unpad()
        with fast_encoder(model, unpadded=True):
            features = model.tokenize(texts, "passage")
            model(to_device(features, CUDA))  # what it allocates is there then
            torch.cuda.set_sync_debug_mode("error")
            try:
                vectors = model(to_device(features, CUDA))
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert vectors.isfinite().all()
