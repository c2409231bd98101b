"""The report of what is computed how: complete, true, and never empty."""

import sys

import pytest
import torch

from hybrid_fast.cpu import choices, processor, ways
from hybrid_fast.ops import cpu_report, info_nce


@pytest.fixture(autouse=True)
def new_process(monkeypatch, tmp_path):
    """A process that has chosen nothing, and measures."""
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setattr(ways, "_AGREEING", float("inf"))  # whatever else this machine does
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.delenv("HYBRID_FAST_WAYS")


@pytest.fixture
def one_size(monkeypatch):
    monkeypatch.setattr(sys.modules["hybrid_fast.ops.report"], "_TYPICAL", ((256, 64),))


def test_it_names_processor_libraries_and_cache(one_size, tmp_path):
    report = cpu_report()
    assert processor()["name"] in report
    assert f"torch {torch.__version__}" in report
    assert str(tmp_path / "processors") in report
    assert next((tmp_path / "processors").glob("*.json")).name in report


def test_before_anything_was_computed_the_products_of_losses_are_measured(one_size):
    rows = cpu_report().split("\n\n")[1].splitlines()
    assert rows[0].split() == ["what", "class", "way", "from", "milliseconds"]
    assert [row.split()[0] for row in rows[1:]] == ["nn", "nt", "tn", "tn"]
    assert all("measured" in row and "torch " in row and "core " in row for row in rows[1:])


def test_what_an_encoder_chose_before_hides_no_products(one_size):
    ways.preferred("attention", "unpadded", ["core"])
    rows = cpu_report().split("\n\n")[1].splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["attention", "nn", "nt", "tn", "tn"]


def test_each_choice_has_its_line(monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_WAYS", "nt=core, nn=torch, tn=core")
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(300, 64, generator=generator, requires_grad=True)
    info_nce(queries, torch.randn(300, 64, generator=generator), backend="cpu").backward()
    rows = cpu_report().split("\n\n")[1].splitlines()[1:]
    assert len(rows) == len(choices()) == 2
    assert rows[0].split(maxsplit=1)[0] == "nn"
    assert "256-511 x 64-127 x 256-511, by rows and rows" in rows[0]
    assert "HYBRID_FAST_WAYS" in rows[0]
    assert rows[0].rstrip().endswith("not measured")


def test_a_wrong_variable_is_an_error(monkeypatch, one_size):
    monkeypatch.setenv("HYBRID_FAST_WAYS", "fast")
    with pytest.raises(ValueError, match="a way of HYBRID_FAST_WAYS is 'fast'"):
        cpu_report()
