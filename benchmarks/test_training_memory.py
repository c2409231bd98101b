"""Peak memory of training steps with batches of 512 and of 8,192, each in a fresh process.

The encoder is 6 layers of 384 over the vocabulary of XLM-R; texts are short, so that a step of
8,192 pairs takes seconds. No activations are cached, since those take what memory there is.
"""

from __future__ import annotations

from memory import run_fresh

STEP = """
from memory import PeakMemory, resident_bytes
from training_corpus import draw_texts, make_table
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

encoder = BiEncoder.from_pretrained(encoder_folder)
table = make_table(draw_texts(size, 3, 8, 0, sigma=0.3), draw_texts(size, 6, 16, 1, sigma=0.3))
args = HybridTrainingArguments(
    folder, kind="mono", batch_size=size, max_steps=2, cached_activation_tokens=0, use_cpu=True,
    save_strategy="no", report_to="none", disable_tqdm=True, token_store=folder,
)
trainer = HybridTrainer(encoder, args, table)
before = resident_bytes()
with PeakMemory() as memory:
    trainer.train()
print(json.dumps([(before + memory.extra_bytes) / 2**20, memory.extra_mib]))
"""


def test_peak_memory(benchmark, headline, full, tmp_path, encoder_folders):
    few, many = 512, 8192 if full else 4096
    given = {"encoder_folder": encoder_folders[0.0], "folder": str(tmp_path)}
    small = run_fresh(STEP, size=few, **given)
    large = benchmark.pedantic(run_fresh, (STEP,), {"size": many, **given}, rounds=1)
    benchmark.extra_info["peak_and_extra_mib"] = {few: small, many: large}
    reduced = "" if full else f"training with a batch of {many:,} instead of 8,192"
    headline(
        "memory", f"training, batch {many:,}, peak", "MiB", large[0], {f"batch {few}": small[0]},
        bound=1.5 * small[0], reduced=reduced,
    )  # fmt: skip
