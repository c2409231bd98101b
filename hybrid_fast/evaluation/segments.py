"""Documents made of segments, scored by their best ones: localized relevance matching.

A long document is scored by its best passages alone (Litschko et al. 2022, doi
10.1007/s10791-022-09406-x): by the highest score ("max"), or by the mean of the k highest
("mean@k"; of all, if a document has fewer).
"""

from __future__ import annotations

import re

import numpy as np

from hybrid_fast.retrieval.texts import Pool, TextCollection


class DocumentScores:
    """Turns scores of segments into scores of documents.

    Attributes:
        rule: "max" or "mean@k".
        starts: int64 (num_documents,), first segment of each document; its others follow.
        num_segments: number of segments of all documents.
    """

    def __init__(self, rule: str, starts: np.ndarray, num_segments: int) -> None:
        """Group the documents by their number of segments.

        Args:
            rule: "max" or "mean@k" with k at least 1.
            starts: int64 (num_documents,), ascending from 0.
            num_segments: number of segments of all documents.

        Raises:
            ValueError: if the rule is unknown.
        """
        matched = re.fullmatch(r"max|mean@([1-9]\d*)", rule, re.ASCII)
        if matched is None:
            raise ValueError(
                f"document_score is {rule!r}; it must be 'max' or 'mean@k' with k at least 1, "
                "as in 'mean@3'"
            )
        self.rule = rule
        self.starts = starts
        self.num_segments = num_segments
        self._num_best = int(matched[1] or 1)
        sizes = np.diff(starts, append=num_segments)
        self._groups = [(size, np.flatnonzero(sizes == size)) for size in np.unique(sizes)]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return float32 (n, num_documents) for scores of segments, float32 (n, num_segments)."""
        if self._num_best == 1:
            return np.maximum.reduceat(scores, self.starts, axis=1)
        found = np.empty((len(scores), len(self.starts)), dtype=np.float32)
        for size, documents in self._groups:
            segments = self.starts[documents, None] + np.arange(size)
            best = np.sort(scores[:, segments], axis=-1)[..., -self._num_best :]
            found[:, documents] = best.mean(axis=-1)
        return found


def find_documents(segments: TextCollection) -> tuple[Pool, np.ndarray]:
    """Return the documents of segments: neighbours of one id and language are one document.

    Returns:
        The documents, and the first segment of each, int64 (num_documents,).
    """
    keys = list(zip(segments.language_codes.tolist(), segments.ids, strict=True))
    is_first = [row == 0 or keys[row - 1] != key for row, key in enumerate(keys)]
    starts = np.flatnonzero(is_first)
    ids = [segments.ids[row] for row in starts.tolist()]
    return Pool(ids, segments.languages, segments.language_codes[starts]), starts
