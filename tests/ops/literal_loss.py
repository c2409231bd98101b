"""The definition of the loss read literally, on Python lists, and random cases of all its options.

Coordinates are multiples of 1/4, so that products are exact and ties are ties.
"""

import math

from hypothesis import strategies as st


def slow_rows(
    queries, passages, temperature, positives, query_groups, passage_groups, query_passage_ids,
    passage_ids, mask, margin, symmetric, normalize, negatives,
):  # fmt: skip
    """Return l_i for each row, from lists."""
    if normalize:
        queries, passages = ([unit(v) for v in vectors] for vectors in (queries, passages))
    num_queries, num_passages = len(queries), len(passages)
    score = [[sum(a * b for a, b in zip(q, p, strict=True)) for p in passages] for q in queries]
    if passage_ids is not None and query_passage_ids is None:
        query_passage_ids = [passage_ids[column] for column in positives]

    def is_kept(i, j):
        if j == positives[i]:
            return True
        if query_groups is not None and query_groups[i] == passage_groups[j] != -1:
            return False
        if passage_ids is not None and query_passage_ids[i] == passage_ids[j] != -1:
            return False
        if mask is not None and mask[i][j]:
            return False
        if margin is not None and score[i][j] > score[i][positives[i]] + margin:
            return False
        return negatives == "all" or j not in positives

    def is_kept_in_reverse(i, k):
        return k == i or (positives[k] != positives[i] and is_kept(k, positives[i]))

    rows = []
    for i in range(num_queries):
        positive = score[i][positives[i]] / temperature
        kept = [score[i][j] / temperature for j in range(num_passages) if is_kept(i, j)]
        row = log_sum_exp(kept) - positive
        if symmetric:
            kept = [k for k in range(num_queries) if is_kept_in_reverse(i, k)]
            reverse = log_sum_exp([score[k][positives[i]] / temperature for k in kept])
            row = (row + reverse - positive) / 2
        rows.append(row)
    return rows


def unit(vector):
    return [x / max(math.sqrt(sum(y * y for y in vector)), 1e-12) for x in vector]


def log_sum_exp(values):
    return max(values) + math.log(sum(math.exp(value - max(values)) for value in values))


def slow_reduction(rows, weights, reduction):
    weighted = [w * row for w, row in zip(weights, rows, strict=True)]
    if reduction == "none":
        return weighted
    total = sum(weights) if reduction == "mean" else 1
    return sum(weighted) / total if total else 0.0


@st.composite
def cases(draw):
    num_queries = draw(st.integers(1, 5))
    num_passages = num_queries + draw(st.integers(0, 4))
    dim = draw(st.integers(1, 3))
    coordinates = st.integers(-4, 4).map(lambda x: x / 4)
    normalize = draw(st.booleans())

    def lists(elements, length):
        return st.lists(elements, min_size=length, max_size=length)

    def maybe(strategy):
        return draw(st.none() | strategy)

    ids = st.integers(-1, 2)
    case = {
        "queries": draw(lists(lists(coordinates, dim), num_queries)),
        "passages": draw(lists(lists(coordinates, dim), num_passages)),
        "temperature": draw(st.sampled_from([0.001, 0.05, 1.0, 10.0]) | st.floats(0.01, 10)),
        "positives": maybe(lists(st.integers(0, num_passages - 1), num_queries)),
        "query_groups": None,
        "passage_groups": None,
        "passage_ids": maybe(lists(ids, num_passages)),
        "query_passage_ids": None,
        "mask": maybe(lists(lists(st.booleans(), num_passages), num_queries)),
        # Normalised scores are not exact: no margin that a tie could meet.
        "margin": maybe(st.sampled_from([0.1234, -0.3217] if normalize else [0.0, 0.25, -0.5])),
        "weights": maybe(lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), num_queries)),
        "normalize": normalize,
        "reduction": draw(st.sampled_from(["none", "sum", "mean"])),
        "symmetric": draw(st.booleans()),
        "negatives": "all",
    }
    if draw(st.booleans()):
        case["query_groups"] = draw(lists(ids, num_queries))
        case["passage_groups"] = draw(lists(ids, num_passages))
    if case["passage_ids"] is not None:
        case["query_passage_ids"] = maybe(lists(ids, num_queries))
    columns = case["positives"] or range(num_queries)
    if not case["symmetric"] and len(set(columns)) < num_passages:
        case["negatives"] = draw(st.sampled_from(["all", "hard_only"]))
    return case
