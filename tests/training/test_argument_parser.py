"""transformers.HfArgumentParser reads every field, from a command line, JSON and YAML."""

from __future__ import annotations

import dataclasses
import json

import pytest
from transformers import HfArgumentParser, TrainingArguments

from hybrid_fast.training import HybridTrainingArguments, fields

BASE = ["--use_cpu", "--report_to", "none", "--per_device_train_batch_size", "4"]
OF_TRANSFORMERS = TrainingArguments.__dataclass_fields__
OWN = [f for f in dataclasses.fields(HybridTrainingArguments) if f.name not in OF_TRANSFORMERS]

# Each of our own fields on a command line, and what is given in Python instead.
GIVEN = {
    "batch_size": (["4"], 4),
    "kind": (["mono"], "mono"),
    "alpha": (["0.25"], 0.25),
    "language_sampling": (['{"de": 2, "en": 0.5}'], {"de": 2, "en": 0.5}),
    "pair_weights": (['{"de-en": 2, "en-de": 1}'], {"de-en": 2, "en-de": 1}),
    "source_weights": (['{"x": 0.5}'], {"x": 0.5}),
    "pairs": (["single"], "single"),
    "temperature": (["0.02"], 0.02),
    "learn_temperature": ([], True),
    "loss_precision": (["bf16"], "bf16"),
    "symmetric": (["true"], True),
    "margin": (["0.1"], 0.1),
    "negatives": (["hard_only"], "hard_only"),
    "negatives_from": (["query"], "query"),
    "gather_negatives": (["false"], False),
    "frozen_layers": (['["embeddings", "layer.0"]'], ["embeddings", "layer.0"]),
    "layer_lr_decay": (["0.9"], 0.9),
    "lr_multipliers": (['{"embeddings": 0.1}'], {"embeddings": 0.1}),
    "dropout": (["0.2"], 0.2),
    "micro_batch_tokens": (["512"], 512),
    "cached_activation_tokens": (["0"], 0),
    "token_store": (["store"], "store"),
    "embed_repeats_once": (["no"], False),
    "adapter": (['{"r": 4, "use_dora": true}'], {"r": 4, "use_dora": True}),
    "merge_adapter": (["false"], False),
    "profile": ([], True),
}


@pytest.fixture(scope="module")
def parser():
    return HfArgumentParser(HybridTrainingArguments)


def parsed(parser, folder, *texts) -> HybridTrainingArguments:
    [args] = parser.parse_args_into_dataclasses(["--output_dir", str(folder), *BASE, *texts])
    return args


def made(folder, **options) -> HybridTrainingArguments:
    options = {"use_cpu": True, "report_to": "none", "per_device_train_batch_size": 4, **options}
    return HybridTrainingArguments(str(folder), **options)


def test_each_own_field_is_tried():
    assert {field.name for field in OWN} == set(GIVEN)
    for field in OWN:
        assert GIVEN[field.name][1] != field.default


@pytest.mark.parametrize("name", GIVEN)
def test_an_own_field_is_as_given_in_python(parser, tmp_path, name):
    texts, value = GIVEN[name]
    args = parsed(parser, tmp_path, f"--{name}", *texts)
    assert getattr(args, name) == value
    assert args.to_dict() == made(tmp_path, **{name: value}).to_dict()
    if texts:
        assert parsed(parser, tmp_path, f"--{name}={texts[0]}").to_dict() == args.to_dict()
        dashed = f"--{name.replace('_', '-')}"
        assert parsed(parser, tmp_path, dashed, *texts).to_dict() == args.to_dict()


def test_what_is_not_given_has_its_default(parser, tmp_path):
    assert parsed(parser, tmp_path).to_dict() == made(tmp_path).to_dict()
    assert "--no_gather_negatives" in parser.format_help()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("language_sampling", "proportional", "proportional"),
        ("language_sampling", "0.5", 0.5),
        ("language_sampling", "1", 1.0),
        ("frozen_layers", "6", 6),
        ("frozen_layers", "0", 0),
        ("frozen_layers", "embeddings", ["embeddings"]),
        ("lr_scheduler_kwargs", '{"min_lr": 1e-6}', {"min_lr": 1e-6}),
        ("optim_target_modules", "all-linear", "all-linear"),
        ("learning_rate", "2e-5", 2e-5),
        ("eval_strategy", "no", "no"),
    ],
)
def test_other_values_of_fields_that_take_several_types(parser, tmp_path, name, text, value):
    given = getattr(parsed(parser, tmp_path, f"--{name}", text), name)
    assert given == value
    assert type(given) is type(getattr(made(tmp_path, **{name: value}), name))


def test_truth_values(parser, tmp_path):
    for texts, value in (
        (["--symmetric"], True),
        (["--symmetric", "false"], False),
        (["--symmetric=1"], True),
        (["--gather_negatives"], True),
    ):
        name = texts[0].partition("=")[0].removeprefix("--")
        assert getattr(parsed(parser, tmp_path, *texts), name) is value
    assert parsed(parser, tmp_path, "--no_gather_negatives").gather_negatives is False
    assert parsed(parser, tmp_path, "--no-gather-negatives").gather_negatives is False
    assert parsed(parser, tmp_path, "--embed_repeats_once", "true").embed_repeats_once is True


def test_dicts_and_files_hold_values_or_texts(parser, tmp_path):
    values = {name: value for name, (_, value) in GIVEN.items()}
    expected = made(tmp_path, **values).to_dict()
    given = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", **values}
    as_text = {**given, "language_sampling": GIVEN["language_sampling"][0][0]}
    for entries in (given, as_text):
        (tmp_path / "args.json").write_text(json.dumps(entries))  # which is YAML too
        for [args] in (
            parser.parse_dict(entries),
            parser.parse_json_file(tmp_path / "args.json"),
            parser.parse_yaml_file(tmp_path / "args.json"),
        ):
            assert args.to_dict() == expected
    (tmp_path / "args.yaml").write_text(
        f"output_dir: {tmp_path}\nuse_cpu: true\nfrozen_layers: 2\nlanguage_sampling: 0.5\n"
        "pair_weights: {de-en: 2}\ndropout: 0\n"
    )
    [args] = parser.parse_yaml_file(tmp_path / "args.yaml")
    assert (args.frozen_layers, args.language_sampling, args.dropout) == (2, 0.5, 0)
    assert args.pair_weights == {"de-en": 2}
    with pytest.raises(ValueError, match="not used by the HfArgumentParser"):
        parser.parse_dict({**given, "alhpa": 0.5})


def test_what_other_classes_take_remains(tmp_path):
    @dataclasses.dataclass
    class Data:
        table: str = "builtin"

    parser = HfArgumentParser([HybridTrainingArguments, Data])
    texts = ["--output_dir", str(tmp_path), *BASE, "--table", "mine", "--alpha", "1", "--else", "x"]
    args, data, rest = parser.parse_args_into_dataclasses(texts, return_remaining_strings=True)
    assert (args.alpha, data.table, rest) == (1.0, "mine", ["--else", "x"])


@dataclasses.dataclass
class OfAProject(HybridTrainingArguments):
    """Fields of a subclass, of the types that ours have too."""

    tags: list[str] | str | None = None
    options: dict[str, int] | str | None = None
    threshold: float = 0.5
    number: int | str | None = None
    languages: list[str] = dataclasses.field(default_factory=list)
    made: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made = 3


def test_a_subclass_may_have_fields_of_its_own(tmp_path):
    own = {"tags": "river", "options": "options.json", "number": "7", "threshold": "1"}
    texts = [*(f"--{name}={text}" for name, text in own.items()), "--languages", "de", "en"]
    args = parsed(HfArgumentParser(OfAProject), tmp_path, *texts, "--frozen_layers", "2")
    assert (args.tags, args.options, args.number) == ("river", "options.json", "7")
    assert (args.threshold, args.languages, args.made) == (1.0, ["de", "en"], 3)
    assert args.frozen_layers == 2
    assert args.to_dict()["languages"] == ["de", "en"]
    with pytest.raises(TypeError, match=r"OfAProject has no argument 'treshold'; .* 'threshold'"):
        OfAProject(str(tmp_path), treshold=1)


def test_arguments_are_made_again_from_what_they_say(parser, tmp_path):
    texts = [text for name, (given, _) in GIVEN.items() for text in (f"--{name}", *given)]
    args = parsed(parser, tmp_path, *texts)
    again = HybridTrainingArguments(**json.loads(args.to_json_string()))
    assert again.to_dict() == args.to_dict() == dataclasses.replace(args).to_dict()
    assert dataclasses.replace(args, frozen_layers=1).frozen_layers == 1


@pytest.mark.parametrize(
    ("name", "text", "needed"),
    [
        ("pair_weights", "{de-en: 2}", r"a mapping .* JSON such as \{\"a\": 2\}: Expecting prop"),
        ("pair_weights", "de-en", "a mapping is needed"),
        ("pair_weights", "[1]", "a mapping is needed"),
        ("source_weights", '{"x": 1', "a mapping .* JSON"),
        ("language_sampling", "{de: 1}", "a mapping .* JSON"),
        ("lr_multipliers", "0.1", "a mapping is needed"),
        ("frozen_layers", '["a"', r"a list .* JSON such as \[\"a\", \"b\"\]"),
        ("lr_scheduler_kwargs", "{min_lr: 1}", "a mapping .* JSON"),
        ("lr_scheduler_kwargs", "min_lr", "a mapping is needed"),
    ],
)
def test_a_text_that_stands_for_nothing_is_named(parser, tmp_path, name, text, needed):
    with pytest.raises(ValueError, match=rf"^{name} is .*; {needed}"):
        parsed(parser, tmp_path, f"--{name}", text)
    with pytest.raises(ValueError, match=rf"^{name} is .*; {needed}"):
        made(tmp_path, **{name: text})


def test_each_field_of_transformers_is_parsed(parser, tmp_path):
    """Those that are served, with a text that is not the default's where a value is a scalar."""
    scalars = {int: "7", float: "0.5", bool: "true"}
    kept = ("output_dir", "use_cpu", "per_device_train_batch_size", "fp16", "torch_compile")
    needs_more = ("gradient_checkpointing", "load_best_model_at_end", "push_to_hub", "tf32")
    for field in dataclasses.fields(TrainingArguments):
        text = scalars.get(field.type)
        if text is None or field.name not in fields.SERVED or field.name in kept + needs_more:
            continue
        if field.name.startswith("dataloader_p"):  # need workers
            continue
        value = getattr(parsed(parser, tmp_path, f"--{field.name}", text), field.name)
        assert value == field.type(7 if text == "7" else 0.5 if text == "0.5" else True)
