"""The command as a user runs it: what it writes, and one line and status 2 for every mistake."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from hybrid_fast import __version__
from hybrid_fast.cli import main
from hybrid_fast.cli.comparison import read_runs
from hybrid_fast.cli.messages import own_messages
from hybrid_fast.models import BiEncoder


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with status 2 and one line on stderr; return that line."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if not_expected(line)]
        assert ended.value.code == 2
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("hybrid-fast: error: ")
        assert captured.out == ""
        return lines[0].removeprefix("hybrid-fast: error: ")

    return run


def not_expected(line: str) -> bool:
    """Tell lines of stderr from what training says and the warning of the small task."""
    expected = r"(step \d|Each query is contrasted|warning: this is not xquad-r as published)"
    return not re.match(f"hybrid-fast: {expected}", line)


@pytest.fixture
def model(project):
    """A saved model."""
    BiEncoder.static([f"de en question answer {n}" for n in range(9)], 8, 100).save_pretrained("m")
    return project / "m"


def test_version_and_help(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"hybrid-fast {__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        main(arguments)
        out = capsys.readouterr().out
        assert all(command in out for command in ("demo", "train", "evaluate", "report"))
    main(["train", "--help"])
    assert "--resume" in capsys.readouterr().out


def test_help_and_wrong_usage_import_nothing_heavy():
    code = (
        "import sys; from hybrid_fast.cli import main\n"
        "for arguments in (['train', '--help'], ['--version'], ['evaluate', 'm', '--task']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as ended: assert ended.code == 2\n"
        "assert not {'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'.*did you mean 'train'.*see hybrid-fast --help"),
        (["--verson"], "No such option: --verson.*see hybrid-fast --help"),
        (["train"], "Missing argument 'recipe'; see hybrid-fast train --help"),
        (["train", "recipe.yaml"], "Missing option '--out'; see hybrid-fast train --help"),
        (["train", "no.yaml", "--out", "o"], "there is no file no.yaml"),
        (["train", "--alpha", "0.3", "recipe.yaml", "--out", "o"], "fields come after the recipe"),
        (["train", "recipe.yaml", "--out", "o", "--alpha"], "--alpha has no value; write --alpha"),
        (["train", "recipe.yaml", "--out", "o", "--symmetric", "--alpha", "1"], "--symmetric has"),
        (["train", "recipe.yaml", "--out", "o", "stray"], "unexpected argument 'stray'"),
        (
            ["train", "recipe.yaml", "--out", "o", "--lerning-rate=1"],
            "did you mean 'learning_rate'",
        ),
        (["evaluate", "m"], "Missing option '--task'; see hybrid-fast evaluate --help"),
        (["evaluate", "m", "--task", "xquad-r", "--batch-size", "0"], "--batch-size"),
        (["demo", "--seed", "x"], "Invalid value for '--seed'"),
        (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
        (["report", "--out", "o"], "Missing argument"),
    ],
)
def test_wrong_usage(project, fails, arguments, message):
    assert re.search(message, fails(*arguments), re.IGNORECASE)
    assert not (project / "o").exists()


def test_train_writes_model_and_results(project, capsys):
    command = "train recipe.yaml --out runs/first --kind mono --seed=3 --language-sampling"
    main([*command.split(), "{de: 1, en: 2}"])
    captured = capsys.readouterr()
    files = sorted(p.name for p in (project / "runs/first").iterdir())
    assert files == ["model", "per_query.npz", "results.json"]
    results = json.loads((project / "runs/first/results.json").read_text())
    assert (results["kind"], results["seed"], results["model"]) == ("mono", 3, "first")
    assert BiEncoder.from_pretrained("runs/first/model").embedding_dim == 16
    assert "mono mAP" in captured.out
    assert captured.out.endswith("trained model: runs/first/model\n")
    steps = [line for line in captured.err.splitlines() if line.startswith("hybrid-fast: step")]
    rates = r"[\d,]+ pairs/s, [\d,]+ tokens/s, padding 0%"
    pattern = re.compile(rf"hybrid-fast: step (\d+) of 12: loss [\d.e-]+, {rates}")
    assert [pattern.fullmatch(line)[1] for line in steps] == ["4", "8", "12"]
    assert [*filter(not_expected, captured.err.splitlines())] == []
    assert "hybrid-fast: Each query is contrasted with " in captured.err
    assert "%|" not in captured.err


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_bar(project, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    main("train recipe.yaml --out o --eval_strategy steps --eval_steps 6".split())
    bars = [part for part in screen.getvalue().split("\r") if "%|" in part]
    assert all(part.startswith("train:") for part in bars)
    assert "12/12" in bars[-1]
    assert "loss" in bars[-1]
    assert "step 6: mono map" in screen.getvalue()
    assert "step 6 of 12" not in screen.getvalue()


def test_torchrun_trains_with_two_processes_and_writes_one_run(project):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = ["-m", "hybrid_fast.cli", "train", "recipe.yaml", "--out", "run"]
    ended = subprocess.run(
        [sys.executable, "-P", *launcher, *command, "--ddp_backend", "gloo"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    results = json.loads((project / "run" / "results.json").read_text())
    assert results["metrics"]["multi"]["map"] > 0
    assert ended.stdout.count("trained model: run/model") == 1


def test_profile_prints_where_the_time_went(project, capsys):
    main(["train", "recipe.yaml", "--out", "run", "--profile"])
    out = capsys.readouterr().out
    assert "12 updates in" in out
    rows = dict(re.findall(r"│ ([a-z ]+?) +│ +([\d.]+) │", out))
    parts = ("data", "encoder forward", "loss", "encoder backward", "optimiser", "other")
    assert all(float(rows[part]) > 0 for part in parts)
    assert {"waiting", "communication"} <= rows.keys()
    assert re.search(r"[\d,.]+ pairs/s, [\d,]+ tokens/s without padding, 0.0% of", out)


def test_training_without_a_task_and_on_real_weights_of_a_folder(
    project, model, write_recipe, capsys
):
    write_recipe("model: m", "model_options: {}", "task:", "task_data:")
    main("train recipe.yaml --out o --max_steps 2".split())
    assert [path.name for path in (project / "o").iterdir()] == ["model"]
    assert capsys.readouterr().out == "trained model: o/model\n"
    before, after = (load_file(project / f"{at}/model.safetensors") for at in ("m", "o/model"))
    assert not np.array_equal(before["embedding.weight"], after["embedding.weight"])


def test_an_unfinished_run_is_resumed_only_if_asked(project, fails, capsys):
    arguments = "train recipe.yaml --out o --save_strategy steps --save_steps 4".split()
    assert "no complete checkpoint to resume from" in fails(*arguments, "--resume")
    assert not (project / "o").exists()
    main(arguments)
    capsys.readouterr()
    whole = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    assert "o holds a trained model" in fails(*arguments)
    assert "o holds a trained model" in fails(*arguments, "--resume")
    shutil.rmtree(project / "o/model")
    shutil.rmtree(project / "o/checkpoints/checkpoint-12")
    assert "go on with --resume" in fails(*arguments)
    main([*arguments, "--resume"])
    assert "step 4 of 12" not in capsys.readouterr().err
    resumed = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    assert np.array_equal(whole, resumed)


def changed(rows: list[dict], position: int, **fields: object) -> str:
    rows[position] |= fields
    kept = [{name: value for name, value in row.items() if value != "drop"} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in kept)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query": "drop", "passage": None}, r"items\.jsonl:3: has neither a query nor a passage"),
        ({"lang": "drop"}, r"items\.jsonl:3: field 'lang' is missing"),
        ({"query": 5}, r"items\.jsonl:3: field 'query' must be text, got 5 \(int\)"),
        ({"passage": ["a"]}, r"items\.jsonl:3: field 'passage' must be text"),
        ({"passage": " "}, r"items\.jsonl:3: field 'passage'"),
        ({"lang": "xx"}, r"items\.jsonl:3: field 'lang': unknown language 'xx'"),
        ({"lang": "germn"}, r"items\.jsonl:3: field 'lang': .*did you mean 'de'"),
    ],
)
def test_bad_items_are_named_with_file_line_and_field(project, rows, fails, fields, message):
    (project / "items.jsonl").write_text(changed(rows, 2, **fields))
    assert re.search(message, fails("train", "recipe.yaml", "--out", "o"))
    assert not (project / "o").exists()


@pytest.mark.parametrize(
    ("name", "content", "source", "message"),
    [
        ("a.jsonl", '{"lang": "en"}\n', "{path: a.jsonl}", "missing column 'query' or 'passage'"),
        ("a.jsonl", '{"query": "q"}\n', "{path: a.jsonl}", "language is unknown; give lang="),
        (
            "a.jsonl",
            '{"lang": "en", "query": "q"}\n{oh\n',
            "{path: a.jsonl}",
            "a.jsonl:2: malformed",
        ),
        ("a.jsonl", "", "{path: a.jsonl}", "a.jsonl: the file is empty"),
        ("a.csv", "lang,query\nen\n", "{path: a.csv}", r"a\.csv:2: has 1 fields"),
        ("a.csv", "lang,q\nen,x\n", "{path: a.csv, columns: {qury: q}}", "did you mean 'query'"),
        (
            "a.csv",
            "lang,q\nen,x\n",
            "{path: a.csv, columns: {query: y}, lang: en}",
            "field 'y' is mis",
        ),
        ("a.json", "{", "{path: a.json, lang: en}", "a.json:1: malformed JSON"),
        ("a.xyz", "x", "{path: a.xyz}", "cannot tell the format of 'a.xyz'"),
        ("a.txt", "x", "{path: b.txt, lang: en}", "source 1 .*no such file: .*b.txt"),
        ("a.jsonl", "{}", "{path: a.jsonl, lnag: en}", "no option 'lnag'; did you mean 'lang'"),
        ("a.jsonl", "{}", "{lang: en}", "source 1: needs a 'path'"),
    ],
)
def test_bad_files_are_named(project, write_recipe, fails, name, content, source, message):
    (project / name).write_text(content)
    write_recipe(f"train: [{source}]")
    assert re.search(message, fails("train", "recipe.yaml", "--out", "o"))
    assert not (project / "o").exists()


@pytest.mark.parametrize("command", ["train recipe.yaml", "evaluate m --task xquad-r --data task"])
def test_an_answer_outside_its_text(project, model, fails, command):
    path = project / "task/en.json"
    content = json.loads(path.read_text())
    content["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"] = 999
    path.write_text(json.dumps(content))
    message = fails(*command.split(), "--out", "o")
    assert re.search(
        r"en\.json, paragraph 2, .*'answer_start': 999 lies outside the context", message
    )
    assert not (project / "o").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alpha: 2", r"recipe\.yaml:13: alpha is 2.0*; a number from 0 to 1"),
        ("alpha: -0.5", r"recipe\.yaml:13: alpha is -0.5"),
        ("batch_size: 21", "the largest batch_size that works is 20"),
        ("batch_size: 0", r"recipe\.yaml:12: batch_size is 0"),
        ("kind: hybird", "kind is 'hybird'.*did you mean 'hybrid'"),
        ("language_sampling: {fr: 1}", "language_sampling names 'fr', .*it has de, en"),
        ("language_sampling: unifrm", "did you mean 'uniform'"),
        ("pair_weights: {de-fr: 1}", "pair_weights names 'de-fr'"),
        ("source_weights: {x: 1}", "source_weights names 'x'"),
        ("pairs: singel", r"recipe\.yaml:13: pairs is 'singel'"),
        ("temperature: 0", r"recipe\.yaml:13: temperature is 0"),
        ("negatives: hard_only", r"recipe\.yaml:13: negatives='hard_only' needs"),
        ("lr_scheduler_type: foo", "foo is not a valid SchedulerType"),
        ("eval_strategy: steps\ntask:", "eval_strategy is 'steps', but the recipe names no task"),
        ("load_best_model_at_end: true", "eval_strategy is 'no', but the best model is asked for"),
        (
            "metric_for_best_model: multi_mpa\nsave_strategy: best\neval_strategy: steps",
            "metric_for_best_model is 'multi_mpa'; .*did you mean 'multi_map'",
        ),
        ("task: xquadr", "there is no task 'xquadr'; .*did you mean 'xquad-r'"),
        ("task_data: nowhere", "data folder '.*nowhere' not found"),
        ("task_data: items.jsonl", "data folder '.*items.jsonl' not found"),
        ("train: items.jsonl", "train is 'items.jsonl'; it must be 'builtin' or a list of sources"),
        ("model_options: {dim: 0}", "dim is 0; it must be at least 1"),
        ("model: task\nmodel_options: {}", "task holds neither modules.json nor config.json"),
        ("model: items.jsonl\nmodel_options: {}", "items.jsonl is a file; give the folder"),
        (
            "learning_rate: .inf",
            r"training diverged at step 1 \(query rows .*lower learning_rate, which is inf",
        ),
        ("report_to: [wandb]", "wandb"),
    ],
)
def test_fields_that_cannot_be_served(project, write_recipe, fails, line, message):
    write_recipe(*line.split("\n"))
    assert re.search(message, fails("train", "recipe.yaml", "--out", "runs/o"))
    assert not (project / "runs").exists()


def test_a_batch_kind_that_no_language_pair_serves(project, rows, fails):
    english = "".join(json.dumps(row) + "\n" for row in rows if row["lang"] == "en")
    (project / "items.jsonl").write_text(english)
    assert "no cross batch of 8 can be filled" in fails("train", "recipe.yaml", "--out", "o")
    assert not (project / "o").exists()


@pytest.mark.parametrize("out", ["items.jsonl", "items.jsonl/a/b"])
@pytest.mark.parametrize(
    "command",
    ["train recipe.yaml", "demo", "evaluate m --task xquad-r --data task", "report results.json"],
)
def test_a_file_where_the_output_folder_should_be(project, fails, command, out):
    before = (project / "items.jsonl").read_bytes()
    assert re.search(
        r"(items.jsonl is a file|exists); choose", fails(*command.split(), "--out", out)
    )
    assert (project / "items.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "command", ["demo", "evaluate m --task xquad-r --data task", "report results.json"]
)
def test_an_output_folder_that_exists(project, fails, command):
    assert "task exists; choose another folder" in fails(*command.split(), "--out", "task")
    assert sorted(path.name for path in (project / "task").iterdir()) == ["de.json", "en.json"]


def test_a_failed_run_leaves_an_old_folder_as_it_was(project, fails):
    (project / "o").mkdir()
    (project / "o/notes.txt").write_text("mine")
    fails("train", "recipe.yaml", "--out", "o", "--learning_rate", ".inf")
    assert [path.name for path in (project / "o").iterdir()] == ["notes.txt"]


def test_evaluate_writes_results_and_report(project, model, capsys):
    main("evaluate m --task xquad-r --data task --candidate-text sentence --out e".split())
    captured = capsys.readouterr()
    files = {path.name for path in (project / "e").iterdir()}
    assert files >= {"report.html", "results.json"}
    results = json.loads((project / "e/results.json").read_text())
    assert (results["model"], results["settings"]["candidate_text"]) == ("m", "sentence")
    assert captured.out.endswith("report: e/report.html\n")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("hybrid-fast: warning: this is not xquad-r as published")


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


def test_a_run_is_written_and_evaluated(project, model, capsys):
    """evaluate-run finds the figures of the pool again, in TREC's files."""
    (project / "c").mkdir()
    (project / "c/corpus.tsv").write_text("d1\tde answer 1 of 7\nd2\tde answer 2 of 14\n")
    (project / "c/topics.tsv").write_text("1\tde question 1\n2\tde question 2\n")
    (project / "c/qrels.txt").write_text("1 0 d1 1\n2 0 d2 1\n")
    options = "--task trec --data c --languages de --run new/run.trec --run-depth 5"
    main(f"evaluate m {options} --out e".split())
    assert "run: new/run.trec, its judgements: new/run.trec.qrels\n" in capsys.readouterr().out
    main("evaluate-run new/run.trec new/run.trec.qrels --metrics map,ndcg@10 --out r.json".split())
    figures = json.loads((project / "r.json").read_text())["metrics"]
    pool = json.loads((project / "e/results.json").read_text())["metrics"]["multi"]
    assert figures == pytest.approx({name: pool[name] for name in ("map", "ndcg@10")})
    assert len((project / "new/run.trec").read_text().splitlines()) == 4


def test_a_run_file_that_exists(project, fails):
    (project / "run.qrels").write_text("mine")
    message = fails(*"evaluate m --task xquad-r --data task --run run".split())
    assert "run.qrels exists; choose another file for --run" in message


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
    ],
)
def test_what_cannot_be_evaluated(project, model, fails, arguments, message):
    assert message in fails("evaluate", *arguments.split(), "--out", "o")
    assert not (project / "o").exists()


def test_a_hub_that_cannot_be_reached(project, fails, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = "evaluate some/model --task xquad-r --data task --out o"
    assert "there is no folder some/model, and no such model came" in fails(*command.split())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules.json", b"{", "modules.json: line 1"),
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


def test_report_compares_files_and_folders(project, model, capsys):
    main("evaluate m --task xquad-r --data task --out a".split())
    capsys.readouterr()
    main("report a a/results.json --out both --title Two".split())
    captured = capsys.readouterr()
    assert captured.out.endswith("report: both/report.html\n")
    assert captured.err == ""
    assert "<h1>Two</h1>" in (project / "both/report.html").read_text()
    assert len(json.loads((project / "both/results.json").read_text())["runs"]) == 2
    assert len(read_runs(project / "both")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file r.json"),
        ("", "r.json:1: malformed JSON"),
        ('{"task":\n', "r.json:2: malformed JSON"),
        ("[1]", "r.json: "),
        ('{"runs": []}', "r.json: runs is empty"),
        ('{"runs": 5}', "r.json: "),
        ("{}", "r.json: run 1 .* has no 'task'"),
    ],
)
def test_what_cannot_be_reported(project, fails, content, message):
    if content is not None:
        (project / "r.json").write_text(content)
    assert re.search(message, fails("report", "r.json", "--out", "o"))
    assert not (project / "o").exists()


def test_results_of_two_tasks_are_refused_in_one_line(project, model, fails, capsys):
    main("evaluate m --task xquad-r --data task --out a".split())
    main("evaluate m --task builtin --languages de,en --out b".split())
    capsys.readouterr()
    assert "a report compares runs of one task" in fails("report", "a", "b", "--out", "o")


def test_libraries_are_quiet(project, model):
    """The hub's retries, a line each, would stand before the one line of the error."""
    main("evaluate m --task xquad-r --data task".split())
    assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)


def test_debug_shows_the_traceback(project):
    with pytest.raises(FileNotFoundError, match=r"there is no file none\.yaml"):
        main(["train", "none.yaml", "--out", "o", "--debug"])


def test_an_interrupted_run_ends_with_status_130(project, monkeypatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hybrid_fast.training.HybridTrainer.training_step", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["train", "recipe.yaml", "--out", "o"])
    assert ended.value.code == 130
    assert not (project / "o").exists()


def test_only_our_own_messages_are_shown(capsys):
    with own_messages():
        warnings.warn("of another library", stacklevel=1)
        logging.getLogger("hybrid_fast.data").warning("left out %d rows", 3)
        logging.getLogger("hybrid_fast.data").info("step by step")
        logging.getLogger("hybrid_fast.data").debug("quiet")
        logging.getLogger("transformers.trainer").info("of another library")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["hybrid-fast: warning: left out 3 rows", "hybrid-fast: step by step"]
    with pytest.warns(UserWarning, match="as before"):
        warnings.warn("as before", stacklevel=1)


def test_runs_are_compared_query_by_query(project, model, capsys):
    for out in ("a", "b"):
        main(f"evaluate m --task xquad-r --data task --out {out}".split())
    capsys.readouterr()
    main("report a b --out both".split())
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "Differences, tested by paired randomisation" in captured.out
    comparison = json.loads((project / "both/results.json").read_text())["comparison"]
    assert {row["p_holm"] for row in comparison["differences"]} == {1.0}
    (project / "b/per_query.npz").unlink()
    main("report a b --out without".split())
    captured = capsys.readouterr()
    assert captured.err == (
        "hybrid-fast: warning: significance is not tested: b has no per_query.npz; evaluate again\n"
    )
    assert "Differences" not in captured.out
    main("report both a --out three".split())
    assert "significance is not tested: both has no per_query.npz" in capsys.readouterr().err


@pytest.fixture
def trec_files(project):
    (project / "run.txt").write_text("1 Q0 b 1 1.0 t\n1 Q0 a 2 1.0 t\n9 Q0 a 1 1.0 t\n")
    (project / "qrels.txt").write_text("1 0 a 1\n2 0 a 1\n3 0 a 0\n")
    return project


def test_run_is_evaluated(trec_files, capsys):
    main("evaluate-run run.txt qrels.txt --metrics mrr,ndcg@10 --out new/run.json".split())
    out = capsys.readouterr().out
    assert re.search(r"mrr\s+│\s+0\.2500", out)
    assert re.search(r"of them missing in the run\s+│\s+1 ", out)
    written = json.loads((trec_files / "new/run.json").read_text())
    assert written["metrics"]["mrr"] == 0.25
    assert written["per_query"]["2"] == {"mrr": 0.0, "ndcg@10": 0.0}
    main("evaluate-run run.txt qrels.txt --metrics mrr --missing leave-out".split())
    assert re.search(r"mrr\s+│\s+0\.5000", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("run.txt nowhere.txt", "no such file: nowhere.txt"),
        ("qrels.txt qrels.txt", r"qrels.txt:1: has 4 fields; a line is 'query Q0 document rank"),
        ("run.txt qrels.txt --metrics P@5", "there is no metric 'P@5'"),
        ("run.txt qrels.txt --missing never", "missing is 'never'; it is 'zero' or 'leave-out'"),
        ("run.txt qrels.txt --out run.txt", "run.txt exists"),
    ],
)
def test_runs_that_cannot_be_evaluated(trec_files, fails, options, message):
    assert re.search(message, fails("evaluate-run", *options.split()))
