"""What is shown of the messages of this package and of other libraries."""

import logging
import warnings

import pytest

from hybrid_fast.cli import main
from hybrid_fast.cli.messages import plain_messages


def test_only_our_own_messages_are_shown(capsys):
    with plain_messages():
        warnings.warn("of another library", stacklevel=1)
        logging.getLogger("hybrid_fast.data").warning("left out %d rows", 3)
        logging.getLogger("hybrid_fast.data").info("step by step")
        logging.getLogger("hybrid_fast.data").debug("quiet")
        logging.getLogger("transformers.trainer").info("of another library")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["hybrid-fast: warning: left out 3 rows", "hybrid-fast: step by step"]
    with pytest.warns(UserWarning, match="as before"):
        warnings.warn("as before", stacklevel=1)


def test_libraries_are_quiet(project, model):
    """The hub's retries, a line each, would stand before the one line of the error."""
    main("evaluate m --task xquad-r --data task".split())
    assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)
