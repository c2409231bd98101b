"""Several threads that encode with one model at the same time, however they meet."""

from __future__ import annotations

import copy
import pickle
from threading import Event, Thread, current_thread

import numpy as np
import pytest
import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.encoding import evaluation_mode
from hybrid_fast.models.held_changes import HeldChange
from hybrid_fast.models.kernels.linear import Linear

LIMIT_S = 60  # then a thread that nobody lets go fails; a busy machine takes seconds
TEXTS = ["river", "the sea and the river", "a river in the east " * 3, "sea sea"]


class Meeting:
    """Two threads encode with a model: the second begins and ends after the first one has."""

    def __init__(self, model: BiEncoder, texts: list[str]) -> None:
        self.events = {name: (Event(), Event()) for name in ("first", "second")}
        self.vectors: dict[str, np.ndarray] = {}
        self.model, self.texts = model, texts
        hook = model.backbone.model.embeddings.register_forward_hook(self.wait)
        self.model.can_unpad()  # once more, for the hook
        try:
            for name in self.events:
                thread = Thread(target=self.encode, name=name)
                thread.start()
                assert self.events[name][0].wait(LIMIT_S)
                setattr(self, name, thread)
            self.within()
            for name in self.events:
                self.events[name][1].set()
                getattr(self, name).join()
        finally:
            hook.remove()

    def wait(self, *_) -> None:
        if current_thread().name in self.events:
            entered, released = self.events[current_thread().name]
            entered.set()
            assert released.wait(LIMIT_S)

    def encode(self) -> None:
        self.vectors[current_thread().name] = self.model.encode_passages(self.texts)

    def within(self) -> None:
        """What a third thread does meanwhile."""

    def __deepcopy__(self, memo: dict) -> Meeting:
        return self


@pytest.fixture
def model(bert_folder) -> BiEncoder:
    return BiEncoder.from_pretrained(bert_folder)


def test_each_gets_the_vectors_that_it_gets_alone(model):
    model.train()  # with dropout, which neither may see
    expected = model.encode_passages(TEXTS)
    vectors = Meeting(model, TEXTS).vectors
    assert np.array_equal(vectors["first"], expected)
    assert np.array_equal(vectors["second"], expected)
    assert all(module.training for module in model.modules())
    assert model.backbone.model.config._attn_implementation == "sdpa"
    assert not any(type(each) is Linear for each in model.modules())


def test_a_third_thread_gets_padded_features_and_the_vectors_of_them(model):
    model.eval()
    expected = model.encode_passages(TEXTS)

    class WithThird(Meeting):
        def within(self) -> None:
            self.features = self.model.tokenize(self.texts, "passage")
            self.third = self.model(self.features).detach()

    meeting = WithThird(model, TEXTS)
    assert meeting.features["attention_mask"].shape == (len(TEXTS), 17)
    for vectors in (meeting.third, model(meeting.features).detach()):
        np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)


def test_a_copy_that_is_made_meanwhile_is_as_the_model(model):
    model.eval()
    expected = model.encode_passages(TEXTS)

    class WithCopy(Meeting):
        def within(self) -> None:
            self.copies = [copy.deepcopy(self.model.backbone)]

    meeting = WithCopy(model, TEXTS)
    copied = copy.deepcopy(model)
    copied.backbone = meeting.copies[0]
    copied.backbone.model.embeddings._forward_hooks.clear()
    assert copied.can_unpad()
    for _ in range(2):
        np.testing.assert_allclose(copied.encode_passages(TEXTS), expected, rtol=1e-5, atol=1e-6)
    assert copied.backbone.model.config._attn_implementation == "sdpa"
    assert [type(each) for each in copied.modules()] == [type(each) for each in model.modules()]
    assert pickle.loads(pickle.dumps(copied)).can_unpad()


def test_the_first_trial_is_made_by_one_thread(model, monkeypatch):
    trials, begun = [], Event()

    def try_slowly(backbone) -> bool:
        trials.append(backbone)
        begun.wait(0.2)
        return True

    monkeypatch.setattr("hybrid_fast.models.backbones.unpadding.can_unpad", try_slowly)
    threads = [Thread(target=model.can_unpad) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trials) == 1


def test_modes_within_one_another():
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5))
    model[0].eval()
    with evaluation_mode(model):
        with evaluation_mode(model[1]):
            assert not model[1].training
        assert not model[1].training
    assert [module.training for module in model.modules()] == [True, False, True]


def test_a_change_that_fails_is_undone():
    undone = []
    change = HeldChange[torch.Tensor](applies=lambda each: True, undo=undone.append)
    first, second = torch.ones(1), torch.ones(2)

    def fail_at_second(each) -> None:
        if each is second:
            raise RuntimeError("stop")

    def enter() -> None:
        with change.hold([first, second], fail_at_second):
            pass

    with pytest.raises(RuntimeError, match="stop"):
        enter()
    assert [len(each) for each in undone] == [1, 2]
