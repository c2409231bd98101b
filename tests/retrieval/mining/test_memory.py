"""What mining holds: some bytes a row, some passages at a time, parts of the table on the disk."""

from __future__ import annotations

import numpy as np
import pytest
from mining_by_hand import HashModel, draw_table

from hybrid_fast import AlignedTable, mine_hard_negatives
from hybrid_fast.retrieval.mining import miner, output, passages, rank_search
from hybrid_fast.retrieval.mining.answers import Answers, KnownPassages
from hybrid_fast.retrieval.mining.candidates import TableCandidates


def test_what_is_known_of_answers_takes_at_most_56_bytes_a_row_and_24_with_a_store():
    number = np.arange(3000)
    table = AlignedTable.from_columns(
        {
            "group_id": number // 3,
            "lang": [("de", "en", "th")[each % 3] for each in number],
            "query": [f"q {each}" for each in number],
            "passage": [f"p {each}" for each in number],
            "passage_id": number,
        }
    )
    answers = Answers.of_table(table)
    assert len(answers.first_rows) == 3000
    assert answers.nbytes <= 56 * 3000
    known = KnownPassages.of_table(table, answers)
    held = [array for each in vars(known).values() for array in vars(each).values()]
    assert 0 < sum(array.nbytes for array in held) <= 24 * 3000


def test_a_large_table_is_written_in_parts_to_a_file_that_vanishes(
    memory_stores, monkeypatch, tmp_path
):
    table = draw_table(3)
    held = mine_hard_negatives(HashModel(), table)
    monkeypatch.setattr(output, "IN_MEMORY_BYTES", 2000)
    monkeypatch.setattr(miner, "_MOST_ROWS", 7)
    most = []
    spill = output.TableWriter._spill

    def spilled(writer):
        most.append(sum(len(batch) for batch in writer._held))
        spill(writer)

    monkeypatch.setattr(output.TableWriter, "_spill", spilled)
    mined = mine_hard_negatives(HashModel(), table, work_dir=tmp_path)
    assert mined.fingerprint == held.fingerprint
    assert mined.dataset[:] == held.dataset[:]
    assert sum(most) == len(table)
    assert max(most[1:]) == 7  # once there is a file, only one part is held
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {
        "passages"
    }
    mined.save(tmp_path / "saved")
    assert AlignedTable.load(tmp_path / "saved", verify=True).fingerprint == held.fingerprint


def test_searches_and_products_are_bounded(memory_stores, monkeypatch):
    table = draw_table(3)
    whole = mine_hard_negatives(HashModel(), table, ranks=(1, 20))
    monkeypatch.setattr(rank_search, "PASSAGES_AT_A_TIME", 64)
    monkeypatch.setattr(miner, "PASSAGES_AT_A_TIME", 64)
    monkeypatch.setattr(passages, "_PAIRS_AT_A_TIME", 5)
    sizes = []
    search = TableCandidates.search

    def counted(candidates, queries, k, languages):
        sizes.append(len(queries.raw) * k)
        return search(candidates, queries, k, languages)

    monkeypatch.setattr(TableCandidates, "search", counted)
    few = mine_hard_negatives(HashModel(), table, ranks=(1, 20))
    assert max(sizes) <= 64
    assert few.fingerprint == whole.fingerprint


@pytest.mark.usefixtures("memory_stores")
def test_encoded_passages_in_a_work_folder_serve_again(tmp_path):
    table, model = draw_table(2), HashModel()
    first = mine_hard_negatives(model, table, work_dir=tmp_path / "w")
    texts = set(table.dataset["passage"][:]) - {None}
    model.encoded.clear()
    again = mine_hard_negatives(model, table, work_dir=tmp_path / "w")
    assert again.fingerprint == first.fingerprint
    assert not texts & set(model.encoded)
    with pytest.raises(ValueError, match="passages"):
        mine_hard_negatives(model, draw_table(9), work_dir=tmp_path / "w")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        mine_hard_negatives(model, table, work_dir=tmp_path / "file")
