"""Calls of Milvus: tried again while that may help, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, TypeVar

from hybrid_fast.retrieval.stores.milvus import lite as milvus_lite
from hybrid_fast.retrieval.stores.milvus.packages import load_package, quiet
from hybrid_fast.retrieval.stores.milvus.places import MilvusPlace

TIMEOUT = 60.0
RETRIES = 5
TOKEN_VARIABLE = "MILVUS_TOKEN"
_CONNECT_TIMEOUT = 10.0
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 16.0
_LONGEST_TIME = 120.0  # pymilvus itself tries until the timeout where nobody listens
# Names of gRPC's states: those that pass, and those that a user or password explains.
_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")

Answer = TypeVar("Answer")


class MilvusCalls:
    """A connection to a server of Milvus, or to Milvus Lite, whose file it opens.

    Every call may be made twice: when no answer came in time, nobody knows whether it was done.

    Attributes:
        place: of the store.
        lite: whether Milvus Lite answers, which can do less.
    """

    def __init__(
        self,
        place: MilvusPlace,
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
    ) -> None:
        """Connect.

        Args:
            place: of the store.
            token: USER:PASSWORD or an API key; default the variable MILVUS_TOKEN.
            timeout: seconds that an answer may take.
            retries: how often a call is tried again at most, after a wait that doubles from half a
                second; no try begins more than two minutes after the first.

        Raises:
            ConnectionError: there is no answer.
            PermissionError: the server refuses the token.
            BlockingIOError: another process has the file.
            ValueError: a number is out of range.
            ImportError: the extra "milvus" is not installed.
        """
        _check_numbers(timeout, retries)
        self.place, self._timeout, self._retries = place, timeout, retries
        self._errors = (
            load_package("pymilvus").exceptions.MilvusException,
            load_package("grpc").RpcError,
        )
        self._client: Any = None
        self._closed = False
        uri = place.uri if place.file is None else milvus_lite.serve(place.file)
        try:
            self._client = self._insist("connect", lambda: self._connect(uri, token))
            self.lite = "lite" in self("get_server_version")
        except BaseException:
            self.close()
            raise

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of `pymilvus.MilvusClient`.

        Raises:
            ConnectionError: there is no answer.
            PermissionError: the server refuses the token.
            OSError: the server cannot do it.
        """
        if self._closed:
            raise ValueError(f"{self.place.address} is closed; open it again")
        method = getattr(self._client, name)
        return self._insist(name, lambda: method(*args, timeout=self._timeout, **kwargs))

    def close(self) -> None:
        """Close the connection, and the file of Milvus Lite; again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._client is not None:
            self._client.close()
        if self.place.file is not None:
            milvus_lite.release(self.place.file)

    def _connect(self, uri: str, token: str | None) -> Any:
        options: dict[str, Any] = {"token": str(token or os.environ.get(TOKEN_VARIABLE, ""))}
        if self.place.file is not None:  # what goes to this machine goes through no proxy
            options = {"grpc_options": {"grpc.enable_http_proxy": 0}}
        return load_package("pymilvus").MilvusClient(
            uri, dedicated=True, timeout=min(self._timeout, _CONNECT_TIMEOUT), **options
        )

    def _insist(self, name: str, call: Callable[[], Answer]) -> Answer:
        start, wait = monotonic(), _FIRST_WAIT
        for tries in range(1, self._retries + 2):
            try:
                with quiet():
                    return call()
            except self._errors as error:
                if not _may_pass(error):
                    raise self._refusal(name, error) from error
                seconds = monotonic() - start
                if tries > self._retries or seconds > _LONGEST_TIME:
                    raise self._silence(name, tries, seconds, error) from error
            sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        raise AssertionError("the last try returns or raises")

    def _refusal(self, name: str, error: Exception) -> OSError:
        reason = _reason(error)
        if _state(error) in _REFUSED:
            return PermissionError(
                f"{self.place.server} refuses this user ({reason}); set {TOKEN_VARIABLE} to "
                "USER:PASSWORD or an API key that may use it"
            )
        return OSError(f"Milvus at {self.place.server} cannot {name.replace('_', ' ')}: {reason}")

    def _silence(self, name: str, tries: int, seconds: float, error: Exception) -> ConnectionError:
        return ConnectionError(
            f"Milvus at {self.place.server} does not answer: {name.replace('_', ' ')} was tried "
            f"{tries} times in {seconds:.0f} s, at last with {_reason(error)}; see that it runs "
            "and can be reached from here, or allow a longer timeout or more retries"
        )


def _check_numbers(timeout: object, retries: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout is {timeout!r}; seconds above 0 are needed")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries is {retries!r}; 0 or a higher number is needed")


def _may_pass(error: Exception) -> bool:
    """Tell whether the same call may succeed later."""
    state = _state(error)
    if state:
        return state in _PASSING
    rate_limit = load_package("pymilvus").exceptions.ErrorCode.RATE_LIMIT
    return getattr(error, "code", None) == rate_limit or getattr(error, "retriable", False)


def _state(error: BaseException) -> str:
    """Return the name of gRPC's state, "" if the server answered with an error of its own."""
    found = _rpc_error(error)
    return found.code().name if found is not None else ""


def _reason(error: Exception) -> str:
    found = _rpc_error(error)
    if found is not None:
        return f"{found.code().name}: {found.details()}"
    return str(getattr(error, "message", "") or error)


def _rpc_error(error: BaseException) -> Any:
    """Return the error of gRPC behind an error of pymilvus, which names some as their own cause."""
    cause = error.__cause__
    while cause is not None and cause is not error:
        error, cause = cause, cause.__cause__
    return error if isinstance(error, load_package("grpc").RpcError) else None
