"""Retrieval before training, after it with in-batch negatives alone, and with mined ones.

A real encoder trains on questions of TyDi QA GoldP (English, Korean and Swahili, monolingual
batches) and is evaluated on languages that it trained on and others: GoldP's dev questions, and
XQuAD-R by sentence. Three trainings of each seed see the same number of steps and settings:

- "in-batch": a batch of questions, each with the passages of the others as negatives;
- "mined": the same batches, and each question also has the hard negatives that the encoder itself
  found before it was trained (`mine_hard_negatives`, its defaults);
- "in-batch, as many passages": larger batches, so that a step takes as many passages as with mined
  ones, and about as long; it sees that many more questions.

The report is whole after each training; started again, those that are in it are not done again.

    python benchmarks/mined_negatives.py --encoder FOLDER --data ../shared/data
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from machine import ROOT, commit, today, versions

from hybrid_fast.cpu.machine import processor
from hybrid_fast.data import AlignedTable, load_table
from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.mining import MiningOptions, mine
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

BEFORE, IN_BATCH, MINED = "before", "in-batch", "mined"
AS_MANY = "in-batch, as many passages"
ARMS = (IN_BATCH, MINED, AS_MANY)
TASKS = ("xquad-r", "tydiqa-goldp")
TRAIN = "tydiqa-goldp/train/{lang}.json.gz"
XQUAD_LANGUAGES = ("ar", "de", "en")
GOLDP_LANGUAGES = ("bn", "ko", "sw")
QUERY_LENGTH, PASSAGE_LENGTH = 32, 96
TRAINING = {
    "kind": "mono",
    "learning_rate": 3e-5,
    "warmup_steps": 0.1,
    "temperature": 0.02,
    "bf16": True,
    "use_cpu": True,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "no",
}


def load_encoder(folder: Path) -> BiEncoder:
    """Return the encoder as it was before training."""
    return BiEncoder.from_pretrained(
        folder,
        query_prompt="query: ",
        passage_prompt="passage: ",
        max_query_length=QUERY_LENGTH,
        max_passage_length=PASSAGE_LENGTH,
    )


def load_tasks(data: Path, is_tiny: bool, names: Sequence[str]) -> dict[str, RetrievalTask]:
    """Return what encoders are evaluated on."""
    xquad = ("en",) if is_tiny else XQUAD_LANGUAGES
    goldp = ("bn",) if is_tiny else GOLDP_LANGUAGES
    options: dict[str, dict[str, Any]] = {
        "xquad-r": {"languages": xquad, "candidate_text": "sentence"},
        "tydiqa-goldp": {"languages": goldp},
    }
    return {name: load_task(name, data=data / name, **options[name]) for name in names}


def evaluate(encoder: BiEncoder, tasks: dict[str, RetrievalTask]) -> dict[str, Any]:
    """Return the metrics of each task and setting."""
    encoder = encoder.eval().to(torch.bfloat16)
    found = {}
    for name, task in tasks.items():
        metrics = task.evaluate(encoder).to_dict()["metrics"]
        found[name] = {setting: values for setting, values in metrics.items() if values}
    return found


def train(
    folder: Path, table: AlignedTable, batch_size: int, steps: int, seed: int
) -> tuple[BiEncoder, float]:
    """Train the encoder; return it, and the seconds that took."""
    encoder = load_encoder(folder)
    with tempfile.TemporaryDirectory() as output:
        args = HybridTrainingArguments(
            output_dir=output, batch_size=batch_size, max_steps=steps, seed=seed, **TRAINING
        )
        start = time.perf_counter()
        HybridTrainer(encoder, args, table).train()
        return encoder, time.perf_counter() - start


def run(given: argparse.Namespace, report: dict[str, Any]) -> None:
    """Evaluate and train what the report lacks, and write it after each."""
    tasks = load_tasks(given.data, given.tiny, given.tasks)
    limit = 60 if given.tiny else None
    table = load_table(TRAIN, root=given.data, group_by="position", limit=limit)
    if BEFORE not in report:
        report[BEFORE] = evaluate(load_encoder(given.encoder), tasks)
        write(given.out, report)
    encoder = load_encoder(given.encoder).eval().to(torch.bfloat16)
    start = time.perf_counter()
    mined = mine(encoder, table, MiningOptions(num_negatives=given.negatives))
    report["mining"] = {"seconds": time.perf_counter() - start, **mined.report.to_dict()}
    arms = {
        IN_BATCH: (table, given.batch_size),
        MINED: (mined.table, given.batch_size),
        AS_MANY: (table, given.batch_size * (1 + given.negatives)),
    }
    for seed in range(given.seeds):
        for name in given.arms:
            items, batch_size = arms[name]
            done = report["runs"].setdefault(name, {})
            if str(seed) in done:
                continue
            trained, seconds = train(given.encoder, items, batch_size, given.steps, seed)
            done[str(seed)] = {"training_seconds": seconds, **evaluate(trained, tasks)}
            write(given.out, report)
            print(f"{name}, seed {seed}: {seconds:.0f} s", flush=True)


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def summary(report: dict[str, Any]) -> str:
    """Return a table of mAP, in Markdown: before, and mean and spread over seeds after."""
    columns = [
        (task, setting, name)
        for task, settings in report[BEFORE].items()
        for setting, metrics in settings.items()
        for name in ("map", "mrr@100")
        if metrics.get(name) is not None
    ]
    lines = [
        "| | " + " | ".join(f"{task} {setting}, {name}" for task, setting, name in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        row(BEFORE, [[report[BEFORE][t][s][m]] for t, s, m in columns]),
    ]
    for name, seeds in report["runs"].items():
        lines.append(row(name, [[each[t][s][m] for each in seeds.values()] for t, s, m in columns]))
    return "\n".join(lines)


def row(name: str, columns: Sequence[Sequence[float]]) -> str:
    cells = [
        f"{statistics.mean(values):.4f}"
        + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")
        for values in columns
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--tiny", action="store_true", help="few texts: whether it works at all")
    results = ROOT / "benchmarks" / "results"
    parser.add_argument("--out", type=Path, default=results / f"{today()}-mined-negatives.json")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    report: dict[str, Any] = {
        "date": today(),
        "commit": commit(),
        "machine": processor(),
        "versions": versions(),
        "encoder": given.encoder.name,
        "settings": {
            **{name: getattr(given, name) for name in ("steps", "batch_size", "negatives")},
            **TRAINING,
            "query_length": QUERY_LENGTH,
            "passage_length": PASSAGE_LENGTH,
            "tiny": given.tiny,
        },
        "runs": {},
    }
    if given.out.exists():
        earlier = json.loads(given.out.read_text())
        if earlier["settings"] != report["settings"]:
            parser.error(f"{given.out} was measured with other settings; give another --out")
        report = earlier
    run(given, report)
    write(given.out, report)
    print(summary(report))


if __name__ == "__main__":
    main()
