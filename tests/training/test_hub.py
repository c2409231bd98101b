"""Pushing to a hub that is a folder."""

from __future__ import annotations

import fnmatch
import re
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import transformers.trainer
from huggingface_hub import HfApi, ModelCard, RepoUrl
from sentence_transformers import SentenceTransformer
from toy_training import Task, make_args, make_model, make_table

from hybrid_fast.common.errors import PartlyDoneError
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer

HUB = {"push_to_hub": True, "hub_model_id": "own/encoder", "hub_token": "hf_secret"}
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}


class Hub:
    """Stands in for the hub: what is pushed lies in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repositories: list[str] = []
        self.messages: list[str] = []
        self.fails = False
        self.revisions: set[str | None] = set()
        self.private: bool | None = None

    def create_repo(self, repo_id, private=None, **_):
        self.repositories.append(repo_id)
        self.private = private
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(
        self,
        *,
        repo_id,
        folder_path,
        path_in_repo="",
        commit_message=None,
        ignore_patterns=(),
        run_as_future=False,
        token=None,
        revision=None,
    ):
        assert token == "hf_secret"
        self.revisions.add(revision)
        job = Future()
        if self.fails:
            job.set_exception(ConnectionError("no network"))
            return job if run_as_future else job.result()
        self.messages.append(commit_message)
        for path in Path(folder_path).rglob("*"):
            name = path.relative_to(folder_path)
            ignored = any(
                fnmatch.fnmatch(str(name), f"{pattern}*") for pattern in ignore_patterns or ()
            )
            if path.is_file() and not ignored:
                target = self.folder / path_in_repo / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        job.set_result(commit_message)
        return job if run_as_future else commit_message


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    """The hub of all HfApi objects."""
    stand_in = Hub(tmp_path / "hub")
    for name in ("create_repo", "upload_folder"):
        method = getattr(stand_in, name)
        monkeypatch.setattr(HfApi, name, lambda _, *given, m=method, **more: m(*given, **more))
        if hasattr(transformers.trainer, name):  # older versions call functions
            monkeypatch.setattr(transformers.trainer, name, method)
    return stand_in


@pytest.fixture(params=["static", "transformer"])
def model(request):
    """Both kinds of encoders."""
    if request.param == "static":
        return make_model()
    return BiEncoder.from_pretrained(
        request.getfixturevalue("xlm_roberta_folder"), query_prompt="q: ", pooling="cls"
    )


def test_checkpoints_push_the_whole_model_with_its_card(tmp_path, hub, model):
    args = make_args(
        tmp_path / "own",
        hub_strategy="checkpoint",
        eval_strategy="steps",
        eval_steps=2,
        **HUB,
        **SAVING,
    )
    trainer = HybridTrainer(model, args, make_table(), Task())
    assert hub.repositories == ["own/encoder"]
    trainer.train()
    assert hub.messages == [
        f"Training in progress, step {step}{end}" for step in (2, 4) for end in ("", ", checkpoint")
    ]
    texts = ["en question 1", "fr question 30"]
    expected = trainer.encoder.encode_queries(texts)
    pushed = BiEncoder.from_pretrained(hub.folder)
    assert pushed.prompts == model.prompts
    np.testing.assert_array_equal(pushed.encode_queries(texts), expected)
    as_others_do = SentenceTransformer(str(hub.folder), device="cpu")
    np.testing.assert_allclose(as_others_do.encode_query(texts), expected, atol=1e-5)
    assert (hub.folder / "last-checkpoint" / "trainer_state.json").is_file()
    files = [path for path in hub.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hf_secret" in path.read_bytes()]
    assert not [path for path in hub.folder.iterdir() if path.suffix in (".bin", ".pt", ".pth")]


def test_the_card_names_languages_settings_and_scores(tmp_path, hub):
    args = make_args(tmp_path / "own", eval_strategy="steps", eval_steps=2, max_steps=2, **HUB)
    trainer = HybridTrainer(make_model(), args, make_table(), Task())
    trainer.train()
    trainer.push_to_hub(license="apache-2.0", tags="own-tag")
    assert hub.messages == ["End of training"]
    card = ModelCard.load(hub.folder / "README.md")
    head = card.data
    assert (head.library_name, head.license) == ("sentence-transformers", "apache-2.0")
    assert head.language == ["de", "en", "fr"]
    assert "own-tag" in head.tags
    assert head.base_model is None
    assert 'SentenceTransformer("own/encoder")' in card.text
    assert "| batch_size | 12 |" in card.text
    assert "| multi_map | 0.8000 |" in card.text


def test_the_card_of_the_best_model_has_its_scores(tmp_path, hub):
    """The third of four evaluations is the best."""
    options = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    args = make_args(tmp_path / "own", **HUB, **{**SAVING, **options, "max_steps": 8})
    trainer = HybridTrainer(make_model(), args, make_table(), Task())
    cards, write = [], trainer.create_model_card
    trainer.create_model_card = lambda **given: (
        write(**given),
        cards.append(ModelCard.load(tmp_path / "own" / "README.md").text),
    )
    trainer.train()
    trainer.push_to_hub()
    scores = [re.search(r"multi_map \| ([\d.]+)", card)[1] for card in cards]
    assert scores == ["0.8000", "0.9000", "1.0000", "0.9000", "1.0000"]


def test_a_push_at_the_end_that_fails_leaves_the_model_and_says_where(tmp_path, hub):
    trainer = HybridTrainer(make_model(), make_args(tmp_path / "own", **HUB), make_table())
    trainer.train()
    hub.fails = True
    message = f"the model is in {tmp_path / 'own'}, .*: no network"
    with pytest.raises(PartlyDoneError, match=message):
        trainer.push_to_hub()
    with pytest.raises(PartlyDoneError, match=message):
        trainer.save_model(str(tmp_path / "model"))
    expected = trainer.encoder.encode_queries(["en question 1"])
    for folder in ("own", "model"):
        loaded = BiEncoder.from_pretrained(tmp_path / folder)
        np.testing.assert_array_equal(loaded.encode_queries(["en question 1"]), expected)


@pytest.mark.parametrize("what", ["no network", "no card"])
def test_pushes_that_fail_meanwhile_are_told_and_training_goes_on(tmp_path, hub, caplog, what):
    def fail(**_):
        raise ValueError(what)

    args = make_args(tmp_path / "own", **HUB, **SAVING)
    trainer = HybridTrainer(make_model(), args, make_table())
    hub.fails = what == "no network"
    if what == "no card":
        trainer.create_model_card = fail
    trainer.train()
    assert trainer.state.global_step == 4
    assert f"The model was not pushed to the hub: {what}" in caplog.text


def test_repository_and_branch_are_as_asked(tmp_path, hub):
    more = {"hub_private_repo": True, "hub_revision": "own", "hub_always_push": True}
    trainer = HybridTrainer(
        make_model(), make_args(tmp_path / "own", **HUB, **SAVING, **more), make_table()
    )
    trainer.train()
    trainer.push_to_hub()
    assert hub.private
    assert hub.revisions == {"own"}
    assert len(hub.messages) == 3


def test_a_push_that_is_under_way_is_not_disturbed(tmp_path, hub, monkeypatch):
    slow = Future()
    monkeypatch.setattr(HfApi, "upload_folder", lambda _, **__: slow)
    args = make_args(tmp_path / "own", **HUB, **SAVING)
    trainer = HybridTrainer(make_model(), args, make_table())
    pushed = []
    trainer.create_model_card = lambda **_: pushed.append(trainer.state.global_step)
    trainer._finish_current_push = lambda: None  # the end would wait for it
    trainer.train()
    assert pushed == [2]


def test_only_the_end_is_pushed_if_asked(tmp_path, hub):
    args = make_args(tmp_path / "own", hub_strategy="end", **HUB, **SAVING)
    trainer = HybridTrainer(make_model(), args, make_table())
    trainer.train()
    assert hub.messages == []
    trainer.save_model(str(tmp_path / "model"))
    assert hub.messages == ["Model save"]


def test_a_model_of_the_hub_is_named_as_base(tmp_path, hub):
    model = make_model()
    model.name_or_path = "owner/base"
    trainer = HybridTrainer(model, make_args(tmp_path / "own", **HUB), make_table())
    trainer.create_model_card()
    assert ModelCard.load(tmp_path / "own" / "README.md").data.base_model == "owner/base"
