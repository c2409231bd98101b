"""The command evaluate: what it writes, and what it refuses."""

import inspect
import json
import re

import pytest
from chain_folders import saved_chain
from model_folders import bert_folder, edit_json  # noqa: F401
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules

from hybrid_fast.cli import main
from hybrid_fast.models import BiEncoder


def test_evaluate_writes_results_and_report(project, model, capsys):
    main("evaluate m --task xquad-r --data task --candidate-text sentence --out e".split())
    captured = capsys.readouterr()
    files = {path.name for path in (project / "e").iterdir()}
    assert files >= {"report.html", "results.json"}
    results = json.loads((project / "e/results.json").read_text())
    assert (results["model"], results["settings"]["candidate_text"]) == ("m", "sentence")
    assert captured.out.endswith("report: e/report.html\n")
    warning, loaded = captured.err.splitlines()
    assert warning.startswith("hybrid-fast: warning: this is not xquad-r as published")
    assert loaded == (
        "hybrid-fast: Loaded m: cosine similarity, static, embeddings of norm 1, no prompts, "
        "float32, cpu"
    )


OPTIONS = {
    "--query-prompt": r"Instruct: find\nQuery: ",
    "--passage-prompt": "passage: ",
    "--pooling": "last",
    "--similarity": "dot",
    "--truncate-dim": "8",
    "--max-passage-length": "33",
    "--max-length": "22",
    "--dtype": "bf16",
    "--device": "cpu",
    "--attn-implementation": "eager",
    "--revision": "abc",
    "--adapter": "some/adapter",
}


def test_evaluate_takes_what_from_pretrained_takes(
    project,
    bert_folder,  # noqa: F811
    capsys,
    monkeypatch,
):
    given = {}

    def load(cls, path, *, adapter, **options):
        given.update(options, adapter=adapter)
        return from_pretrained(path, **options)

    from_pretrained = BiEncoder.from_pretrained
    monkeypatch.setattr(BiEncoder, "from_pretrained", classmethod(load))
    flags = ["--no-normalize", "--bidirectional", "--trust-remote-code"]
    words = [word for pair in OPTIONS.items() for word in pair]
    command = ["evaluate", str(bert_folder), "--task", "xquad-r", "--data", "task", "--out", "e"]
    main([*command, *words, *flags])
    prompts = {"query": "Instruct: find\nQuery: ", "passage": "passage: "}
    assert given == {
        "adapter": "some/adapter",
        "query_prompt": prompts["query"],
        "passage_prompt": prompts["passage"],
        "pooling": "last",
        "normalize": False,
        "similarity": "dot",
        "truncate_dim": 8,
        "max_query_length": 22,
        "max_passage_length": 33,
        "dtype": "bf16",
        "device": "cpu",
        "attn_implementation": "eager",
        "bidirectional": True,
        "revision": "abc",
        "trust_remote_code": True,
    }
    parameters = inspect.signature(from_pretrained).parameters
    assert set(given) == {*parameters} - {"path_or_hub_name", "dropout"}  # of training
    settings = json.loads((project / "e/results.json").read_text())["settings"]
    assert settings["prompts"] == prompts
    assert settings["max_length"] == {"query": 22, "passage": 33}
    assert (settings["similarity"], settings["dtype"]) == ("dot", "bfloat16")
    assert settings["truncate_dim"] == 8
    said = capsys.readouterr().err
    assert "dot similarity, last pooling, embeddings of any norm, query prompt 'Instruct" in said


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--pooling=mea", "did you mean 'mean'"),
        ("--similarity=l2", "similarity is 'l2'; it must be one of 'cosine', 'dot'"),
        ("--truncate-dim=99", "truncate_dim is 99; embeddings of this model have 32 dimensions"),
        ("--dtype=float8", "dtype is 'float8'"),
        ("--device=nowhere", "device is 'nowhere', which cannot be used here"),
        ("--max-length=9999", "max_query_length is 9999; it must be a whole number from 3 to 300"),
    ],
)
def test_options_that_the_encoder_cannot_follow(
    project,
    bert_folder,  # noqa: F811
    fails,
    option,
    message,
):
    assert message in fails("evaluate", bert_folder, "--task=xquad-r", "--data=task", option)


def test_evaluate_puts_baselines_beside_the_model(project, model, capsys):
    names = ["bm25", "untrained", "fusion", "rrf"]
    command = "evaluate m --task xquad-r --data task --out e --baselines"
    main([*command.split(), "bm25, untrained,fusion,rrf"])
    content = json.loads((project / "e/results.json").read_text())
    assert [run["model"] for run in content["runs"]] == ["m", *names]
    for folder, run in zip(["model", *names], content["runs"], strict=True):
        assert json.loads((project / "e" / folder / "results.json").read_text()) == run
        assert (project / "e" / folder / "per_query.npz").is_file()
    assert {row["a"] for row in content["comparison"]["differences"]} <= {"m", *names}
    page = (project / "e/report.html").read_text(encoding="utf-8")
    assert all(f"<bdi>{name}</bdi>" in page for name in ("m", *names))
    assert "bm25" in capsys.readouterr().out


def test_evaluate_through_a_store(project, model, fails, capsys):
    command = "evaluate m --task xquad-r --data task --store faiss:s --encoded v --index flat --out"
    for out in ("first", "second"):
        main([*command.split(), out])
    assert (project / "v/manifest.json").is_file()
    first, second = (
        json.loads((project / out / "results.json").read_text()) for out in ("first", "second")
    )
    assert first == second
    assert first["settings"]["store"]["address"] == "faiss:s"
    assert first["metrics"]["multi"]["map"] is None
    printed = capsys.readouterr().out
    assert "All metrics" in printed
    assert "By query language" not in printed
    main("report first second --out r".split())
    assert "the runs have no mAP, being evaluated through a store" in capsys.readouterr().err
    message = fails(*"evaluate m --task builtin --languages de --store faiss:s".split())
    assert "was not made of the candidates of task 'builtin'" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("m --task xquad-r --data task --baselines bm52", "did you mean 'bm25'"),
        ("m --task xquad-r --data task --baselines BM25", "did you mean 'bm25'"),
        ("m --task mirakl --data task", "did you mean 'miracl'"),
        ("m --task miracl --data nowhere", "or 'miracl/miracl' to fetch it from the hub"),
        ("m --task xquad-r --data task --languages de,xx", "has no xx; its languages are"),
        ("m --task xquad-r --data task --split dev", "has no split: leave out split='dev'"),
        ("m --task squadr --data task", "there is no task 'squadr'"),
        ("m --task xquad-r", "task 'xquad-r' needs data"),
        ("m --task xquad-r --data nowhere", "data folder 'nowhere' not found"),
        ("m --task builtin --data task", "leave out data"),
        ("m --task xquad-r --data task --candidate-text x", "candidate_text is 'x'"),
        ("task --task xquad-r --data task", "task holds neither modules.json nor config.json"),
        ("items.jsonl --task xquad-r --data task", "items.jsonl is a file"),
        ("a:b --task xquad-r --data task", "there is no folder a:b"),
        ("m --task xquad-r --data task --index flat", "--index is given without --store"),
        ("m --task xquad-r --data task --store fais:s", "did you mean 'faiss'"),
        ("m --task xquad-r --data task --store faiss:s --baselines bm25", "leave out one of them"),
        ("m --task xquad-r --data task --store faiss:s --index flad", "did you mean 'flat'"),
        ("m --task xquad-r --data task --store faiss:s --store-option k=1", "has no option 'k'"),
    ],
)
def test_what_cannot_be_evaluated(project, model, fails, arguments, message):
    assert message in fails("evaluate", *arguments.split(), "--out", "o")
    assert not (project / "o").exists()


def test_a_hub_that_cannot_be_reached(project, fails, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = "evaluate some/model --task xquad-r --data task --out o"
    message = "there is no folder some/model, and the model 'some/model' could not be fetched"
    assert message in fails(*command.split())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules.json", b"{", "modules.json:1: malformed JSON"),
        ("model.safetensors", b"xx", "m cannot be loaded"),
        ("model.safetensors", None, "m holds no model.safetensors"),
    ],
)
def test_a_damaged_model(project, model, fails, name, content, message):
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    command = "evaluate m --task xquad-r --data task --out o"
    assert message in fails(*command.split())
    assert not (project / "o").exists()


def test_a_model_that_gives_nan(project, model, fails):
    tensors = load_file(model / "model.safetensors")
    tensors["embedding.weight"][:] = float("nan")
    save_file(tensors, model / "model.safetensors")
    message = fails(*"evaluate m --task xquad-r --data task --out o".split())
    assert re.search(r"row 0 \(language de\) holds NaN or infinity", message)
    assert not (project / "o").exists()


@pytest.fixture
def words(project):
    """A chain of sentence-transformers that cannot be trained."""
    words = ["question", "answer", *map(str, range(20))]
    return saved_chain(project / "words", [modules.BoW(words), modules.Normalize()])


def test_chains_that_cannot_be_trained_are_evaluated(project, words, capsys):
    main("evaluate words --task xquad-r --data task --query-prompt Q: --out e".split())
    assert (
        "by sentence-transformers: words/modules.json lists BoW (counts" in capsys.readouterr().err
    )
    results = json.loads((project / "e/results.json").read_text())
    assert results["model"] == "words"
    assert results["settings"]["prompts"]["query"] == "Q:"


def test_their_untrained_baseline_is_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main("evaluate words --task xquad-r --data task --baselines untrained".split())
    message = "the model is a SentenceTransformer, .* leave out the baseline 'untrained'"
    assert re.search(message, capsys.readouterr().err)


def test_code_of_a_model_is_run_if_it_is_trusted(words, capsys):
    (words / "words_of_mine.py").write_text(
        "from sentence_transformers.sentence_transformer.modules import BoW\n\n"
        "class Words(BoW):\n    pass\n"
    )
    edit_json(words / "modules.json", lambda each: each[0].update(type="words_of_mine.Words"))
    command = "evaluate words --task xquad-r --data task".split()
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "words_of_mine.Words, a class" in capsys.readouterr().err
    main([*command, "--trust-remote-code"])
    assert "words_of_mine.Words of words is no kind of" in capsys.readouterr().err


def test_an_adapter_is_put_into_the_model(project, bert_folder, capsys):  # noqa: F811
    pytest.importorskip("peft")
    model = BiEncoder.from_pretrained(bert_folder)
    model.add_adapter({"r": 2, "init_lora_weights": False})
    model.save_pretrained("adapted", merge_adapter=False)
    task = ["--task", "xquad-r", "--data", "task"]
    main(["evaluate", str(bert_folder), "--adapter", "adapted", *task, "--run", "beside"])
    main(["evaluate", "adapted", *task, "--run", "alone"])
    main(["evaluate", str(bert_folder), *task, "--run", "without"])
    beside, alone, without = (
        [line.split()[4] for line in (project / run).read_text().splitlines()]  # scores
        for run in ("beside", "alone", "without")
    )
    assert beside == alone != without
