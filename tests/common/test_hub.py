"""Fetching from the hub: what is asked for, and one error whatever goes wrong."""

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from hybrid_fast.common.hub import fetch_folder, fetching, is_hub_name

CONNECTION_ERROR = HfHubHTTPError.__bases__[0]  # of the library that the hub talks HTTP with


def test_what_is_asked_for(monkeypatch, tmp_path):
    asked = {}

    def fetch(name, **options):
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    folder = fetch_folder(
        "owner/name",
        "data set 'owner/name'",
        "a folder",
        repo_type="dataset",
        patterns=("*.json",),
        leave_out=("big/*",),
        revision="abc",
    )
    assert folder == tmp_path
    assert asked == {
        "name": "owner/name",
        "repo_type": "dataset",
        "revision": "abc",
        "allow_patterns": ["*.json"],
        "ignore_patterns": ["big/*"],
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LocalEntryNotFoundError("no connection\nand so on"), "LocalEntryNotFoundError: no conn.*"),
        (OfflineModeIsEnabled("offline"), "OfflineModeIsEnabled: offline"),
        (HFValidationError("bad name"), "HFValidationError: bad name"),
        (ConnectionError(), "ConnectionError: "),
        (ConnectionError("\n"), "ConnectionError: "),
        (CONNECTION_ERROR("timed out"), f"{CONNECTION_ERROR.__name__}: timed out"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whatever_goes_wrong_names_the_local_way(monkeypatch, error, reason):
    def fail(name, **_):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = rf"^model 'x' could not be fetched from the hub \({reason}\). Without network give a"
    with pytest.raises(FileNotFoundError, match=message) as caught:
        fetch_folder("x", "model 'x'", "a folder", repo_type="model", patterns=["*"])
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_other_errors_pass():
    with pytest.raises(KeyError), fetching("model 'x'", "a folder"):
        raise KeyError("a defect is no failure of the network")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name", True),
        ("owner/na-me.v2", True),
        ("owner/.name", False),
        ("a/b/c", False),
        ("./name", False),
        ("größe", False),
        ("", False),
    ],
)
def test_names_of_the_hub(text, expected):
    assert is_hub_name(text) is expected
