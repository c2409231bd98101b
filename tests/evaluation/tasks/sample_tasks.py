"""Tasks whose scores are known: parallel texts, and random ones with gaps."""

import numpy as np

from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask

LANGUAGES = ("ar", "de", "en", "zh")


def random_task(seed, num_groups=30, presence=0.7):
    """Unsorted queries and candidates; groups lack languages, candidates answer 0 to 3 queries."""
    rng = np.random.default_rng(seed)
    groups = [f"g{number}" for number in range(num_groups)]
    asked = [(group, x) for group in groups for x in LANGUAGES if rng.random() < presence]
    queries = [Query(*asked[row], "text") for row in rng.permutation(len(asked))]
    candidates = [
        Candidate(f"c{number}", str(rng.choice(LANGUAGES)), "text", tuple(answered))
        for number in range(3 * num_groups)
        for answered in [rng.choice(groups, rng.integers(0, 4), replace=False).tolist()]
    ]
    return queries, candidates


def parallel_task(num_groups=12, languages=LANGUAGES):
    ids = [f"g{number}" for number in range(num_groups)]
    queries = [Query(g, x, f"query {g} {x}") for x in languages for g in ids]
    candidates = [
        Candidate(f"{x}-{g}", x, f"passage {g} {x}", (g,)) for x in languages for g in ids
    ]
    return RetrievalTask("parallel", queries, candidates, {"candidate_text": "passage"})


def one_hot(task):
    """Embeddings that know the group and nothing of the language."""
    groups = {name: column for column, name in enumerate(dict.fromkeys(task.queries.ids))}
    queries = np.eye(len(groups))[[groups[name] for name in task.queries.ids]]
    candidates = np.eye(len(groups))[[groups[name.split("-")[1]] for name in task.candidates.ids]]
    return queries, candidates
