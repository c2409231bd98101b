"""The files of a corpus: named one by one, by patterns, or as the folder of a published corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hybrid_fast.common.paths import expanded
from hybrid_fast.data.formats.files import Paths, SourceFile, find_files
from hybrid_fast.data.formats.lines import COMPRESSIONS


def find_corpus_files(
    path: Paths, lang: str | None, languages: Sequence[str] | Mapping[str, str] | None
) -> list[SourceFile]:
    """Return the files of a corpus."""
    if isinstance(path, str | Path) and expanded(path).is_dir():
        return _folder_files(expanded(path), lang, languages)
    return find_files(path, lang=lang, languages=languages)


def _folder_files(
    folder: Path, lang: str | None, languages: Sequence[str] | Mapping[str, str] | None
) -> list[SourceFile]:
    for ending in ("", *COMPRESSIONS):
        if (folder / f"corpus.jsonl{ending}").is_file():
            return find_files(folder / f"corpus.jsonl{ending}", lang=lang, languages=languages)
    raise FileNotFoundError(f"{folder} holds no corpus.jsonl; name its files")
