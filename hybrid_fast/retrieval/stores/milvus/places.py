"""Where a store in Milvus is: a file of Milvus Lite or a server, and the name of its collection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from hybrid_fast.common.paths import expanded

DEFAULT_COLLECTION = "hybrid_fast"
_PORT = 19530
_SECURE_PORT = 443
# Milvus allows 255 characters; the rest is for a collection that is to replace another.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,239}")
_FORMS = "FILE.db or http://HOST:19530, either with /COLLECTION behind it"


class MilvusPlace(NamedTuple):
    """A collection of Milvus.

    Attributes:
        uri: of the server; "" where Milvus Lite is to serve a file.
        file: of Milvus Lite, a folder whose name ends in ".db"; None for a server.
        collection: its name.
    """

    uri: str
    file: Path | None
    collection: str

    @property
    def server(self) -> str:
        """The file or the server, for messages."""
        return self.uri or str(self.file)

    @property
    def address(self) -> str:
        """What `open_store` opens it by."""
        name = "" if self.collection == DEFAULT_COLLECTION else f"/{self.collection}"
        return f"milvus:{self.server}{name}"


def find_place(place: str) -> MilvusPlace:
    """Read the place of an address.

    Args:
        place: what follows "milvus:".

    Raises:
        ValueError: it has none of the known forms, or holds a password.
    """
    if "://" in place:
        return _find_server(place)
    file, name = place, DEFAULT_COLLECTION
    if not place.endswith(".db") and ".db/" in place:
        file, _, name = place.rpartition("/")
    if not file.endswith(".db"):
        raise ValueError(f"milvus:{place} is no place of Milvus; {_FORMS} is needed")
    return MilvusPlace("", expanded(file).absolute(), _checked_name(name, place))


def _find_server(place: str) -> MilvusPlace:
    url = urlsplit(place)
    if url.username is not None or url.password is not None:
        raise ValueError(
            f"the address of {url.hostname} holds a user or a password, which addresses are "
            "printed with; set MILVUS_TOKEN to USER:PASSWORD or an API key instead"
        )
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError(f"milvus:{place} is no place of Milvus; {_FORMS} is needed")
    name = url.path.strip("/") or DEFAULT_COLLECTION
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    port = _port(url, place)
    return MilvusPlace(f"{url.scheme}://{host}:{port}", None, _checked_name(name, place))


def _port(url: SplitResult, place: str) -> int:
    try:
        return url.port or (_SECURE_PORT if url.scheme == "https" else _PORT)
    except ValueError as error:
        raise ValueError(f"milvus:{place} has no valid port: {error}") from None


def _checked_name(name: str, place: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"milvus:{place} names the collection {name!r}; up to 240 letters, digits and "
            "underscores are allowed, and a digit must not come first"
        )
    return name
