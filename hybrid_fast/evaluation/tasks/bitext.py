"""Bitext retrieval, as on Tatoeba (Artetxe and Schwenk 2019): find the translation of a sentence.

Line i of one file is the translation of line i of the other. Each pair of languages is evaluated
separately in both directions, with the sentences of the other side as the pool, by accuracy:
`recall@1`, since one sentence is correct. The English sentences differ from pair to pair, so scores
of different pairs are not comparable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hybrid_fast.data.formats.lines import iter_lines, plain_name
from hybrid_fast.evaluation import metrics
from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.evaluation.tasks.embeddings import Embeddings, with_dtype
from hybrid_fast.evaluation.tasks.files import task_folders
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.queries import Candidate, Query
from hybrid_fast.evaluation.tasks.query_scores import QueryScores
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.retrieval.scores import dot_products
from hybrid_fast.retrieval.shared_work import SharedWork

_NAME = re.compile(r"(?P<name>(?:.+\.)?(?P<first>[a-z]+)-(?P<second>[a-z]+))\.(?P<side>[a-z]+)")
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
    the other side if several pairs share it: "eng-deu".

    Attributes:
        pairs: the two languages of each pair.
    """

    takes_scorers = False

    def __init__(
        self, name: str, pairs: Mapping[tuple[str, str], tuple[list[str], list[str]]]
    ) -> None:
        """Make every sentence both a query and a candidate.

        Args:
            name: name of the task.
            pairs: the codes of a pair to the sentences of both sides, line by line.

        Raises:
            ValueError: if there are no pairs.
        """
        codes = [code for pair in pairs for code in pair]
        self.pairs: list[tuple[str, str]] = []
        sides: dict[str, list[str]] = {}
        for (first, second), texts in pairs.items():
            pair = tuple(
                one if codes.count(one) == 1 else f"{one}-{other}"
                for one, other in ((first, second), (second, first))
            )
            self.pairs.append((pair[0], pair[1]))
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
            {"candidate_text": "sentence"},
        )

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
            rows, column = self._rows(source), self.languages.index(target)
            others = candidates[self._rows(target)]
            found = _rank_lines(queries[rows], others, self.metrics, shared)
            for name, values in found.items():
                scores.by_metric[name][rows, column] = values
        results = self._results(scores, with_dtype(info, query_embeddings))
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
    name: str, data: str | Path | None = None, *, languages: Sequence[str] | None = None
) -> BitextTask:
    """Load line-aligned pairs of files, such as Tatoeba's tatoeba.deu-eng.deu and .eng.

    Args:
        name: "tatoeba", which is compared with the published sizes, or "bitext".
        data: a folder of files <name>.<a>-<b>.<a> and <name>.<a>-<b>.<b>.
        languages: codes as in the file names; pairs with at least one of them are loaded. Default
            all pairs.

    Raises:
        FileNotFoundError: if the folder does not exist, has no pairs or none of a language, or a
            pair lacks a side.
        ValueError: if a pair occurs twice or is not aligned, or a file is malformed.
    """
    expected = "pairs of files such as tatoeba.deu-eng.deu and tatoeba.deu-eng.eng"
    folder = task_folders(name, data, expected)[0]
    sides: dict[str, dict[str, Path]] = {}
    codes: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(plain_name(path))
        if match and match["side"] in (match["first"], match["second"]):
            codes[match["name"]] = (match["first"], match["second"])
            sides.setdefault(match["name"], {})[match["side"]] = path
    known = {code for pair in codes.values() for code in pair}
    unknown = sorted(set(languages or ()) - known)
    if unknown or not codes:
        raise FileNotFoundError(
            f"no pair of {', '.join(unknown) or 'files'} in data folder {str(folder)!r}, which "
            f"needs {expected}; it has {', '.join(sorted(known)) or 'none'}"
        )
    chosen = {
        stem: pair
        for stem, pair in codes.items()
        if languages is None or set(pair) & set(languages)
    }
    _check_once(chosen)
    pairs = {pair: _read_pair(stem, pair, sides[stem]) for stem, pair in chosen.items()}
    task = BitextTask(name, pairs)
    if name == "tatoeba":
        found = {pair[0]: (len(texts[0]),) for pair, texts in pairs.items() if pair[1] == "eng"}
        compare_sizes(name, ("sentences",), found, TATOEBA, whole=languages is None, stacklevel=3)
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


def _rank_lines(
    queries: np.ndarray,
    candidates: np.ndarray,
    names: Sequence[str],
    shared: SharedWork | None,
) -> dict[str, np.ndarray]:
    """Return each metric by query, float64 (n,); candidate i answers query i."""
    count = len(queries)
    relevants = Relevants(np.arange(count + 1), np.arange(count))
    scores, starts = dot_products(queries, candidates), np.array([0, count])
    ranks = rank_relevants(scores, starts, relevants, shared=shared)
    return metrics.score_cells(np.arange(count), ranks.in_pool, None, count, names)
