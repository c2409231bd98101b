"""Fixtures of the tests of reports."""

import shutil

import pytest
from chromium import Browser
from report_pages import Page, report_of, three_runs

from hybrid_fast.reporting import plots


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium; tests that need it skip, visibly, where it is absent."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    browser = Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out what takes long, where only the text of the page matters."""
    monkeypatch.setattr(plots, "to_svg", lambda figure: b"")


@pytest.fixture(scope="session")
def runs():
    """What the results.json of three runs hold."""
    return three_runs()


@pytest.fixture(scope="session")
def report(runs, tmp_path_factory):
    """The path of their report."""
    return report_of(runs, tmp_path_factory.mktemp("reports") / "three")


@pytest.fixture(scope="session")
def page(report):
    """Their report, read back."""
    return Page(report)
