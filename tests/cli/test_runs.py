"""Training runs: what they write, on one process and two, and how they resume."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from huggingface_hub import HfApi, RepoUrl
from safetensors.torch import load_file

from hybrid_fast.cli import main, runs
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder


def test_train_writes_model_and_results(project, unexpected, capsys):
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
    assert unexpected(captured.err) == []
    assert "hybrid-fast: Each query is contrasted with " in captured.err
    assert "%|" not in captured.err


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
    assert "continue it with --resume" in fails(*arguments)
    main([*arguments, "--resume"])
    assert "step 4 of 12" not in capsys.readouterr().err
    resumed = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    assert np.array_equal(whole, resumed)


def test_a_failed_evaluation_keeps_the_model_and_resume_evaluates_it(project, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(RetrievalTask, "evaluate", fail)
        with pytest.raises(SystemExit) as ended:
            main("train recipe.yaml --out o".split())
    assert ended.value.code == 1
    assert "error: the trained model is in o/model, " in capsys.readouterr().err
    trained = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    monkeypatch.setattr(runs, "run_parts", fail)  # nothing is trained again
    main("train recipe.yaml --out o --resume".split())
    assert json.loads((project / "o/results.json").read_text())["metrics"]["multi"]["map"] > 0
    after = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    assert np.array_equal(trained, after)


def test_a_model_is_pushed_after_its_evaluation(project, monkeypatch, capsys, fails):
    done = []
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: RepoUrl("https://hf.co/o/m"))

    def upload(_, folder_path, **options):
        done.append((folder_path, (project / "o/results.json").is_file()))
        raise OSError("no network")

    monkeypatch.setattr(HfApi, "upload_folder", upload)
    command = "train recipe.yaml --out o --push_to_hub true".split()
    assert "push_to_hub needs hub_model_id" in fails(*command)
    with pytest.raises(SystemExit) as ended:
        main([*command, "--hub_model_id", "o/m"])
    assert ended.value.code == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"the model is in o/checkpoints, .*: no network", message)
    assert done == [("o/checkpoints", True)]
    assert BiEncoder.from_pretrained("o/model").embedding_dim == 16


def test_a_trained_model_that_is_not_pushed_is_told(project, monkeypatch, capsys):
    command = "train recipe.yaml --out o".split()
    main(command)
    (project / "o/results.json").unlink()
    main([*command, "--resume"])
    assert "hf upload" not in capsys.readouterr().err
    (project / "o/results.json").unlink()
    main([*command, "--resume", "--push_to_hub", "true", "--hub_model_id", "o/m"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "hf upload" in line]
    assert line.endswith("is not pushed; push it with: hf upload o/m o/model")


def test_a_resumed_run_does_what_it_is_asked_or_says_that_it_does_not(project, fails, capsys):
    arguments = "train recipe.yaml --out o --save_strategy steps --save_steps 4".split()
    main(arguments)
    capsys.readouterr()
    (project / "o/results.json").unlink()
    trained = fails(*arguments, "--resume", "--learning_rate", "1e-6", "--temperature", "0.1")
    assert "o/model is trained, with learning_rate = " in trained
    assert ", temperature = 0.05, and only its evaluation is left; this run has 1e-06, 0.1" in (
        trained
    )
    whole = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    shutil.rmtree(project / "o/model")
    refused = fails(*arguments, "--resume", "--optim", "sgd")
    assert re.search(r"checkpoint-12 was trained with optim = '\w+', this run has 'sgd'", refused)
    main([*arguments, "--resume"])  # nothing is left to train
    again = load_file(project / "o/model/model.safetensors")["embedding.weight"]
    assert np.array_equal(whole, again)
    assert (project / "o/results.json").is_file()
