"""Checks of what a plan reports: guarantee 3 of docs/sampling.md, from its shares alone."""

from __future__ import annotations

import pytest
from plan_checks import FLOAT
from plan_model_streams import Stream, kinds_of_groups, weights_in_effect


def check_report(table, options, report):
    """Guarantee 3: sizes, shares asked, exclusions and capacities are the model's."""
    # With shared texts capacities are lower bounds, of which the model's is the lower one.
    model = table.facts(options) if table.shared else table.plan("model", **options)
    held = model.report(0)
    assert (report.rows, report.queries, report.passages) == (
        held.rows, held.queries, held.passages
    ), "guarantee 3: what the table holds"  # fmt: skip
    for shares, expected in (
        (report.languages, model.language_shares),
        (report.pairs, model.pair_shares),
    ):
        theirs = {share.name: share for share in shares if share.size or share.asked}
        ours = {share.name: share for share in expected if share.size or share.asked}
        assert theirs.keys() == ours.keys(), "guarantee 3: languages or pairs"
        assert not shares or sum(s.effective for s in shares) == pytest.approx(1)
        rounded = turn(shares)
        for name, share in theirs.items():
            assert share.size == ours[name].size, f"guarantee 3: size of {name}"
            assert share.asked == pytest.approx(ours[name].asked, abs=rounded), (
                f"guarantee 3: share asked of {name}"
            )
            if share.asked > 0 and not table.shared:
                assert share.capacity == ours[name].capacity, f"guarantee 3: capacity of {name}"
                left_out = ours[name].effective == 0
                assert (share.effective == 0) == left_out, f"guarantee 3: {name} left out or not"
    left_out = [s for s in report.languages + report.pairs if s.asked > 0 and s.effective == 0]
    size = options["batch_size"]
    assert sorted(report.excluded) == sorted(
        f"{s.name}: {s.capacity} examples without a group, query or passage twice, too few for a "
        f"batch of {size}"
        for s in left_out
    ), "guarantee 3: what is left out, and why"


def turn(shares):
    """Return what shares are rounded to, as docs/sampling.md says."""
    return 1 / max(4096, 16 * sum(share.effective > 0 for share in shares))


def check_weights(table, options, report):
    """Guarantee 3: the weights in effect are those asked, cut only where groups would repeat.

    Returns the number of streams cut, or None where even the uncut streams cannot fill a batch.
    """
    if report.languages:
        check_proportions([share for share in report.languages if share.effective > 0])
    if options.get("pairs") == "single":
        check_proportions([share for share in report.pairs if share.effective > 0])
    elif report.pairs:
        return check_crowding(table.facts(options), options["batch_size"], report.pairs)
    return 0


def check_proportions(shares):
    total, allowed = sum(share.asked for share in shares), rounding(shares) + turn(shares)
    for share in shares:
        error = abs(share.effective - share.asked / total)
        assert error <= allowed, "guarantee 3: proportions of the weights"


def rounding(shares):
    """Return how far rounding moves a share: every positive one keeps a turn, others make up."""
    one = turn(shares)
    return one * (1 + sum(share.effective < 1.001 * one for share in shares))


def check_crowding(model, batch_size, shares):
    shares = [share for share in shares if share.asked > 0 and share.size > 0]
    streams = {Stream(s.query_language, s.passage_language, s.source): s for s in shares}
    kinds = kinds_of_groups({stream: model.pair_streams[stream] for stream in streams})
    asked = {stream: share.asked for stream, share in streams.items()}
    if not weights_in_effect(asked, model.pair_streams, batch_size)[1]:
        return None
    # Examples a batch that a stream asks of each of its groups, and what rounding may move.
    one, more = turn(shares), rounding(shares)
    each = {stream: batch_size * share.effective / share.size for stream, share in streams.items()}
    error = {stream: batch_size * more / share.size for stream, share in streams.items()}
    expected = [sum(each[stream] for stream in kind) for kind in kinds]
    for kind, uses in zip(kinds, expected, strict=True):
        most = 1 + batch_size * one * sum(1 / streams[stream].size for stream in kind)
        assert uses <= most + FLOAT, "guarantee 3: a group is expected more than once a batch"
    scale = max((share.effective - one) / share.asked for share in shares)
    cut = [
        stream
        for stream, share in streams.items()
        if share.effective < scale * share.asked - more - FLOAT
    ]
    for stream in cut:
        full = [
            kind
            for kind, uses in zip(kinds, expected, strict=True)
            if stream in kind and uses >= 1 - sum(error[other] for other in kind) - FLOAT
        ]
        assert full, "guarantee 3: cut without need"
        level = each[stream] + error[stream] + FLOAT
        assert any(all(each[other] <= level + error[other] for other in kind) for kind in full), (
            "guarantee 3: cut below the level of its group"
        )
    return len(cut)
