"""Content of a small results.json, made by hand."""

from hybrid_fast.results import Results


def make_content(kind="mono", seed=0, model="static", **more):
    scores = {"map": 0.5, "recall@1": 0.25, "recall@10": 0.75}
    return {
        "task": "xquad-r",
        "model": model,
        "kind": kind,
        "seed": seed,
        "versions": {"python": "3.11"},
        "settings": {"candidate_text": "sentence", "prompts": {"query": "Q: "}},
        "metrics": {"mono": scores, "cross": dict.fromkeys(scores), "multi": {**scores}},
        "grid": {"map": {"de": {"de": 0.5, "th": None, "all": 0.25}}},
        "language_bias": {
            "rank_distance": 12.5,
            "rank_distance_median": 12.0,
            "rank_distance_normalised": 0.125,
            "by_language": {"de": 12.5, "th": None},
        },
        "counts": {
            "queries": {"de": 2},
            "candidates": {"de": 3, "th": 4},
            "pool": 7,
            "dropped": {"de": {"de": 0, "th": 2}},
        },
        **more,
    }


def make_run(kind="mono", seed=0, model="static", **more):
    return Results.from_dict(make_content(kind, seed, model, **more))
