"""Recipes: what is read and its types, and each mistake named with file, line and field."""

import re

import pytest

from hybrid_fast.cli.checks import make_arguments
from hybrid_fast.cli.recipe import Recipe, load_recipe, located
from hybrid_fast.cli.typed import typed_value
from hybrid_fast.cli.yaml_text import parse_yaml


def test_fields_go_to_the_recipe_or_to_the_training_arguments(write_recipe, project):
    recipe, training, places = load_recipe(write_recipe("alpha: 1", "data_root: ."))
    assert recipe == Recipe(
        model="static",
        model_options={"dim": 16, "vocab_size": 300},
        train=[{"path": "items.jsonl"}],
        data_root=str(project),
        task="xquad-r",
        task_data="task",
    )
    assert training == {
        "kind": "hybrid",
        "batch_size": 8,
        "max_steps": 12,
        "learning_rate": 0.01,
        "logging_steps": 4,
        "save_strategy": "no",
        "use_cpu": True,
        "alpha": 1.0,
    }
    assert type(training["alpha"]) is float
    assert re.fullmatch(r".*recipe\.yaml:3", places["train"])
    args = make_arguments(training, project / "out")
    assert (args.alpha, args.learning_rate, args.save_strategy) == (1, 0.01, "no")
    assert not (project / "out").exists()


def test_data_root_starts_at_the_folder_of_the_recipe(write_recipe, project, monkeypatch):
    (project.parent / "elsewhere/task").mkdir(parents=True)
    (project.parent / "elsewhere/items.jsonl").touch()
    path = write_recipe("data_root: ../elsewhere")
    monkeypatch.chdir("/")
    recipe, _, _ = load_recipe(path)
    assert recipe.data_root == str(project / "../elsewhere")


def test_the_command_line_overrides_the_file(write_recipe):
    overrides = {
        "alpha": "0.3",
        "language_sampling": "{de: 1, en: 2.5}",
        "learning_rate": "1e-3",
        "task": "null",
        "margin": "-1",
        "report_to": "[none]",
    }
    recipe, training, places = load_recipe(write_recipe(), overrides)
    assert recipe.task is None
    assert training["alpha"] == 0.3
    assert training["language_sampling"] == {"de": 1, "en": 2.5}
    assert training["learning_rate"] == 0.001
    assert training["margin"] == -1
    assert training["report_to"] == ["none"]
    assert places["alpha"] == "command line"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("language_sampling", "proportional", "proportional"),
        ("language_sampling", "0.5", 0.5),
        ("pair_weights", "{de-en: 2, en-de: 0.5}", {"de-en": 2, "en-de": 0.5}),
        ("frozen_layers", "6", 6),
        ("frozen_layers", "embeddings", ["embeddings"]),
        ("frozen_layers", "[embeddings, layer.0]", ["embeddings", "layer.0"]),
        ("layer_lr_decay", "0.9", 0.9),
        ("lr_multipliers", "{embeddings: 0.1, head: 10}", {"embeddings": 0.1, "head": 10}),
        ("dropout", "0", 0),
    ],
)
def test_fields_of_several_types_are_yaml(write_recipe, project, name, text, value):
    for line, overrides in ((f"{name}: {text}", {}), ("", {name: text})):
        _, training, _ = load_recipe(write_recipe(line), overrides)
        assert getattr(make_arguments(training, project / "out"), name) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2E3", 2000.0),
        (".5", 0.5),
        ("-.inf", -float("inf")),
        ("12", 12),
        ("no", "no"),
        ("{no: 1}", {"no": 1}),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("'1'", "1"),
        ("1.2.3", "1.2.3"),
        ("e3", "e3"),
        ("", None),
    ],
)
def test_numbers_and_truth_are_those_of_yaml_1_2(text, value):
    assert parse_yaml(text, "here") == value
    assert type(parse_yaml(text, "here")) is type(value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alhpa: 0.5", r"unknown field 'alhpa'; did you mean 'alpha'\?"),
        ("qwxz: 0.5", "unknown field 'qwxz'$"),
        ("alpha: x", "alpha is 'x'; a number is needed"),
        ("alpha: true", "alpha is True; a number is needed"),
        ("temperature:", "temperature has no value; a number is needed"),
        ("batch_size: 8.5", "batch_size is 8.5; a whole number is needed"),
        ("symmetric: yes", "symmetric is 'yes'; true or false is needed"),
        ("kind: 3", "kind is 3; text is needed"),
        (
            "language_sampling: {en: x}",
            "language_sampling is .*; text, a number or a mapping of numbers",
        ),
        ("language_sampling: {1: 2}", "language_sampling is {1: 2}"),
        ("frozen_layers: {a: 1}", "a whole number, text or a list of texts is needed"),
        ("frozen_layer: 2", r"unknown field 'frozen_layer'; did you mean 'frozen_layers'\?"),
        ("lr_multipliers: {a: x}", "lr_multipliers is .*; a mapping of numbers"),
        ("adapter: 5", "adapter is 5; a mapping is needed$"),
        ("pair_weights: [a]", r"pair_weights is \['a'\]; a mapping of numbers is needed$"),
        ("language_sampling:", "language_sampling has no value; text, a number or a mapping of"),
        ("layer_lr_decay: high", "layer_lr_decay is 'high'; a number is needed"),
        ("output_dir: x", "output_dir is not a field; use --out"),
        ("resume_from_checkpoint: x", "resume_from_checkpoint is not a field; use --resume"),
        ("alpha: 0.5\nalpha: 0.6", "alpha occurs twice, first in .*recipe.yaml:13"),
        ("train: {path: items.jsonl}", "train is .*; text or a list of mappings is needed"),
        ("train: [items.jsonl]", "train is .*; text or a list of mappings is needed"),
        ("train: []", "train has no source"),
        ("train: [{path: 5}]", "train, source 1: path is 5; text or a list of texts is needed"),
        ("train: [{path: a, columns: query}]", "source 1: columns is 'query'; a mapping of texts"),
        ("train: [{path: a}, {path: b, limit: x}]", "source 2: limit is 'x'; a whole number"),
        ("train: [{path: a, on_empty: drop}]", "on_empty is 'drop'; 'error' or 'skip' is needed"),
        ("model_options: {dmi: 3}", "has no option 'dmi', only dim, .*did you mean 'dim'"),
        ("model_options: {dim: x}", "model_options: dim is 'x'; a whole number is needed"),
        ("model_options: [3]", r"model_options is \[3\]; a mapping is needed"),
        ("task_options: {language: [de]}", "did you mean 'languages'"),
        ("task_options: {languages: de}", "languages is 'de'; a list of texts is needed"),
        ("task_options: {data: x}", "task_options has no option 'data'"),
        ("alpha: [", "not valid YAML"),
        ("- alpha", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_file_line_and_field(write_recipe, line, message):
    path = write_recipe(line)
    with pytest.raises(ValueError, match=message) as error:
        load_recipe(path)
    place = re.match(r"(.*recipe\.yaml):(\d+): ", str(error.value))
    assert place, str(error.value)
    name = line.partition(":")[0]
    assert path.read_text().splitlines()[int(place[2]) - 1].startswith(name) or "YAML" in message


def test_options_of_a_pretrained_model_are_its_own(write_recipe):
    path = write_recipe("model: some/name", "model_options: {dim: 3}")
    with pytest.raises(ValueError, match="has no option 'dim', only adapter, pooling"):
        load_recipe(path)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"hello", b"- a\n- b\n", b"3"])
def test_a_file_without_fields(tmp_path, content):
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"r\.yaml: holds no fields; 'name: value' lines"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"a: \x00", "not valid YAML: unacceptable character"),
        (b"1: 2", "1 is not the name of a field"),
        (b"kind: 2020-13-40", "not valid YAML: month must be"),
        (b"kind: !!python/object/apply:os.getcwd []", "not valid YAML: could not determine"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, message):
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "r.yaml")


def test_a_recipe_that_is_not_there(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no file {path}"):
            load_recipe(path)


def test_mistakes_of_the_command_line_say_so(write_recipe):
    with pytest.raises(ValueError, match=r"^command line: alpha is 'x'"):
        load_recipe(write_recipe(), {"alpha": "x"})
    with pytest.raises(
        ValueError, match=r"^command line: unknown field 'knd'; did you mean 'kind'"
    ):
        load_recipe(write_recipe(), {"knd": "mono"})
    with pytest.raises(ValueError, match=r"^--language_sampling: not valid YAML"):
        load_recipe(write_recipe(), {"language_sampling": "{de: 1"})


def test_later_errors_about_a_field_get_its_place():
    places = {"alpha": "r.yaml:3"}
    with pytest.raises(ValueError, match=r"^r\.yaml:3: alpha is 2"), located(places):
        raise ValueError("alpha is 2; a number from 0 to 1 is needed")
    with pytest.raises(ValueError, match=r"^r\.yaml:3: alpha is None"), located(places):
        raise TypeError("alpha is None; a number is needed")
    for message in ("alphabet is 2", "", "no alpha"):
        with pytest.raises(ValueError, match=f"^{message}$"), located(places):
            raise ValueError(message)


@pytest.mark.parametrize(
    ("value", "annotation", "result"),
    [
        (1, float, 1.0),
        (1, float | int, 1),
        (1, float | None, 1.0),
        (None, float | None, None),
        ([1, "a"], list[int | str], [1, "a"]),
        ({"a": [1]}, dict[str, list[int]], {"a": [1]}),
    ],
)
def test_typed_values_that_fit(value, annotation, result):
    typed = typed_value("x", value, annotation, "here")
    assert typed == result
    assert type(typed) is type(result)


@pytest.mark.parametrize(
    ("value", "annotation", "needed"),
    [
        (True, int, "a whole number"),
        (1, bool, "true or false"),
        ([1, None], list[int], "a list of whole numbers"),
        ({"a": ["b"]}, dict[str, list[int]], "a mapping of lists of whole numbers"),
        (1.0, int | None, "a whole number"),
    ],
)
def test_typed_values_that_do_not_fit(value, annotation, needed):
    with pytest.raises(ValueError, match=f"^here: x is .*; {needed} is needed$"):
        typed_value("x", value, annotation, "here")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 8, "per_device_train_batch_size": 4}, "both given; leave out one"),
        ({"max_steps": 0}, "max_steps is 0 and num_train_epochs is 3.0"),
        ({"num_train_epochs": -1.0}, "max_steps is -1 and num_train_epochs is -1.0"),
        ({"kind": "hybrid", "batch_size": -4}, "batch_size is -4"),
    ],
)
def test_training_fields_that_cannot_be_served(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        make_arguments({"use_cpu": True, **fields}, tmp_path / "out")
