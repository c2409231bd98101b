"""Tables, encoders and a task so small that a training takes a second."""

from __future__ import annotations

from pathlib import Path

import torch

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

NUM_GROUPS = 48
LANGUAGES = ("de", "en", "fr")


def make_table(negatives: bool = False) -> AlignedTable:
    columns = {"group_id": [], "lang": [], "query": [], "passage": []}
    for group in range(NUM_GROUPS):
        for lang in LANGUAGES:
            columns["group_id"].append(f"g{group}")
            columns["lang"].append(lang)
            columns["query"].append(f"{lang} question {group}")
            columns["passage"].append(f"{lang} answer {group} of {group * 7}")
    if negatives:
        columns["negatives"] = [
            [f"{lang} answer {int(group[1:]) + 1} of {(int(group[1:]) + 1) * 7}"]
            for group, lang in zip(columns["group_id"], columns["lang"], strict=True)
        ]
    return AlignedTable.from_columns(columns)


def make_model(seed: int = 0) -> BiEncoder:
    table = make_table()
    texts = [*table.queries(range(len(table))), *table.passages(range(len(table)))]
    return BiEncoder.static(texts, dim=16, vocab_size=300, seed=seed)


def make_args(folder: Path | str, **options) -> HybridTrainingArguments:
    options = {
        "batch_size": 12,
        "max_steps": 30,
        "learning_rate": 0.02,
        "save_strategy": "no",
        "logging_steps": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    return HybridTrainingArguments(output_dir=str(folder), **options)


def plain_adamw(args: HybridTrainingArguments) -> dict:
    options = {"lr": args.learning_rate, "betas": (args.adam_beta1, args.adam_beta2)}
    return {"optimizer_cls_and_kwargs": (torch.optim.AdamW, options)}


def make_static_trainer(folder: Path | str, callbacks=(), **options) -> HybridTrainer:
    args = make_args(folder, **{"batch_size": 8, "max_steps": 40, **options})
    return HybridTrainer(make_model(), args, make_table(), callbacks=list(callbacks))


def make_transformer_trainer(folder: Path, output: Path, **options) -> HybridTrainer:
    """The model has no dropout; texts vary in length, and some passages have a hard negative."""
    keys = [(group, lang) for group in range(32) for lang in ("de", "en")]
    table = AlignedTable.from_columns(
        {
            "group_id": [str(group) for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [f"{lang} river {group} " + "sea " * (group % 5) for group, lang in keys],
            "passage": [f"{lang} mountains {group} " * (1 + group % 4) for group, lang in keys],
            "negatives": [
                [f"{lang} sea {group}"] if group % 3 == 0 else [] for group, lang in keys
            ],
        }
    )
    model = BiEncoder.from_pretrained(folder)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(model.backbone.model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    options = {
        "batch_size": 16,
        "max_steps": 20,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "learn_temperature": True,
        "micro_batch_tokens": 60,
        "cached_activation_tokens": 100,
        **options,
    }
    return HybridTrainer(model, make_args(output, **options), table)


def losses(trainer: HybridTrainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


class RecordingTrainer(HybridTrainer):
    """Keeps the steps whose batches were fetched."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.fetched: list[int] = []
        plan = self.sampler.batch
        self.sampler.batch = lambda step: (self.fetched.append(step), plan(step))[1]


class Task:
    """An evaluator whose score rises to a peak at the third evaluation, then falls."""

    name = "made-up"

    def __init__(self):
        self.calls = 0

    def evaluate(self, model, batch_size=8):
        vectors = model.encode_queries(["en question 1"], batch_size=batch_size)
        assert vectors.shape == (1, model.embedding_dim)
        self.calls += 1
        score = 1 - abs(self.calls - 3) / 10

        class Results:
            @staticmethod
            def flat():
                return {"multi_map": score, "rank_distance": 5.0}

        return Results()


def weights(model: BiEncoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)
