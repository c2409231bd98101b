"""How all tests run, and their fixtures."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same few examples at each run; CI tries others with --hypothesis-profile=thorough.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=100)
settings.load_profile("quick")

# Before torch is imported: workers, and the processes that tests start, share the cores. Tests of
# several threads set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is fastest here must not decide on what a test computes; those of other ways say so.
os.environ.setdefault("HYBRID_FAST_WAYS", "nt=torch, nn=torch, tn=torch")
# Processes that tests start import the package that the tests import, not the checkout around them.
os.environ.setdefault("PYTHONSAFEPATH", "1")
# Code that comes with models is copied into one folder by name; workers and other runs would meet
# there. It is removed with the process.
_modules = tempfile.TemporaryDirectory(prefix="hybrid-fast-tests-modules-")
os.environ["HF_MODULES_CACHE"] = _modules.name


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share folders of tests out to workers, unless `-n` says otherwise.

    Files and single tests are sooner done here: a worker imports torch and all test modules first.
    """
    options = config.option
    if hasattr(config, "workerinput"):
        return  # a worker itself
    alone = options.usepdb or not any(map(os.path.isdir, config.args))
    if getattr(options, "numprocesses", 0) is None and not alone:
        # One more than cores: tests of several ranks wait for one another.
        options.numprocesses = min(len(os.sched_getaffinity(0)) + 1, 8)
        options.dist = "worksteal"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data next to the checkout; tests that need it skip, visibly, where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder


@pytest.fixture(scope="session")
def real_encoder() -> str:
    """Folder of a real encoder; tests that need one skip, visibly, where none is named."""
    folder = os.environ.get("HYBRID_FAST_REAL_ENCODER", "")
    if not Path(folder, "config.json").is_file():
        pytest.skip("HYBRID_FAST_REAL_ENCODER names no folder of a real encoder")
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


@pytest.fixture
def emulating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on a processor without half precision, whose products then take 15.8 times as long."""
    from hybrid_fast.cpu import half_precision

    zen3 = {"name": "AMD EPYC 7763", "instruction_sets": ["avx2"]}
    monkeypatch.setattr(half_precision, "processor", lambda: zen3)
    monkeypatch.setattr(half_precision, "slowdown", lambda dtype: 15.8)
    monkeypatch.setattr(half_precision, "_said", set())
