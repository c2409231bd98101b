"""The script that kills the encoding of a corpus finds it the same bit by bit."""

import json

import pytest
from kill_encoding import Work, measure

from hybrid_fast.models import BiEncoder


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_encoding_ends_with_the_same_files(tmp_path, ranks):
    BiEncoder.static(["some words of texts"], dim=8).save_pretrained(tmp_path / "m")
    with (tmp_path / "c.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": str(n), "text": f"text {n}"}) + "\n" for n in range(300))
    work = Work(str(tmp_path / "m"), str(tmp_path / "c.jsonl"), "en", 300, 3, ranks)
    found = measure(work, 3, 0)
    assert found["files"] == 101
    assert [point["same"] for point in found["points"]] == [True] * 3
