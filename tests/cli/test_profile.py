"""The table of --profile."""

import re

from hybrid_fast.cli import main


def test_profile_prints_where_the_time_went(project, capsys):
    main(["train", "recipe.yaml", "--out", "run", "--profile"])
    out = capsys.readouterr().out
    assert "12 updates in" in out
    rows = dict(re.findall(r"│ ([a-z ]+?) +│ +([\d.]+) │", out))
    parts = ("data", "encoder forward", "loss", "encoder backward", "optimiser", "other")
    assert all(float(rows[part]) > 0 for part in parts)
    assert {"waiting", "communication"} <= rows.keys()
    assert re.search(r"[\d,.]+ pairs/s, [\d,]+ tokens/s without padding; 0.0% of", out)
