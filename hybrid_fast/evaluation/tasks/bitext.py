"""Bitext retrieval, as on Tatoeba (Artetxe and Schwenk 2019): find the translation of a sentence.

Line i of one file is the translation of line i of the other. Each pair of languages is evaluated
separately in both directions, with the sentences of the other side as the pool, by accuracy:
`recall@1`, since one sentence is correct. The English sentences differ from pair to pair, so scores
of different pairs are not comparable.

Where a sentence stands on several lines there are two conventions. By line, only the translation of
the same line is correct: so count LASER, XTREME and mteb, whose scores are published. A model that
returns the very same text from another line is wrong then. By text, any sentence is correct that
translates the query on some line, as in the mining of BUCC, whose pairs are pairs of texts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.lines import iter_lines, plain_name
from hybrid_fast.data.languages import codes_meant, normalize_language
from hybrid_fast.evaluation import metrics
from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.evaluation.tasks.embeddings import Embeddings, with_dtype
from hybrid_fast.evaluation.tasks.files import task_folders
from hybrid_fast.evaluation.tasks.outcome import make_results
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.queries import Candidate, Query
from hybrid_fast.evaluation.tasks.query_scores import QueryScores
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.retrieval.scores import dot_products
from hybrid_fast.retrieval.shared_work import SharedWork

MATCHES = ("line", "text")
_CODE = "[a-z]+(?:_[A-Za-z0-9]+)*"  # deu, deu_Latn
_NAME = re.compile(rf"(?P<name>(?:.+\.)?(?P<first>{_CODE})-(?P<second>{_CODE}))\.(?P<side>{_CODE})")
# Sentences in each pair with English, counted in facebookresearch/LASER, data/tatoeba/v1 (74bc6ae);
# the pairs of _FULL have 1,000.
_FEWER = (
    "amh 168 ang 134 arq 911 arz 477 ast 127 awa 231 bos 354 ceb 600 cha 137 csb 253 cym 575 "
    "dsb 479 fao 262 fry 173 gla 829 gsw 117 hsb 483 hye 742 jav 205 kat 746 kaz 575 khm 722 "
    "kur 410 mal 687 max 284 mon 440 nov 257 orv 835 pms 525 slv 823 swg 112 swh 390 tam 307 "
    "tel 234 tha 548 tuk 203 tzl 104 uzb 428 xho 142 yid 848"
).split()
_FULL = (
    "afr ara aze bel ben ber bre bul cat cbk ces cmn cor dan deu dtp ell epo est eus fin fra gle "
    "glg heb hin hrv hun ido ile ina ind isl ita jpn kab kor kzj lat lfn lit lvs mar mhr mkd nds "
    "nld nno nob oci pam pes pol por ron rus slk spa sqi srp swe tat tgl tur uig ukr urd vie war "
    "wuu yue zsm"
).split()
TATOEBA = {
    **{lang: (1000,) for lang in _FULL},
    **{lang: (int(size),) for lang, size in zip(_FEWER[::2], _FEWER[1::2], strict=True)},
}


class BitextTask(RetrievalTask):
    """Pairs of languages, each searched separately.

    A language of this task is one side of one pair. Its name is its code, followed by the code of
    the other side if several pairs share it: "en-de".

    Attributes:
        pairs: the two languages of each pair.
        match: what tells the translation of a sentence, "line" or "text".
        repeated: how many sentences of each language stand on an earlier line too.
    """

    takes_scorers = False

    def __init__(
        self,
        name: str,
        pairs: Mapping[tuple[str, str], tuple[Sequence[str], Sequence[str]]],
        match: str = MATCHES[0],
    ) -> None:
        """Make every sentence both a query and a candidate.

        Args:
            name: name of the task.
            pairs: the codes of a pair to the sentences of both sides, line by line.
            match: where sentences repeat, "line": the translation of the same line alone is
                correct, as in published scores; "text": that of any line with the same sentence.

        Raises:
            ValueError: if there are no pairs, a language or `match` is unknown, or the sides of a
                pair have different numbers of lines.
        """
        self.match = check_choice("match", match, MATCHES)
        self.pairs: list[tuple[str, str]] = _side_names(list(pairs))
        sides: dict[str, Sequence[str]] = {}
        for pair, texts in zip(self.pairs, pairs.values(), strict=True):
            if len(texts[0]) != len(texts[1]):
                raise ValueError(
                    f"task {name!r}: the pair {' and '.join(pair)} has {len(texts[0])} and "
                    f"{len(texts[1])} lines; they are not aligned"
                )
            sides |= zip(pair, texts, strict=True)
        sentences = [
            (f"{lang}:{line}", lang, text)
            for lang, texts in sides.items()
            for line, text in enumerate(texts)
        ]
        super().__init__(
            name,
            (Query(*each) for each in sentences),
            (Candidate(*each) for each in sentences),
            {"candidate_text": "sentence", "match": match},
        )
        self.repeated = {
            lang: len(texts) - len(set(texts)) for lang, texts in sorted(sides.items())
        }

    def _language_code(self, code: str, keep_variants: bool) -> str:
        """Return the name of a side as it is; it was made of normalised codes."""
        return code

    def score(
        self,
        query_embeddings: Embeddings,
        candidate_embeddings: Embeddings,
        *,
        info: RunInfo | None = None,
        shared: SharedWork | None = None,
    ) -> Results:
        """Rank the other side of each pair; see `RetrievalTask.score`.

        "mono" and "multi" are empty; "cross" is the mean of both directions. `metrics` of the
        results has two settings more, "from_first" and "to_first": the means of one direction over
        the pairs.
        """
        queries, candidates = self._checked(query_embeddings, candidate_embeddings)
        scores = QueryScores.empty(self.queries, self.metrics)
        reversed_pairs = [(second, first) for first, second in self.pairs]
        for source, target in (*self.pairs, *reversed_pairs):
            rows, columns = self._rows(source), self._rows(target)
            column = self.languages.index(target)
            answers = _answers(self.queries[rows], self.candidates[columns], self.match)
            found = _rank_first(queries[rows], candidates[columns], answers, self.metrics, shared)
            for name, values in found.items():
                scores.by_metric[name][rows, column] = values
        results = make_results(self, scores, with_dtype(info, query_embeddings))
        results.counts.other["repeated"] = dict(self.repeated)
        for setting, directions in (("from_first", self.pairs), ("to_first", reversed_pairs)):
            results.metrics[setting] = {
                name: float(np.mean([self._mean(values, *each) for each in directions]))
                for name, values in scores.by_metric.items()
            }
        return results

    def _rows(self, lang: str) -> slice:
        """Return the rows of a language, of queries and candidates alike."""
        code = self.languages.index(lang)
        return slice(*self.queries.language_starts[code : code + 2])

    def _mean(self, values: np.ndarray, source: str, target: str) -> np.floating:
        return np.mean(values[self._rows(source), self.languages.index(target)])

    def run_ids(self) -> tuple[list[str], list[str]]:
        """Raise ValueError: pairs have no common pool whose ranking could be a TREC run."""
        raise ValueError(
            f"task {self.name!r} has no pool of all languages, so no TREC run is written"
        )


def load_pairs(
    name: str,
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    match: str | None = None,
) -> BitextTask:
    """Load line-aligned pairs of files, such as Tatoeba's tatoeba.deu-eng.deu and .eng.

    Args:
        name: "tatoeba", which is compared with the published sizes, or "bitext".
        data: a folder of files <name>.<a>-<b>.<a> and <name>.<a>-<b>.<b>, where <a> is a code such
            as deu or deu_Latn.
        languages: codes in any spelling; pairs with at least one of them are loaded. Default all
            pairs.
        match: see `BitextTask`; default "line", as in published scores.

    Raises:
        FileNotFoundError: if the folder does not exist, has no pairs or none of a language, or a
            pair lacks a side.
        ValueError: if `match` is unknown, a pair occurs twice or is not aligned, or a file is
            malformed.
    """
    match = check_choice("match", match or MATCHES[0], MATCHES)
    if isinstance(languages, str):
        raise TypeError(f"languages is the text {languages!r}; give a list of codes")
    expected = "pairs of files such as tatoeba.deu-eng.deu and tatoeba.deu-eng.eng"
    folder = task_folders(name, data, expected)[0]
    sides: dict[str, dict[str, Path]] = {}
    codes: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.iterdir()):
        found = _NAME.fullmatch(plain_name(path))
        if found and found["side"] in (found["first"], found["second"]):
            codes[found["name"]] = (found["first"], found["second"])
            sides.setdefault(found["name"], {})[found["side"]] = path
    known = {code for pair in codes.values() for code in pair}
    meant = {code: codes_meant(code, known) for code in languages or ()}
    asked = None if languages is None else {each for codes in meant.values() for each in codes}
    unknown = sorted(code for code in meant if not meant[code])
    if unknown or not codes:
        raise FileNotFoundError(
            f"no pair of {', '.join(unknown) or 'files'} in data folder {str(folder)!r}, which "
            f"needs {expected}; it has {', '.join(sorted(known)) or 'none'}"
        )
    chosen = {stem: pair for stem, pair in codes.items() if asked is None or set(pair) & asked}
    _check_once(chosen)
    pairs = {pair: _read_pair(stem, pair, sides[stem]) for stem, pair in chosen.items()}
    task = BitextTask(name, pairs, match)
    if name == "tatoeba":
        sizes = {pair[0]: (len(texts[0]),) for pair, texts in pairs.items() if pair[1] == "eng"}
        compare_sizes(name, ("sentences",), sizes, TATOEBA, whole=languages is None, stacklevel=3)
    return task


load_tatoeba = partial(load_pairs, "tatoeba")
load_bitext = partial(load_pairs, "bitext")


def _check_once(codes: Mapping[str, tuple[str, str]]) -> None:
    """Raise a ValueError if two names have the same two languages, in either order."""
    names: dict[frozenset[str], str] = {}
    for name, pair in codes.items():
        other = names.setdefault(frozenset(pair), name)
        if other != name:
            raise ValueError(
                f"{other} and {name} are both of {' and '.join(pair)}; keep one of them in the "
                "data folder"
            )


def _read_pair(
    name: str, pair: tuple[str, str], paths: Mapping[str, Path]
) -> tuple[list[str], list[str]]:
    missing = [code for code in pair if code not in paths]
    if missing:
        raise FileNotFoundError(
            f"{name}.{missing[0]} is missing; {name} needs the files of both languages"
        )
    first, second = ([line for _, line in iter_lines(paths[code])] for code in pair)
    if len(first) != len(second):
        raise ValueError(
            f"{paths[pair[0]]} has {len(first)} lines and {paths[pair[1]]} {len(second)}: they are "
            "not aligned"
        )
    for code, lines in zip(pair, (first, second), strict=True):
        blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
        if blank is not None:
            raise ValueError(f"{paths[code]}:{blank}: the line is empty; remove it from both files")
    return first, second


def _side_names(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the names of both sides of each pair, see `BitextTask`.

    Codes are normalised, but for pairs that would be called alike, such as kzj-eng and dtp-eng.
    """
    normal = [(normalize_language(first), normalize_language(second)) for first, second in pairs]
    alike = Counter(map(frozenset, normal))
    named = [
        given if alike[frozenset(pair)] > 1 else pair
        for given, pair in zip(pairs, normal, strict=True)
    ]
    counts = Counter(code for pair in named for code in pair)

    def side(one: str, other: str) -> str:
        return one if counts[one] == 1 else f"{one}-{other}"

    return [(side(first, second), side(second, first)) for first, second in named]


def _answers(sources: Sequence[str], targets: Sequence[str], match: str) -> Relevants:
    """Return the targets that are a correct translation of each source, line by line aligned."""
    if match == "line":
        return Relevants(np.arange(len(sources) + 1), np.arange(len(sources)))
    lines: dict[str, list[int]] = defaultdict(list)
    translations: dict[str, set[str]] = defaultdict(set)
    for line, (source, target) in enumerate(zip(sources, targets, strict=True)):
        lines[target].append(line)
        translations[source].add(target)
    rows = [sorted(line for text in translations[each] for line in lines[text]) for each in sources]
    return Relevants(
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        rows=np.array([row for some in rows for row in some], dtype=np.int64),
    )


def _rank_first(
    queries: np.ndarray,
    candidates: np.ndarray,
    answers: Relevants,
    names: Sequence[str],
    shared: SharedWork | None,
) -> dict[str, np.ndarray]:
    """Return each metric by query, float64 (n,), of the best of its answers alone."""
    count = len(queries)
    scores, starts = dot_products(queries, candidates), np.array([0, count])
    ranks = rank_relevants(scores, starts, answers, shared=shared)
    first = np.minimum.reduceat(ranks.in_pool, answers.offsets[:-1])
    return metrics.score_cells(np.arange(count), first, None, count, names)
