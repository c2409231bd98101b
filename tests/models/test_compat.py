"""What is taken from the inside of other libraries: read where it is, done without elsewhere."""

from types import SimpleNamespace

import pytest
import torch

from hybrid_fast.models import compat
from hybrid_fast.models.compat import uses_flash_attention


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"_attn_implementation": "flash_attention_2"}, True),
        ({"_attn_implementation": "kernels-community/flash-attn2"}, True),
        ({"_attn_implementation": "sdpa"}, False),
        ({"_attn_implementation": None}, False),
        ({}, False),
    ],
)
def test_flash_attention_is_found_and_its_absence_is_the_padded_way(config, expected):
    assert uses_flash_attention(SimpleNamespace(config=SimpleNamespace(**config))) is expected


def of_torch_2_10(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None,
): ...  # fmt: skip


def of_torch_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None,
    window_size=(-1, -1),
): ...  # fmt: skip


def of_torch_2_12(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None,
    window_size=(-1, -1), enable_gqa=False, seqused_k=None, block_table=None, num_splits=None,
): ...  # fmt: skip


@pytest.fixture
def other_torch(monkeypatch):
    """Put another version's attention without padding, or none, in the place of this torch's."""

    def put(attend) -> None:
        monkeypatch.setattr(compat, "_varlen", attend)
        monkeypatch.setattr(compat, "_VARLEN_OPTIONS", compat.options_of(attend))

    return put


@pytest.mark.parametrize(
    ("attend", "serves", "grouped"),
    [
        (None, False, False),
        (of_torch_2_10, False, False),
        (of_torch_2_11, True, False),
        (of_torch_2_12, True, True),
    ],
)
def test_attention_without_padding_of_other_versions(
    attend, serves, grouped, other_torch, monkeypatch
):
    other_torch(attend)
    assert compat.has_varlen()
    assert ("enable_gqa" in compat._VARLEN_OPTIONS) == grouped
    monkeypatch.setattr(compat, "has_varlen_dropout", lambda: False)
    assert compat.has_varlen() == serves  # else there is the operator beneath


@pytest.mark.parametrize("version", [of_torch_2_11, of_torch_2_12])
def test_it_is_called_by_the_arguments_of_its_version(version, other_torch):
    given = []

    def attend(query, *args, **options):
        version(query, *args, **options)  # TypeError, if it has no such argument
        given.append((args[2:], options))
        return query

    attend.__wrapped__ = version  # whose signature is read
    other_torch(attend)
    assert compat.has_varlen()
    query, begins = torch.ones(3, 4, 8), torch.tensor([0, 3])
    for heads in (4, 2):
        key = torch.ones(3, heads, 8)
        compat.varlen_attention(query, key, key, begins, 64, scale=0.5, window=(2, 0))
    options = {"scale": 0.5, "window_size": (2, 0)}
    grouped = {"enable_gqa": True} if version is of_torch_2_12 else {}
    assert given == [
        ((begins, begins, 64, 64), options),
        ((begins, begins, 64, 64), options | grouped),
    ]


@pytest.mark.parametrize("names", [[], ["query", "key", "value", "dropout_p"]])
def test_dropout_of_a_version_with_other_arguments_is_not_used(names, monkeypatch):
    schema = SimpleNamespace(arguments=[SimpleNamespace(name=name) for name in names])
    aten = SimpleNamespace(_flash_attention_forward=SimpleNamespace())
    if names:
        aten._flash_attention_forward.default = SimpleNamespace(_schema=schema)
    compat.has_varlen_dropout.cache_clear()
    monkeypatch.setattr(torch, "ops", SimpleNamespace(aten=aten))
    assert not compat.has_varlen_dropout()
    monkeypatch.undo()
    compat.has_varlen_dropout.cache_clear()
    assert compat.has_varlen_dropout()


@pytest.mark.parametrize(("rate", "serves"), [(0.1, True), (0.1, False), (0.0, False)])
@pytest.mark.parametrize(
    ("window", "is_causal"), [((-1, -1), False), ((-1, 0), True), ((3, 0), False), ((3, 3), False)]
)
def test_the_operator_beneath_serves_dropout_and_older_versions(
    window, is_causal, rate, serves, monkeypatch
):
    given = []

    def operator(*args, **options):
        given.append((args[3:], options))
        return args[0], None, None, None, None

    monkeypatch.setattr(compat, "_is_public", lambda: serves)
    aten = SimpleNamespace(_flash_attention_forward=operator)
    monkeypatch.setattr(torch, "ops", SimpleNamespace(aten=aten))
    query, begins = torch.ones(3, 4, 8), torch.tensor([0, 3])
    out = compat.varlen_attention(
        query, query, query, begins, 64, scale=0.5, window=window, rate=rate
    )
    assert out is query
    sides = {"window_size_left": window[0], "window_size_right": window[1]}
    expected = (begins, begins, 64, 64, rate, is_causal, False)
    assert given == [(expected, {"scale": 0.5, **sides})]
