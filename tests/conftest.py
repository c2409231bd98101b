"""Fixtures of all tests."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data next to the checkout; tests that need it skip, visibly, where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what tests tokenise out of the user's cache; their own processes inherit it."""
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("cache")
        environment.setenv("HYBRID_FAST_CACHE", str(folder))
        yield folder
