"""Bitext retrieval, as on Tatoeba (Artetxe and Schwenk 2019): find the translation of a sentence.

Line i of a file translates line i of the other. Each pair of languages is a task of its own, with
the sentences of the other side as the pool, and is measured both ways by accuracy: `recall@1`, as
one sentence is right. English sides differ from pair to pair, so that pairs do not compare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from hybrid_fast.data.formats.files import iter_lines
from hybrid_fast.evaluation import metrics
from hybrid_fast.evaluation.ranks import Relevants, dot_products, rank_relevants
from hybrid_fast.evaluation.tasks.files import task_folders
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.task import RetrievalTask, with_dtype
from hybrid_fast.evaluation.tasks.texts import Candidate, Query
from hybrid_fast.results import RankingBias, Results
from hybrid_fast.results.run_info import RunInfo

_NAME = re.compile(r"(?P<name>(?:.+\.)?(?P<first>[a-z]+)-(?P<second>[a-z]+))\.(?P<side>[a-z]+)")
# Sentences of each pair with English, counted in facebookresearch/LASER, data/tatoeba/v1 (74bc6ae);
# the others have 1,000.
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
    """Pairs of languages, each searched by itself.

    A language of a task is one side of one pair: its code where no other pair has it, else with the
    code of the other side behind it, "eng-deu".

    Attributes:
        pairs: the two languages of each pair.
    """

    takes_scorers = False

    def __init__(
        self, name: str, pairs: Mapping[tuple[str, str], tuple[list[str], list[str]]]
    ) -> None:
        """Make queries and candidates of all sentences.

        Args:
            name: name of the task.
            pairs: the codes of a pair to its sentences, line by line.

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
        super().__init__(
            name,
            (
                Query(f"{lang}:{n}", lang, text)
                for lang in sides
                for n, text in enumerate(sides[lang])
            ),
            (
                Candidate(f"{lang}:{n}", lang, text)
                for lang in sides
                for n, text in enumerate(sides[lang])
            ),
            {"candidate_text": "sentence"},
        )

    def score(
        self,
        query_embeddings: np.ndarray | torch.Tensor,
        candidate_embeddings: np.ndarray | torch.Tensor,
        *,
        info: RunInfo | None = None,
    ) -> Results:
        """Rank the other side of each pair; see `RetrievalTask.score`.

        Beside "mono" and "multi", which are empty, and "cross", the mean both ways, `metrics` of
        the results has "from_first" and "to_first": the means of one direction over the pairs.
        """
        queries, candidates = self._check(query_embeddings, candidate_embeddings)
        rows = {
            lang: slice(*self.queries.language_starts[code : code + 2])
            for code, lang in enumerate(self.languages)
        }
        shape = len(self.queries), len(self.languages) + 1
        by_query = {name: np.full(shape, np.nan) for name in self.metrics}
        for pair in self.pairs:
            for source, target in (pair, pair[::-1]):
                found = _rank_lines(queries[rows[source]], candidates[rows[target]], self.metrics)
                for name, figures in found.items():
                    by_query[name][rows[source], self.languages.index(target)] = figures
        results = self._results(
            by_query,
            np.full(len(self.queries), np.nan),
            RankingBias(),
            with_dtype(info, query_embeddings),
        )
        for setting, first, second in (("from_first", 0, 1), ("to_first", 1, 0)):
            cells = [(pair[first], pair[second]) for pair in self.pairs]
            results.metrics[setting] = {
                name: float(
                    np.mean(
                        [
                            np.mean(by_query[name][rows[a], self.languages.index(b)])
                            for a, b in cells
                        ]
                    )
                )
                for name in self.metrics
            }
        return results

    def run_ids(self) -> tuple[list[str], list[str]]:
        """Raise ValueError: pairs have no common pool, whose ranking a run could be."""
        raise ValueError(
            f"task {self.name!r} has no pool of all languages, so there is no run of it"
        )


def load_bitext(
    name: str, data: str | Path | None, *, languages: Sequence[str] | None = None
) -> BitextTask:
    """Load line-aligned pairs of files, such as Tatoeba's tatoeba.deu-eng.deu and .eng.

    Args:
        name: "tatoeba", which is compared with the published sizes, or "bitext".
        data: a folder of files <name>.<a>-<b>.<a> and <name>.<a>-<b>.<b>.
        languages: codes as in the file names; pairs that have one of them. Default all pairs.

    Raises:
        FileNotFoundError: if the folder is not there, or has no pairs, or none of a language.
        ValueError: if a pair is there twice, lacks a side or is not aligned, or a file is
            malformed.
    """
    expected = "pairs of files such as tatoeba.deu-eng.deu and tatoeba.deu-eng.eng"
    folder = task_folders(name, data, expected)[0]
    sides: dict[str, dict[str, Path]] = {}
    codes: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name.removesuffix(".gz"))
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
        name: pair
        for name, pair in codes.items()
        if languages is None or set(pair) & set(languages)
    }
    _check_once(chosen)
    pairs = {pair: _read_pair(name, pair, sides[name]) for name, pair in chosen.items()}
    task = BitextTask(name, pairs)
    if name == "tatoeba":
        found = {pair[0]: (len(texts[0]),) for pair, texts in pairs.items() if pair[1] == "eng"}
        compare_sizes(name, ("sentences",), found, TATOEBA, whole=languages is None, stacklevel=3)
    return task


def _check_once(codes: Mapping[str, tuple[str, str]]) -> None:
    """Raise a ValueError if two names are of the same two languages, in either order."""
    names: dict[frozenset[str], str] = {}
    for name, pair in codes.items():
        other = names.setdefault(frozenset(pair), name)
        if other != name:
            raise ValueError(
                f"{other} and {name} are both of {' and '.join(pair)}; leave one of them in the "
                "data folder"
            )


def _read_pair(
    name: str, pair: tuple[str, str], paths: Mapping[str, Path]
) -> tuple[list[str], list[str]]:
    missing = [code for code in pair if code not in paths]
    if missing:
        raise FileNotFoundError(f"{name}.{missing[0]} is not there; {name} needs both sides")
    first, second = ([line for _, line in iter_lines(paths[code])] for code in pair)
    if len(first) != len(second):
        raise ValueError(
            f"{paths[pair[0]]} has {len(first)} lines and {paths[pair[1]]} {len(second)}: they are "
            "not aligned"
        )
    for code, lines in zip(pair, (first, second), strict=True):
        blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
        if blank is not None:
            raise ValueError(f"{paths[code]}:{blank}: the line is empty; leave the pair out")
    return first, second


def _rank_lines(
    queries: np.ndarray, candidates: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return metrics of each query, candidate i answering query i."""
    count = len(queries)
    relevants = Relevants(np.arange(count + 1), np.arange(count))
    ranks = rank_relevants(dot_products(queries, candidates), np.array([0, count]), relevants)
    return metrics.score_cells(np.arange(count), ranks.in_pool, None, count, names)
