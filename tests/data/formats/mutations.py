"""Damaged copies of small files: what a disk, a transfer or an editor does to them."""

import random

PIECES = (*(bytes([each]) for each in b'\n\t"{]\\\r\x00\xff'), b"\xef\xbb\xbf", b"9" * 30)


def refusal(parse, path):
    """Return the message with which a parser refuses a file, None if it takes it."""
    try:
        parse(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Return a copy with one to three faults."""
    for _ in range(chance.randint(1, 3)):
        content = chance.choice([_flip, _delete, _insert, _truncate, _swap, _repeat])(
            content, chance
        )
    return content


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return content
    place = chance.randrange(len(content))
    flipped = content[place] ^ (1 << chance.randrange(8))
    return content[:place] + bytes([flipped]) + content[place + 1 :]


def _span(content: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randint(0, len(content))
    return start, min(len(content), start + chance.choice([1, 2, 8, 40]))


def _delete(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + content[end:]


def _insert(content: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(content))
    return content[:place] + chance.choice(PIECES) + content[place:]


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randint(0, len(content))]


def _swap(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return (
        content[:start]
        + content[end : 2 * end - start]
        + content[start:end]
        + content[2 * end - start :]
    )


def _repeat(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:end] + content[start:end] + content[end:]
