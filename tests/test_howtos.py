"""The commands of the how-to pages run as they stand, with tiny models in place of those named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from howto_models import TinyModels

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
E5, BGE_M3, MMBERT = "intfloat/multilingual-e5-small", "BAAI/bge-m3", "jhu-clsp/mmBERT-small"
QWEN3_EMBEDDING, QWEN3 = "Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-0.6B"
MODELS = {
    "howto_fine_tune": {E5: "e5", BGE_M3: "bge_m3", MMBERT: "mmbert"},
    "howto_lora": {QWEN3_EMBEDDING: "qwen3_embedding", QWEN3: "qwen3"},
    "howto_sentence_transformers": {E5: "e5"},
}
WRITTEN = {
    "howto_fine_tune": ["runs/comparison/report.html", "runs/python/model", "runs/bge/model"],
    "howto_lora": ["runs/qwen/model/model.safetensors", "runs/merged", "runs/bidirectional/model"],
    "howto_sentence_transformers": ["model/modules.json", "trained/modules.json"],
}


def test_every_page_is_run():
    assert set(MODELS) == {page.stem for page in (ROOT / "docs").glob("howto_*.md")}
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert all(f"{page}.md" in navigation for page in MODELS)


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    return TinyModels(tmp_path_factory.mktemp("models"))


def script(page: str, replaced: dict[str, str]) -> str:
    command = [sys.executable, ROOT / ".ci/page_commands.py", ROOT / "docs" / f"{page}.md"]
    pairs = [f"{old}={new}" for old, new in replaced.items()]
    return subprocess.run([*command, *pairs], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("page", MODELS)
def test_the_commands_of_a_page_run(page, tiny_models, tmp_path):
    pytest.importorskip("peft") if page == "howto_lora" else None
    replaced = {name: str(getattr(tiny_models, kind)()) for name, kind in MODELS[page].items()}
    commands = script(page, replaced)
    assert not re.search("|".join(map(re.escape, MODELS[page])), commands)
    own = f'hybrid-fast() {{ "{sys.executable}" -P -m hybrid_fast.cli "$@"; }}\n'
    own += f'python() {{ "{sys.executable}" "$@"; }}\n'
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", own + commands],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    for name in WRITTEN[page]:
        assert (tmp_path / name).exists()
