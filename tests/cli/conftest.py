"""A small project folder: items, a task and a recipe of a tiny static encoder."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import torch
import transformers

from hybrid_fast.cli import main
from hybrid_fast.models import BiEncoder

LANGUAGES = ("de", "en")
RECIPE = """\
model: static
model_options: {dim: 16, vocab_size: 300}
train: [{path: items.jsonl}]
task: xquad-r
task_data: task
kind: hybrid
batch_size: 8
max_steps: 12
learning_rate: 1e-2
logging_steps: 4
save_strategy: no
use_cpu: true
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The command sets what other libraries say; and models this small need one thread."""
    num_threads, verbosity = torch.get_num_threads(), transformers.logging.get_verbosity()
    torch.set_num_threads(1)
    hub_verbosity = huggingface_hub.logging.get_verbosity()
    yield
    huggingface_hub.logging.set_verbosity(hub_verbosity)
    huggingface_hub.utils.enable_progress_bars()
    torch.set_num_threads(num_threads)
    transformers.logging.set_verbosity(verbosity)
    transformers.logging.enable_progress_bar()
    datasets.enable_progress_bars()


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Twenty questions with their answers in two languages."""
    return [
        {
            "group_id": f"g{group}",
            "lang": lang,
            "query": f"{lang} question {group}",
            "passage": f"{lang} answer {group} of {group * 7}",
        }
        for group in range(20)
        for lang in LANGUAGES
    ]


def squad(lang: str) -> dict[str, Any]:
    """Return a SQuAD-shaped file: three paragraphs of three sentences and a question each."""
    paragraphs = []
    for number in range(3):
        sentences = [f"{lang} sentence {number} {position}." for position in range(3)]
        length = len(sentences[0])
        breaks = [[start, start + length] for start in range(0, 3 * (length + 1), length + 1)]
        answer = {"text": sentences[1], "answer_start": breaks[1][0]}
        question = {"id": f"q{number}", "question": f"{lang} which {number}?", "answers": [answer]}
        paragraphs.append(
            {
                "context": " ".join(sentences),
                "sentences": sentences,
                "sentence_breaks": breaks,
                "qas": [question],
            }
        )
    return {"data": [{"title": "title", "paragraphs": paragraphs}], "version": "1"}


@pytest.fixture
def project(tmp_path, monkeypatch, rows) -> Path:
    """The folder, which is also the working directory: items.jsonl, task/, recipe.yaml."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "task").mkdir()
    for lang in LANGUAGES:
        (tmp_path / "task" / f"{lang}.json").write_text(json.dumps(squad(lang)), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_recipe(project) -> Callable[..., Path]:
    """Write the recipe with some fields replaced or added, each a line of YAML."""

    def write(*lines: str) -> Path:
        given = {line.partition(":")[0] for line in lines}
        kept = [line for line in RECIPE.splitlines() if line.partition(":")[0] not in given]
        path = project / "recipe.yaml"
        path.write_text("\n".join([*kept, *lines]) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def model(project) -> Path:
    """A saved model, the folder m."""
    BiEncoder.static([f"de en question answer {n}" for n in range(9)], 8, 100).save_pretrained("m")
    return project / "m"


@pytest.fixture
def unexpected() -> Callable[[str], list[str]]:
    """Return the lines of stderr but what loading and training say and the small task's warning."""
    expected = re.compile(
        r"hybrid-fast: (Loaded \S+: |step \d|Each query is contrasted|The table has \d|"
        r"warning: this is not xquad-r as published)"
    )
    return lambda text: [line for line in text.splitlines() if not expected.match(line)]


@pytest.fixture
def fails(capsys, unexpected) -> Callable[..., str]:
    """Run a command that must fail with status 2 and one line on stderr; return that line."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        lines = unexpected(captured.err)
        assert ended.value.code == 2
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("hybrid-fast: error: ")
        assert captured.out == ""
        return lines[0].removeprefix("hybrid-fast: error: ")

    return run
