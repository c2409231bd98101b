"""What a caller gives a task, checked one by one: ids, languages, texts, grades.

Ids of any type become text, codes of languages are normalised, and what is missing or cannot be
used is named by its id, before anything is encoded.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hybrid_fast.common.texts import id_text, invalid_unicode
from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.trec_runs import is_number
from hybrid_fast.data.languages import warn_of_merged_languages

Grades = Mapping[Any, float]


class TextChecks:
    """Checks the texts of one task.

    Args:
        task: name of the task, for errors.
        normalize: returns the code of a language; called with a code, and whether to keep its
            script, region and variants.
        keep_variants: whether codes keep these.
    """

    def __init__(
        self, task: str, normalize: Callable[[str, bool], str], keep_variants: bool
    ) -> None:
        self.task = task
        self.normalize = normalize
        self.keep_variants = keep_variants
        # What was given to the code it stands for, and to the number of its texts.
        self._codes: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def texts(
        self, name: str, members: Iterable[tuple[Any, ...]], *, can_be_blank: bool = False
    ) -> Iterator[tuple[str, str, str]]:
        """Yield id, language and text of each query or candidate.

        Args:
            name: what they are called, for errors.
            members: id, language and text of each.
            can_be_blank: whether texts may be, as those beside a title.

        Raises:
            TypeError: if one is no tuple of these, or its id is missing or none.
            ValueError: if a language or text is missing, blank, unknown or no valid Unicode.
        """
        for number, member in enumerate(members):
            if not isinstance(member, tuple) or len(member) < 3:
                raise TypeError(
                    f"task {self.task!r}: {name} {number} is a {type(member).__name__}; give a "
                    f"{name.title()}(id, lang, text)"
                )
            member_id, lang, text = member[:3]
            if type(member_id) is not str:
                member_id = id_text(member_id, f"task {self.task!r}: the id of {name} {number}")
            if not isinstance(text, str):
                raise ValueError(f"{self._where(name, member_id)} has no text: it is {text!r}")
            if is_blank(text) and not can_be_blank:
                raise ValueError(
                    f"{self._where(name, member_id)} has a blank text, {text!r}; leave it out"
                )
            try:
                member_id.encode()
                text.encode()
            except UnicodeEncodeError as error:
                raise invalid_unicode(error, self._where(name, member_id)) from None
            code = self._codes.get(lang) or self._code(name, member_id, lang)
            self._counts[lang] += 1
            yield member_id, code, text

    def _code(self, name: str, member_id: str, lang: object) -> str:
        where = self._where(name, member_id)
        if not isinstance(lang, str) or not lang:
            raise ValueError(f"{where} has no language: it is {lang!r}")
        if lang.lower() == "all":
            raise ValueError(
                f"task {self.task!r}: no language can be called 'all', which names the union pool"
            )
        try:
            self._codes[lang] = self.normalize(lang, self.keep_variants)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        return self._codes[lang]

    def warn_of_merged(self) -> None:
        """Log a warning for codes that were not the same and became one language."""
        merged: dict[str, dict[str, int]] = defaultdict(dict)
        for given, code in self._codes.items():
            merged[code][given] = self._counts[given]
        several = {code: given for code, given in merged.items() if len(given) > 1}
        warn_of_merged_languages(f"task {self.task!r}", several, unit="texts", alike=True)

    def _where(self, name: str, member_id: str) -> str:
        return f"task {self.task!r}: {name} {member_id!r}"


def checked_grades(graded: Iterable[Any] | Grades | None, where: str) -> dict[str, float]:
    """Return ids as text, each with its grade, 1 where there are ids alone.

    Args:
        graded: ids, or a mapping from ids to grades; None: no ids.
        where: what to call it in errors, such as "query_ids of candidate 'd3'".

    Raises:
        TypeError: if it is one text, an id is missing, or a grade is no number.
        ValueError: if one id comes with two grades, or a grade is not finite.
    """
    if isinstance(graded, str | bytes):
        raise TypeError(f"{where}: got the text {graded!r}; give a list of ids: [{graded!r}]")
    if graded is None:
        return {}
    pairs = graded.items() if isinstance(graded, Mapping) else ((each, 1) for each in graded)
    checked: dict[str, float] = {}
    for given, grade in pairs:
        each = given if type(given) is str else id_text(given, f"{where}: an id")
        if not is_number(grade):
            raise TypeError(f"{where}: the grade of {each!r} is {grade!r}; give a number")
        if not math.isfinite(grade):
            raise ValueError(f"{where}: the grade of {each!r} is {grade!r}; give a finite number")
        if checked.setdefault(each, float(grade)) != float(grade):
            raise ValueError(
                f"{where}: {each!r} has two grades, {checked[each]:g} and {float(grade):g}; keep "
                "one"
            )
    return checked
