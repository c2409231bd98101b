"""What mining is, row by row in plain Python, with tables and a model to try it on."""

from __future__ import annotations

import unicodedata
from collections import Counter
from hashlib import blake2b

import numpy as np

from hybrid_fast.data import AlignedTable
from hybrid_fast.retrieval.mining import MiningOptions

DIMENSION = 6
LANGUAGES = ("de", "en", "th")


class HashModel:
    """Embeds a text by its hash; small whole numbers make many equal scores, and exact ones."""

    def __init__(self, similarity="dot", whole=True, seed=0):
        self.similarity_fn_name, self.whole, self.seed = similarity, whole, seed
        self.encoded = Counter()

    def _encode(self, texts, side):
        self.encoded.update(texts)
        rows = []
        for text in texts:
            digest = blake2b(f"{self.seed} {side} {text}".encode(), digest_size=8).digest()
            rng = np.random.default_rng(int.from_bytes(digest))
            rows.append(
                rng.integers(-3, 4, DIMENSION) if self.whole else rng.standard_normal(DIMENSION)
            )
        return np.array(rows, np.float32)

    def encode_queries(self, texts):
        return self._encode(texts, "query")

    def encode_passages(self, texts):
        return self._encode(texts, "passage")


def draw_table(seed, num_rows=60, with_ids=True, titles=False, negatives=False) -> AlignedTable:
    """Groups in several languages, alternatives, repeated texts and queries, rows of one side."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        side = rng.choice(["both", "query", "passage"], p=[0.7, 0.15, 0.15])
        query = f"question {rng.integers(3 * num_rows)}" if side != "passage" else None
        passage = f"text {rng.integers(num_rows)}" if side != "query" else None
        if rng.random() < 0.1 and passage:
            passage = passage.replace(" ", "  ")
        if rng.random() < 0.05 and passage:
            passage = f"question {rng.integers(3 * num_rows)}"
        given = with_ids and passage and rng.random() < 0.3
        texts = [f"text {rng.integers(num_rows)}" for _ in range(rng.integers(3))]
        rows.append({
            "group_id": str(rng.integers(num_rows // 3)),
            "lang": str(rng.choice(LANGUAGES)),
            "query": query,
            "passage": passage,
            "passage_id": f"p{rng.integers(num_rows // 2)}" if given else None,
            "title": f"title {rng.integers(3)}" if titles and passage and rng.random() < 0.5
            else None,
            "negatives": list(dict.fromkeys(texts)) if negatives else [],
        })  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return AlignedTable.from_columns(columns, on_missing_title="allow")


def same_text(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


class Classes:
    """The finest classes of things of which some pairs are together."""

    def __init__(self):
        self.parents = {}

    def find(self, thing):
        self.parents.setdefault(thing, thing)
        while self.parents[thing] != thing:
            thing = self.parents[thing]
        return thing

    def join(self, one, other):
        self.parents[self.find(one)] = self.find(other)


class ByHand:
    def __init__(self, table: AlignedTable, model: HashModel, options: MiningOptions):
        self.options, self.model = options, model
        self.rows = table.dataset[:]
        self.rows = [
            {name: values[row] for name, values in self.rows.items()} for row in range(len(table))
        ]
        self.questions, self.passages = Classes(), Classes()
        for row in self.rows:
            if row["passage"] is not None:
                row["text"] = " ".join(filter(None, [row["title"], row["passage"]]))
                self.passages.join(("id", row["passage_id"]), ("text", same_text(row["text"])))
            if row["query"] is not None:
                self.questions.join(("group", row["group_id"]), ("query", same_text(row["query"])))
        self.candidates = {}
        for row in self.rows:
            if row["passage"] is not None:
                self.candidates.setdefault((row["lang"], same_text(row["text"])), row["text"])

    def question(self, row):
        return self.questions.find(("group", row["group_id"]))

    def passage(self, text):
        return self.passages.find(("text", same_text(text)))

    def score(self, query, text):
        one, other = (
            self.model._encode([query], "query")[0],
            self.model._encode([text], "passage")[0],
        )
        if self.model.similarity_fn_name == "cosine":
            one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
        return float(np.float32(one @ other))

    def answers(self, row):
        """The classes of all that answers a row's question."""
        same = [each for each in self.rows if self.question(each) == self.question(row)]
        found = {self.passage(each["text"]) for each in same if each["passage"] is not None}
        return found | {self.passage(each["query"]) for each in same if each["query"] is not None}

    def positives(self, row):
        """The score of the own passage, and that of which negatives must stay below."""
        same = [
            self.candidates[each["lang"], same_text(each["text"])]
            for each in self.rows
            if self.question(each) == self.question(row)
            and each["passage"] is not None
            and each["lang"] == row["lang"]
        ] or [
            self.candidates[each["lang"], same_text(each["text"])]
            for each in self.rows
            if self.question(each) == self.question(row) and each["passage"] is not None
        ]
        lowest = min((self.score(row["query"], text) for text in same), default=None)
        if row["passage"] is None:
            return None, lowest
        text = self.candidates[row["lang"], same_text(row["text"])]
        own = self.score(row["query"], text)
        return own, own if self.options.positive == "own" else lowest

    def scope(self, row):
        asked = self.options.languages
        if asked in ("own", "other"):
            return [x for x in LANGUAGES if (x == row["lang"]) == (asked == "own")]
        return list(LANGUAGES) if asked == "pool" else list(asked)

    def window(self, row, languages):
        first, last = self.options.ranks
        left_out = {same_text(text) for text in row["negatives"]} if (
            self.options.existing == "extend"
        ) else set()  # fmt: skip
        answers, seen, others = self.answers(row), set(), []
        hits = [
            (self.score(row["query"], text), number, text)
            for number, ((language, _), text) in enumerate(self.candidates.items())
            if language in languages
        ]
        for score, _, text in sorted(hits, key=lambda hit: (-hit[0], hit[1])):
            key = same_text(text)
            if self.passage(text) not in answers and key not in left_out and key not in seen:
                others.append((score, text))
                seen.add(key)
        return others[first - 1 : last]

    def allows(self, score, positive):
        options = self.options
        if options.has_margin and positive is None:
            return False
        if options.margin is not None and score > positive - options.margin:
            return False
        relative = options.relative_margin
        if relative is not None and score > positive - (1 - relative) * abs(positive):
            return False
        if options.max_score is not None and score > options.max_score:
            return False
        return options.min_score is None or score >= options.min_score

    def mine(self, row):
        """The negatives of a row and their scores, taken from the top, and the own score."""
        own, positive = self.positives(row)
        languages = self.scope(row)
        sets = [[each] for each in languages] if self.options.balanced else [languages]
        windows = [
            [hit for hit in self.window(row, each) if self.allows(hit[0], positive)]
            for each in sets
        ]
        by_turn = [
            (turn, -score, column, text, score)
            for column, window in enumerate(windows)
            for turn, (score, text) in enumerate(window)
        ]
        if not self.options.balanced:
            by_turn = [(0, *each[1:]) for each in by_turn]
        taken = sorted(by_turn, key=lambda each: each[:3])[: self.options.num_negatives]
        taken.sort(key=lambda each: (each[1], each[2]))
        return [each[3] for each in taken], [each[4] for each in taken], own
