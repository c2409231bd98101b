"""Files with one byte changed, or cut off: what is not noticed must not matter."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """Yield copies with one byte changed or the end cut off, some hundreds if it is long."""
    generator = random.Random(0)
    places = range(len(content))
    for place in places if len(content) <= count else sorted(generator.sample(places, count)):
        flipped = bytearray(content)
        flipped[place] ^= generator.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
        yield bytes(flipped)
    for length in sorted(generator.sample(places, min(len(content), count // 4))):
        yield content[:length]


def assert_damage_is_noticed(path: Path, load: Callable[[], Any], count: int = 250) -> None:
    """Check that `load` raises ValueError for a damaged file, or gives what was saved."""
    content, saved = path.read_bytes(), load()
    noticed = [
        error for each in mutations(content, count) if (error := _error(path, each, load, saved))
    ]
    assert len(noticed) > count // 5
    assert {type(error) for error in noticed} == {ValueError}
    assert all(str(path) in str(error) and "remove" in str(error) for error in noticed)
    assert _error(path, b"", load, saved) is not None
    path.write_bytes(content)


def _error(path: Path, content: bytes, load: Callable[[], Any], saved: Any) -> ValueError | None:
    size = path.write_bytes(content)
    try:
        loaded = load()
    except ValueError as error:
        return error
    assert loaded == saved, f"{size} bytes"
    return None
