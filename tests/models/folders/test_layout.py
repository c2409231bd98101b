"""Reading folders: older sentence-transformers files, and everything that is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from chain_folders import assert_same_vectors

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.folders.layout import read_layout, write_layout


@pytest.fixture
def old_folder(bert_folder, tmp_path):
    """A folder as sentence-transformers 2 wrote it."""
    folder = shutil.copytree(bert_folder, tmp_path / "old")
    names = ["Transformer", "Pooling", "Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(names, ["", "1_Pooling", "2_Normalize"], strict=True))
    ]
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}
    pooling |= {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}
    write(folder / "modules.json", modules)
    write(folder / "1_Pooling" / "config.json", pooling)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    write(folder / "config_sentence_transformers.json", {"prompts": {"passage": "the "}})
    return folder


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_old_folder(old_folder):
    layout = read_layout(old_folder)
    assert (layout.pooling, layout.normalize, layout.lowercase) == ("cls", True, True)
    assert layout.max_lengths == {"query": 20, "passage": 20}
    assert layout.prompts == {"query": "", "passage": "the "}


@pytest.mark.parametrize("family", ["roberta", "distilbert", "albert", "xlm-roberta", "xlnet"])
def test_older_names_of_the_file_of_lengths(old_folder, family):
    file = old_folder / "sentence_bert_config.json"
    file.rename(old_folder / f"sentence_{family}_config.json")
    write(file, {})  # the first with content counts
    assert read_layout(old_folder).max_lengths == {"query": 20, "passage": 20}
    write(file, {"max_seq_length": 30, "query_length": 9})
    layout = read_layout(old_folder)
    assert (layout.max_lengths, layout.lowercase) == ({"query": 9, "passage": 30}, False)


@pytest.mark.parametrize(
    ("keys", "pooling"),
    [
        (["max_tokens"], "max"),
        (["mean_sqrt_len_tokens"], "mean_sqrt_len_tokens"),
        (["weightedmean_tokens"], "weightedmean"),
        (["lasttoken"], "last"),
        (["mean_tokens", "cls_token", "lasttoken"], "cls+mean+last"),
        ([], "mean"),
    ],
)
def test_older_keys_of_poolings(old_folder, texts, keys, pooling):
    config = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False}
    config |= {f"pooling_mode_{key}": True for key in keys}
    write(old_folder / "1_Pooling" / "config.json", config)
    (old_folder / "config_sentence_transformers.json").unlink()
    model = BiEncoder.from_pretrained(old_folder)
    assert model.backbone.pooling == pooling
    assert_same_vectors(model, old_folder, texts)


def test_a_pooling_that_names_no_mode_is_the_mean(old_folder, texts):
    write(old_folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32})
    (old_folder / "config_sentence_transformers.json").unlink()
    model = BiEncoder.from_pretrained(old_folder)
    assert model.backbone.pooling == "mean"
    assert_same_vectors(model, old_folder, texts)


def test_options_of_loading_that_change_no_vector(old_folder, texts):
    harmless = {"model_args": {"add_pooling_layer": False}, "tokenizer_args": {"use_fast": True}}
    expected = BiEncoder.from_pretrained(old_folder).encode_queries(texts)
    write(old_folder / "sentence_bert_config.json", {"do_lower_case": True, **harmless})
    model = BiEncoder.from_pretrained(old_folder, max_query_length=20)
    np.testing.assert_array_equal(model.encode_queries(texts), expected)


@pytest.mark.parametrize(
    ("lengths", "of_tokenizer", "expected"),
    [
        ({"max_seq_length": 20}, 9, (20, 20)),
        ({"max_seq_length": 9}, 20, (9, 9)),
        ({"max_seq_length": None}, 9, (9, 9)),
        ({"query_length": 12}, 9, (12, 9)),
        ({"max_seq_length": 12, "document_length": 20}, 9, (12, 20)),
    ],
)
def test_lengths_of_the_folder_come_before_the_tokenizer_s(
    old_folder, texts, lengths, of_tokenizer, expected
):
    tokenizer = json.loads((old_folder / "tokenizer_config.json").read_text())
    write(old_folder / "tokenizer_config.json", tokenizer | {"model_max_length": of_tokenizer})
    (old_folder / "config_sentence_transformers.json").unlink()
    write(old_folder / "sentence_bert_config.json", lengths)
    model = BiEncoder.from_pretrained(old_folder)
    assert (model.max_length["query"], model.max_length["passage"]) == expected
    assert_same_vectors(model, old_folder, [*texts, " ".join(texts)])


@pytest.mark.parametrize("length", [0, "20", True, 2.5])
def test_lengths_that_are_none(old_folder, length):
    write(old_folder / "sentence_bert_config.json", {"max_seq_length": length})
    with pytest.raises(ValueError, match=f"max_seq_length is {length!r}; a number of tokens"):
        BiEncoder.from_pretrained(old_folder)


def test_truncate_dim_is_read_and_written(old_folder):
    write(old_folder / "config_sentence_transformers.json", {"truncate_dim": 8})
    layout = read_layout(old_folder)
    assert layout.truncate_dim == 8
    folder = old_folder / "written"
    folder.mkdir()
    write_layout(replace(layout, weights_folder=folder), 32)
    assert read_layout(folder) == replace(layout, weights_folder=folder, lowercase=False)


def test_lower_case_is_applied_and_saved_with_the_tokenizer(old_folder, tmp_path):
    model = BiEncoder.from_pretrained(old_folder)
    vectors = model.encode_queries(["THE RIVER"])
    np.testing.assert_array_equal(vectors, model.encode_queries(["the river"]))
    model.save_pretrained(tmp_path / "saved")
    loaded = BiEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(vectors, loaded.encode_queries(["THE RIVER"]))


def test_no_normalize_module_and_no_settings(old_folder):
    modules = json.loads((old_folder / "modules.json").read_text())
    write(old_folder / "modules.json", modules[:2])
    (old_folder / "config_sentence_transformers.json").unlink()
    (old_folder / "sentence_bert_config.json").unlink()
    model = BiEncoder.from_pretrained(old_folder)
    assert not model.normalize
    assert model.prompts == {"query": "", "passage": ""}
    assert model.max_length == {"query": 300, "passage": 300}  # what the model takes


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "[{]", "modules.json:1: malformed JSON"),
        ("modules.json", [], "lists nothing"),
        ("modules.json", {}, "modules.json holds a dict; a list is needed"),
        ("modules.json", [{"type": "a.Transformer"}], "entry 0 .* 'path'"),
        (
            "modules.json",
            [
                {"path": "", "type": "sentence_transformers.models.Transformer"},
                {"path": "1_Dense", "type": "sentence_transformers.models.Dense"},
            ],
            "lists Transformer, Dense; needed are Transformer and Pooling, or StaticEmbedding, and",
        ),
        (
            "modules.json",
            [
                {"path": "", "type": "custom_st.Transformer"},
                {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ],
            r"lists the module custom_st.Transformer, .* not run; give trust_remote_code=True",
        ),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "is 'fill-mask'; only"),
        ("1_Pooling/config.json", {"pooling_mode": "maximum"}, "is 'maximum': .* mean 'max'"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "men"]}, r"is \['cls', 'men'\]: .*mean"),
        ("1_Pooling/config.json", {"pooling_mode": []}, r"pooling_mode is \[\]: .*one or more of"),
        ("1_Pooling/config.json", {"pooling_mode": 3}, "pooling_mode is 3"),
        ("1_Pooling/config.json", {}, "pooling_mode is missing"),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "prompt .*3"),
        ("config_sentence_transformers.json", {"truncate_dim": "8"}, "truncate_dim is '8'"),
        ("sentence_bert_config.json", {"query_expansion": {"length": 9}}, "query_expansion is {"),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "bert"}, "_path is 'bert'; only"),
        ("sentence_bert_config.json", {"config_args": {"num_labels": 3}}, "own: num_labels"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"a": 1}}}, "own: a"),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "get_text_features"}}},
            "embedded by .*get_text_features",
        ),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "forward"}, "message": {"format": "flat"}}},
            "texts are put into the tokenizer's chat template",
        ),
        ("config_sentence_transformers.json", {"truncate_dim": 33}, "33; .* have 32 dim"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim is 0; a number"),
        ("config_sentence_transformers.json", {"prompts": ["q: "]}, "prompts is .* a dict"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"qa": "q: "}, "default_prompt_name": "qaa"},
            "default_prompt_name is 'qaa'; .* did you mean 'qa'",
        ),
        (
            "config_sentence_transformers.json",
            {"model_type": "CrossEncoder"},
            "is a CrossEncoder, which scores pairs of texts",
        ),
    ],
)
def test_files_that_cannot_be_served(old_folder, file, content, message):
    write(old_folder / file, content)
    with pytest.raises((ValueError, TypeError), match=message):
        BiEncoder.from_pretrained(old_folder)


def test_missing_module_folder(old_folder):
    shutil.rmtree(old_folder / "1_Pooling")
    with pytest.raises(FileNotFoundError, match=r"1_Pooling holds no config.json, .* copy"):
        BiEncoder.from_pretrained(old_folder)


def test_path_outside_the_folder(old_folder):
    write(old_folder / "modules.json", [{"path": "../x", "type": "a.StaticEmbedding"}])
    with pytest.raises(ValueError, match="outside"):
        BiEncoder.from_pretrained(old_folder)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds neither modules\.json nor config\.json"):
        BiEncoder.from_pretrained(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        BiEncoder.from_pretrained(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match="is a file"):
        BiEncoder.from_pretrained(tmp_path / "file")


def test_hub_that_does_not_know_the_name(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(name, **_):
        raise LocalEntryNotFoundError(f"cannot find {name}\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(
        FileNotFoundError,
        match=r"no folder some/model.*hub .*: cannot find some/model\).* give the folder",
    ):
        BiEncoder.from_pretrained("some/model")


def test_hub_model(monkeypatch, bert_folder, texts):
    asked = {}

    def fetch(name, **options):
        asked.update(options, name=name)
        return str(bert_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    model = BiEncoder.from_pretrained("some/model", revision="abc")
    assert (asked["name"], asked["revision"]) == ("some/model", "abc")
    assert not any(pattern.endswith((".bin", ".pt", ".pkl")) for pattern in asked["allow_patterns"])
    assert model.name_or_path == "some/model"
    np.testing.assert_array_equal(
        model.encode_queries(texts), BiEncoder.from_pretrained(bert_folder).encode_queries(texts)
    )


@pytest.mark.parametrize(
    "option", [{"pooling": "cls"}, {"max_query_length": 9}, {"attn_implementation": "sdpa"}]
)
def test_static_folder_refuses_transformer_options(tmp_path, texts, option):
    BiEncoder.static(texts, dim=16, vocab_size=99).save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match=f"static encoder, which has no {next(iter(option))}"):
        BiEncoder.from_pretrained(tmp_path / "saved", **option)
