"""Accuracy both ways of line-aligned pairs, each pair by itself."""

import numpy as np
import pytest
from task_files import OneHot, show, write

from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks.bitext import TATOEBA

pytestmark = pytest.mark.filterwarnings("ignore:this is not tatoeba:UserWarning")


@pytest.fixture
def folder(tmp_path):
    for first, count in (("deu", 5), ("swh", 3)):
        for side in (first, "eng"):
            text = "".join(f"{side} of {first} {n}\n" for n in range(count))
            write(tmp_path / f"tatoeba.{first}-eng.{side}", text)
    write(tmp_path / "README.md", "not a side")
    return tmp_path


def test_a_pair(folder, tmp_path):
    task = load_task("tatoeba", folder, languages=["swh"])
    assert task.languages == ("eng", "swh")
    assert list(task.queries)[:2] == ["eng of swh 0", "eng of swh 1"]
    results = task.evaluate(OneHot())
    for setting in ("cross", "from_first", "to_first"):
        assert results.metrics[setting]["recall@1"] == 1.0
    assert results.metrics["mono"]["recall@1"] is results.metrics["multi"]["recall@1"] is None
    assert "tatoeba" in show(results, tmp_path)
    assert results.counts.dropped["swh"] == {"eng": 0, "swh": 3}


def test_scores_are_those_of_each_pair_by_itself(folder):
    """Against the definition, on random embeddings with ties."""
    task = load_task("tatoeba", folder)
    assert task.languages == ("deu", "eng-deu", "eng-swh", "swh")
    rng = np.random.default_rng(0)
    queries, candidates = rng.integers(0, 3, (2, 16, 2)).astype(np.float32)
    results = task.score(queries, candidates)
    starts = task.queries.language_starts
    cells = {}
    for source, target in (
        ("deu", "eng-deu"),
        ("eng-deu", "deu"),
        ("swh", "eng-swh"),
        ("eng-swh", "swh"),
    ):
        rows, columns = (
            slice(*starts[task.languages.index(lang) :][:2]) for lang in (source, target)
        )
        scores = queries[rows] @ candidates[columns].T
        cells[source, target] = np.mean(scores.argmax(axis=1) == np.arange(len(scores)))
        assert results.grid["recall@1"][source][target] == pytest.approx(cells[source, target])
    assert results.metrics["cross"]["recall@1"] == pytest.approx(np.mean(list(cells.values())))
    to_english = [cells["deu", "eng-deu"], cells["swh", "eng-swh"]]
    assert results.metrics["from_first"]["recall@1"] == pytest.approx(np.mean(to_english))
    assert results.grid["recall@1"]["deu"]["swh"] is None


def test_no_run(folder, tmp_path):
    with pytest.raises(ValueError, match="has no pool of all languages"):
        load_task("tatoeba", folder).evaluate(OneHot(), run=tmp_path / "run")


@pytest.mark.filterwarnings("default:this is not:UserWarning")
def test_published_sizes(folder):
    assert len(TATOEBA) == 112
    with pytest.warns(UserWarning, match="swh has 3 sentences, not 390") as caught:
        load_task("tatoeba", folder, languages=["swh"])
    assert caught[0].filename == __file__
    load_task("bitext", folder)  # of no published size


def test_bad_input(folder):
    with pytest.raises(
        FileNotFoundError, match=r"no pair of fra in data folder .* has deu, eng, swh"
    ):
        load_task("bitext", folder, languages=["fra"])
    write(folder / "tatoeba.deu-eng.eng", "a\n\nb\nc\nd\n")
    with pytest.raises(ValueError, match=r"tatoeba.deu-eng.eng:2: the line is empty"):
        load_task("bitext", folder)
    write(folder / "tatoeba.deu-eng.eng", "a\n")
    with pytest.raises(ValueError, match=r"has 5 lines and .*eng 1: they are not aligned"):
        load_task("bitext", folder)
    (folder / "tatoeba.deu-eng.eng").unlink()
    with pytest.raises(FileNotFoundError, match=r"tatoeba.deu-eng.eng is missing"):
        load_task("bitext", folder)
    write(folder / "new.eng-swh.eng", "a\n")
    with pytest.raises(ValueError, match=r"new.eng-swh and .*swh-eng are both of"):
        load_task("bitext", folder, languages=["swh"])
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no pair of files in data folder .* it has none"):
        load_task("bitext", folder)
