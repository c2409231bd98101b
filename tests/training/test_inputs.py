"""Whoever hands the trainer something else is told what to give, before anything is done."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from test_transformer_training import recompute_activations
from toy_training import Task, make_args, make_model, make_table

from hybrid_fast.data import AlignedTable
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.argument_checks import check_compilation


def make_task(languages=("de", "en")) -> RetrievalTask:
    return RetrievalTask(
        "own",
        [Query(f"q{n}", lang, f"{lang} question {n}") for lang in languages for n in range(3)],
        [
            Candidate(f"{lang}{n}", lang, f"{lang} answer {n}", [f"q{n}"])
            for lang in languages
            for n in range(3)
        ],
    )


@pytest.fixture
def given(tmp_path):
    """What is right."""
    return {"model": make_model(), "args": make_args(tmp_path), "train_table": make_table()}


def message_of(error: type[Exception], arguments: dict) -> str:
    with pytest.raises(error) as caught:
        HybridTrainer(**arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda folder: "owner/e5", "model is 'owner/e5'; a BiEncoder is needed: BiEncoder.from_p"),
        (lambda folder: folder, "BiEncoder.from_pretrained('"),
        (lambda folder: SentenceTransformer(str(folder), device="cpu"), "SentenceTransformer; a"),
        (lambda folder: BiEncoder.from_pretrained(folder).backbone.model, "BertModel; a BiEncoder"),
        (lambda folder: torch.nn.Linear(2, 2), "save it in a folder with its tokenizer"),
        (lambda folder: BiEncoder, "the class BiEncoder; a BiEncoder is needed"),
        (lambda folder: None, "model is None; a BiEncoder is needed"),
    ],
)
def test_models(given, bert_folder, tmp_path, make, hint):
    BiEncoder.from_pretrained(bert_folder).save_pretrained(tmp_path / "saved")
    given["model"] = make(tmp_path / "saved")
    assert hint in message_of(TypeError, given)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (
            lambda table: table.dataset,
            "Dataset; an AlignedTable is needed: load_table(data), with col",
        ),
        (
            lambda table: datasets.DatasetDict(train=table.dataset),
            "load_table(splits, split='train')",
        ),
        (lambda table: pd.DataFrame({"query": ["a"]}), "load_table(data), with columns={"),
        (lambda table: {"query": ["a"]}, "load_table(columns)"),
        (lambda table: "items.jsonl", "load_table('items.jsonl')"),
        (lambda table: [table, table], "AlignedTable.concatenate(tables)"),
        (lambda table: [{"query": "a"}], "load_table(data)"),
        (lambda table: AlignedTable, "the class AlignedTable"),
    ],
)
def test_tables(given, make, hint):
    given["train_table"] = make(given["train_table"])
    assert hint in message_of(TypeError, given)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda folder: transformers.TrainingArguments(folder, use_cpu=True), "the same fields"),
        (lambda folder: {"max_steps": 3}, "HybridTrainingArguments(**args)"),
        (lambda folder: folder, "HybridTrainingArguments(output_dir"),
        (lambda folder: None, "args is None"),
    ],
)
def test_arguments(given, tmp_path, make, hint):
    given["args"] = make(str(tmp_path))
    assert hint in message_of(TypeError, given)


class CallsModels:
    """As evaluators of sentence-transformers."""

    def __call__(self, model, output_path=None):
        return {"score": 1.0}


@pytest.mark.parametrize(
    ("evaluator", "hint"),
    [
        (make_table(), "AlignedTable; a task is needed: load_task(name, data=...), or a Retr"),
        ("builtin", "load_task('builtin', data=...)"),
        ([make_task()], "list; a task is needed: give one of them"),
        ({"de": make_task()}, "dict; a task is needed: give one of them"),
        (CallsModels(), "an object with evaluate(model, batch_size=...)"),
        (lambda prediction: {}, "function; a task is needed"),
        (RetrievalTask, "the class RetrievalTask"),
    ],
)
def test_evaluators(given, evaluator, hint):
    assert hint in message_of(TypeError, {**given, "evaluator": evaluator})
    with pytest.raises(TypeError, match="evaluator is "):
        HybridTrainer(**given).evaluate(evaluator)


def test_callbacks_and_optimisers(given):
    stopping = transformers.EarlyStoppingCallback()
    assert "callbacks=[callback]" in message_of(TypeError, {**given, "callbacks": stopping})
    wrong = {**given, "callbacks": [print]}
    assert "a callback is builtin_function_or_method" in message_of(TypeError, wrong)
    HybridTrainer(**given, callbacks=(transformers.ProgressCallback,))
    optimizer = torch.optim.SGD(given["model"].parameters(), 0.1)
    wrong = {**given, "optimizers": optimizer}
    assert "optimizers is SGD; a pair is needed" in message_of(TypeError, wrong)
    assert HybridTrainer(**given, optimizers=(optimizer, None)).optimizer is optimizer


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("compute_metrics", "give evaluator=load_task"),
        ("data_collator", "the batch plan makes the batches"),
        ("train_dataset", "give train_table=load_table"),
        ("eval_dataset", "give evaluator=load_task"),
        ("tokenizer", "the BiEncoder has its tokenizer"),
        ("processing_class", "the BiEncoder has its tokenizer"),
        ("loss", "temperature, symmetric, margin and negatives"),
        ("compute_loss_func", "temperature, symmetric, margin and negatives"),
        ("model_init", "hybrid-fast sweep"),
        ("preprocess_logits_for_metrics", "the evaluator computes the metrics"),
    ],
)
def test_arguments_of_other_trainers(given, name, hint):
    assert f"takes no {name}: " in message_of(TypeError, {**given, name: None})
    assert hint in message_of(TypeError, {**given, name: None})
    del given["train_table"]  # what is missing is not what they are told first
    assert hint in message_of(TypeError, {**given, name: None})


def test_a_name_of_nothing_is_python_s_own_error(given):
    assert "unexpected keyword argument 'evalautor'" in message_of(
        TypeError, {**given, "evalautor": None}
    )


def test_numbers_of_other_libraries_are_numbers(tmp_path):
    args = make_args(
        tmp_path,
        alpha=np.float32(0.5),
        temperature=torch.tensor(0.25),
        batch_size=np.int64(6),
        max_steps=1e1,
        learning_rate=np.float64(0.5),
        symmetric=np.True_,
        language_sampling={"de": np.float32(1), "en": np.int32(2)},
        token_store=tmp_path,
    )
    assert (args.alpha, args.temperature, args.batch_size, args.max_steps) == (0.5, 0.25, 6, 10)
    kinds = [type(value) for value in (args.alpha, args.batch_size, args.max_steps, args.symmetric)]
    assert kinds == [float, int, int, bool]
    assert [type(value) for value in args.language_sampling.values()] == [float, int]
    assert args.token_store == str(tmp_path)
    saving = make_args(
        tmp_path,
        alpha=np.float32(0.3),
        language_sampling={"de": np.float32(1), "en": np.float32(1), "fr": np.float32(1)},
        save_strategy="steps",
        save_steps=1,
        max_steps=1,
    )
    HybridTrainer(make_model(), saving, make_table()).train()
    assert (tmp_path / "checkpoint-1" / "plan.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "0.05"}, "temperature is '0.05'; a number is needed"),
        ({"temperature": True}, "temperature is True; a number is needed"),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'; a number is needed"),
        ({"max_steps": 2.5}, "max_steps is 2.5; a whole number is needed"),
        ({"batch_size": "8"}, "batch_size is '8'; a whole number is needed"),
        ({"symmetric": "false"}, "symmetric is 'false'; True or False is needed"),
        ({"bf16": "no"}, "bf16 is 'no'; True or False is needed"),
        ({"hub_model_id": 5}, "hub_model_id is 5; text is needed"),
    ],
)
def test_values_of_the_wrong_type_are_named(tmp_path, options, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        make_args(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"micro_batch_tokens": 0}, "micro_batch_tokens is 0"),
        ({"max_steps": 0}, "max_steps is 0 and num_train_epochs is 3.0"),
        ({"max_steps": -1, "num_train_epochs": 0}, "num_train_epochs is 0"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0; it must be at"),
        ({"per_device_eval_batch_size": 0}, "per_device_eval_batch_size is 0; it must be at l"),
        ({"log_level": "inf"}, "log_level is 'inf'; .*did you mean 'info'"),
        ({"torch_compile_mode": "fast"}, "torch_compile_mode is 'fast': "),
        ({"torch_compile_backend": "INDUCTOR"}, "torch_compile_backend is 'INDUCTOR'; .*'eager'"),
        ({"torch_compile": True, "torch_compile_backend": "ofi"}, "torch_compile_backend is 'ofi'"),
        ({"load_best_model_at_end": True}, "eval_strategy is 'no', but the best model"),
        ({"save_strategy": "best"}, "eval_strategy is 'no', but the best model"),
        ({"negatives": "hard_only"}, "negatives='hard_only' needs hard negatives"),
        ({"negatives": "hard_only", "symmetric": True}, "symmetric is not defined with"),
        ({"eval_strategy": "steps"}, "eval_strategy is 'steps', but there is no task"),
        ({"eval_on_start": True}, "eval_on_start is True, but there is no task"),
    ],
)
def test_values_that_cannot_be_served(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        HybridTrainer(make_model(), make_args(tmp_path, **options), make_table())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it is imported
@pytest.mark.parametrize(
    "given",
    [
        {"torch_compile_mode": "reduce-overhead"},
        {"torch_compile_mode": "max-autotune"},
        {"torch_compile_backend": "cudagraphs"},
    ],
)
def test_cuda_graphs_of_one_number_of_tokens_are_refused_on_a_gpu(tmp_path, monkeypatch, given):
    args, plain = make_args(tmp_path, **given), make_args(tmp_path, torch_compile=True)
    monkeypatch.setattr(type(args), "device", torch.device("cuda"))
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"^{name} is '{value}', which records CUDA graphs"):
        check_compilation(args)
    check_compilation(plain)


def test_the_debugging_backend_recomputes_nothing(tmp_path):
    recomputes = recompute_activations()
    make_args(tmp_path, torch_compile_backend="aot_eager", **recomputes)
    with pytest.raises(ValueError, match=r"backend is 'eager', which draws other .* 'aot_eager'"):
        make_args(tmp_path, torch_compile_backend="eager", **recomputes)


def test_a_batch_of_one_needs_hard_negatives(tmp_path):
    def trainer(table: AlignedTable, **options) -> HybridTrainer:
        return HybridTrainer(make_model(), make_args(tmp_path, batch_size=1, **options), table)

    message = "144 of 144 rows have no hard negatives: the loss of their queries is always 0"
    with pytest.raises(ValueError, match=message):
        trainer(make_table())
    with_negatives = make_table(negatives=True)
    trained = trainer(with_negatives, max_steps=3, logging_steps=1)
    trained.train()
    assert all(entry["loss"] > 0 for entry in trained.state.log_history if "loss" in entry)
    columns = with_negatives.dataset.to_dict()
    columns["negatives"][5] = []
    with pytest.raises(ValueError, match="1 of 144 rows have no hard negatives"):
        trainer(AlignedTable.from_columns(columns))


def test_the_score_of_the_best_model_is_one_that_the_task_reports(tmp_path):
    def trainer(metric: str, task: object, **options) -> HybridTrainer:
        args = make_args(
            tmp_path,
            eval_strategy="steps",
            eval_steps=5,
            max_steps=10,
            metric_for_best_model=metric,
            **options,
        )
        return HybridTrainer(make_model(), args, make_table(), task)

    for metric, hint in (("loss", ""), ("multi_mpa", "did you mean 'multi_map'"), ("eval_x", "")):
        with pytest.raises(ValueError, match=f"metric_for_best_model is .*{hint}"):
            trainer(metric, make_task())
    with pytest.raises(ValueError, match="metric_for_best_model is 'cross_map'"):
        trainer("cross_map", make_task(["de"]))
    trainer("eval_cross_map", make_task()).train()
    other = trainer("mono_map", Task())  # reports what it likes, known after an evaluation
    with pytest.raises(RuntimeError, match=r"step 5 of 10.*'mono_map'; it must be one of 'multi"):
        other.train()
    assert (tmp_path / "checkpoint-5" / "trainer_state.json").is_file()


def test_a_trainer_predicts_nothing(given):
    with pytest.raises(TypeError, match=r"encode with trainer\.encoder\.encode_queries"):
        HybridTrainer(**given).predict(given["train_table"])
