"""The built-in task needs no files and has every unseen question."""

import pytest

from hybrid_fast.data.builtin import LANGUAGES, builtin_items
from hybrid_fast.evaluation import load_task


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
    assert load_task("builtin", languages=["THA", "deu_Latn", "de"]).languages == ("de", "th")
    assert set(task.relevants.counts) == {2}
    with pytest.raises(ValueError, match="task 'builtin' has no sw; its languages are"):
        load_task("builtin", languages=["sw"])
