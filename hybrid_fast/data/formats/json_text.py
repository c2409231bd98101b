"""JSON: values with their place in the file, and records in the shapes in which they are kept.

Records are objects one a line (JSON Lines), in an array, or in an array called "data" within one
object. Arrays are read piece by piece, so that memory follows the record, not the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.lines import iter_lines
from hybrid_fast.data.formats.tolerance import EMPTY_LINES, Tolerance

Json = Any  # what json.loads returns
JsonObject = dict[str, Json]
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_PARAGRAPHS = re.compile(r'"paragraphs"\s*:')
_PIECE = 2**16  # characters that are looked at together
_HEAD = 2**20  # characters that tell the shape of a file
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def parse_json(text: str, path: Path, line: int | None = None) -> Json:
    """Return a JSON value; ValueError with file and line if it is malformed.

    Args:
        text: the JSON text.
        path: its file, for the message.
        line: its line in the file; default is the line of the text.
    """
    try:
        value = json.loads(text)
        _check_surrogates(text, value)
    except (ValueError, RecursionError) as error:
        raise _located(error, path, line) from error
    return value


def read_json(path: Path) -> Json:
    """Return the content of a JSON file; ValueError with the line if it is malformed."""
    return parse_json("\n".join(line for _, line in iter_lines(path)), path)


def iter_json_records(
    path: Path, tolerance: Tolerance | None = None
) -> Iterator[tuple[int, JsonObject]]:
    """Yield the line on which each record begins, and the record.

    Args:
        path: the file.
        tolerance: told of empty lines among records of one line each; None lets them pass.

    Raises:
        ValueError: with file and line, if the file is malformed or a record is no object.
    """
    values = iter_json_objects(path, tolerance)
    head = list(islice(values, 2))
    yield from chain(_unwrapped(head), values)


def iter_json_objects(
    path: Path, tolerance: Tolerance | None = None
) -> Iterator[tuple[int, JsonObject]]:
    """Yield as `iter_json_records` does, but {"data": [...]} as the object that it is."""
    tolerance = tolerance or Tolerance(path)
    lines = iter_lines(path)
    first = next(((number, line) for number, line in lines if not is_blank(line)), None)
    if first is None:
        return
    text = first[1].strip()
    if text.startswith("["):
        yield from ((line, _as_object(value, path, line)) for line, value in _array_values(path))
    elif text.startswith("{") and text.endswith(("{", "[", ",")):
        yield first[0], _as_object(read_json(path), path, first[0])
    else:
        tolerance.allow(EMPTY_LINES, f"{path}:1", first[0] - 1)
        for at, line in chain([first], lines):
            if is_blank(line):
                tolerance.allow(EMPTY_LINES, f"{path}:{at}")
            else:
                yield at, _as_object(parse_json(line, path, at), path, at)


def is_squad_shaped(path: Path) -> bool:
    """Tell whether a JSON file seems to hold articles with paragraphs, as SQuAD's do."""
    length = 0
    for _, line in iter_lines(path):
        if _PARAGRAPHS.search(line[: _HEAD - length]):
            return True
        length += len(line)
        if length >= _HEAD:
            break
    return False


def _unwrapped(head: list[tuple[int, Json]]) -> list[tuple[int, Json]]:
    """Return the records of {"data": [...]} where that is the only value, else the values."""
    if len(head) == 1 and isinstance(head[0][1], dict):
        line, value = head[0][0], head[0][1].get("data")
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return [(line, each) for each in value]
    return head


def _as_object(value: Json, path: Path, line: int) -> JsonObject:
    """Return a value that is a JSON object; ValueError with file and line if it is none."""
    if isinstance(value, dict):
        return value
    given = json.dumps(value, ensure_ascii=False)[:40]
    raise ValueError(f"{path}:{line}: must be a JSON object, got {given!r}")


def _array_values(path: Path) -> Iterator[tuple[int, Json]]:
    """Yield the line and value of each element of an array that fills the file."""
    text = _Reader(path)
    text.skip("[")
    while text.next_character() != "]":
        yield text.line, text.value()
        if text.next_character() != "]":
            text.skip(",")
            if text.next_character() == "]":
                raise text.error("a value must follow the comma")
    text.skip("]")
    if text.next_character():
        raise text.error("something follows the array")


class _Reader:
    """Reads values of a JSON file one after the other, with little more than one in memory.

    Attributes:
        line: the line of the next character.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.line = path, 1
        self._lines = iter_lines(path)
        self._text, self._place, self._has_more = "", 0, True

    def next_character(self) -> str:
        """Return the next character that is no white space, "" at the end of the file."""
        while True:
            end = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if end > self._place:
                self._advance(end)
            if self._place < len(self._text) or not self._has_more:
                return self._text[self._place : self._place + 1]
            self._grow()

    def skip(self, character: str) -> None:
        """Pass a character; ValueError if another comes."""
        if self.next_character() != character:
            raise self.error(f"expecting {character!r}")
        self._advance(self._place + 1)

    def value(self) -> Json:
        """Return the next value."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
                _check_surrogates(self._text[self._place : end], value)
            except (ValueError, RecursionError) as error:
                if not self._has_more:
                    raise self._precise(error) from error
                self._grow()
            else:
                self._advance(end)
                return value

    def error(self, what: str) -> ValueError:
        """Return an error at the next character."""
        return ValueError(f"{self.path}:{self.line}: malformed JSON: {what}")

    def _precise(self, error: ValueError | RecursionError) -> ValueError:
        if not isinstance(error, json.JSONDecodeError):
            return _located(error, self.path, self.line)
        self._advance(error.pos)
        return self.error(error.msg)

    def _advance(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _grow(self) -> None:
        """Read on, so that what is not yet read of the file doubles."""
        parts, length = [self._text[self._place :]], 0
        wanted = max(_PIECE, len(parts[0]))
        while length < wanted and self._has_more:
            line = next(self._lines, None)
            self._has_more = line is not None
            if line is not None:
                parts.append(line[1] + "\n")
                length += len(parts[-1])
        self._text, self._place = "".join(parts), 0


def _check_surrogates(text: str, value: Json) -> None:
    """Raise UnicodeEncodeError if a text of a value holds half of a surrogate pair."""
    if "\\u" in text and _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()


def _located(error: ValueError | RecursionError, path: Path, line: int | None) -> ValueError:
    """Return what parsing JSON raised as an error with file and line."""
    where = f"{path}:{line}" if line else str(path)
    if isinstance(error, json.JSONDecodeError):
        where = f"{path}:{line or error.lineno}"
        return ValueError(f"{where}: malformed JSON: {error.msg}, column {error.colno}")
    if isinstance(error, UnicodeEncodeError):
        return ValueError(f"{where}: a text holds half of a surrogate pair: {error}")
    return ValueError(f"{where}: malformed JSON: {error}")  # too deep, a number of too many digits
