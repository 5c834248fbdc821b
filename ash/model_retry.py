"""Reads what the CLI says of a model call that it tries again."""

import msgspec
from msgspec import Struct

from ash.protocol import with_whole_characters


class Retry(Struct, frozen=True):
    """The CLI tries a model call again: for the n-th time, of so many, after a pause."""

    attempt: int = 0
    of: int | None = None
    status: int | None = None
    pause_ms: int | None = None


class _Retry(Struct, rename={"of": "max_retries", "status": "error_status"}):
    attempt: int = 0
    of: int | None = None
    status: int | None = None
    retry_delay_ms: float | None = None


_decode_retry = msgspec.json.Decoder(_Retry).decode


def read_retry(raw: bytes | memoryview) -> Retry:
    """From a system message `api_retry`, of whatever shape."""
    try:
        said = _decode_retry(with_whole_characters(raw))
    except msgspec.DecodeError:
        return Retry()
    pause = None if said.retry_delay_ms is None else round(said.retry_delay_ms)
    return Retry(said.attempt, said.of, said.status, pause)
