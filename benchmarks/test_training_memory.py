"""Peak memory of training steps with batches of 512 and of 8,192, each in a fresh process.

The encoder is 6 layers of 384 over the vocabulary of XLM-R; texts are short, so that a step of
8,192 pairs takes seconds. No graphs are kept, since those take what memory there is.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from training_corpus import save_encoder

STEP = """
import json, sys
sys.path[:0] = {path!r}
from memory import PeakMemory, resident_bytes
from training_corpus import draw_texts, make_table
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

size = {size}
encoder = BiEncoder.from_pretrained({encoder!r}, query_prompt="", passage_prompt="")
table = make_table(draw_texts(size, 3, 8, 0, sigma=0.3), draw_texts(size, 6, 16, 1, sigma=0.3))
args = HybridTrainingArguments(
    {folder!r}, kind="mono", batch_size=size, max_steps=2, cached_activation_tokens=0, use_cpu=True,
    save_strategy="no", report_to="none", disable_tqdm=True, token_store={folder!r},
)
trainer = HybridTrainer(encoder, args, table)
before = resident_bytes()
with PeakMemory() as memory:
    trainer.train()
print(json.dumps([(before + memory.extra_bytes) / 2**20, memory.extra_mib]))
"""
peaks: dict[int, float] = {}


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"), layers=6, width=384, vocab_size=250_002)


@pytest.mark.parametrize("size", [512, 8192])
def test_peak_memory(benchmark, tmp_path, encoder_folder, size):
    script = STEP.format(
        path=sys.path, size=size, encoder=str(encoder_folder), folder=str(tmp_path)
    )
    found = []

    def run():
        command = [sys.executable, "-P", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))

    benchmark.pedantic(run, rounds=1)
    peak, extra = found[0]
    peaks[size] = peak
    benchmark.group = "peak memory of training"
    benchmark.extra_info |= {
        "peak_mib": round(peak),
        "extra_mib": extra,
        "times_batch_512": round(peak / peaks.get(512, peak), 2),
    }
