"""Tasks are found by name, near misses are named, and the built-in task needs nothing."""

import pytest

from hybrid_fast.data.builtin import LANGUAGES, builtin_items
from hybrid_fast.evaluation import load_task


@pytest.mark.parametrize(
    ("name", "hint"),
    [("xquadr", "did you mean 'xquad-r'"), ("MLQA-R", "did you mean 'mlqa-r'"), ("squad", "")],
)
def test_unknown_name(name, hint):
    message = rf"there is no task '{name}'; the tasks are builtin, xquad-r, mlqa-r.*{hint}"
    with pytest.raises(ValueError, match=message):
        load_task(name, "data")


def test_data_is_needed_or_refused(tmp_path):
    with pytest.raises(ValueError, match="task 'xquad-r' needs data: the folder"):
        load_task("xquad-r")
    with pytest.raises(ValueError, match="has no data: leave out data="):
        load_task("builtin", tmp_path)
    with pytest.raises(
        ValueError, match="leave out candidate_text='sentence'; its options are none"
    ):
        load_task("builtin", candidate_text="sentence")


def test_builtin_task_has_every_unseen_question_in_every_language():
    task, items = load_task("builtin"), builtin_items("test")
    groups = set(items["group_id"])
    assert task.languages == tuple(sorted(LANGUAGES))
    assert task.queries.counts == task.candidates.counts == dict.fromkeys(LANGUAGES, len(groups))
    assert set(task.relevants.counts) == {len(LANGUAGES)}
    row = len(groups) + 5
    query_id, text = task.queries.ids[row], task.queries[row]
    begin, end = task.relevants.offsets[row : row + 2]
    found = {task.candidates[candidate] for candidate in task.relevants.rows[begin:end]}
    triples = list(zip(items["group_id"], items["query"], items["passage"], strict=True))
    assert found == {passage for group, _, passage in triples if group == query_id}
    assert text in {query for group, query, _ in triples if group == query_id}
    assert task.settings == {"candidate_text": "passage"}


def test_builtin_task_of_some_languages():
    task = load_task("builtin", languages=["th", "de"])
    assert task.languages == ("de", "th")
    assert set(task.relevants.counts) == {2}
    with pytest.raises(ValueError, match="task 'builtin' has no sw; its languages are"):
        load_task("builtin", languages=["sw"])
