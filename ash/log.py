"""Structured logs on stderr: readable on a terminal, JSON lines otherwise.

An event's name is a fixed word, its `action`: `log.info("session.created", session_id=…)`.
Logs are an interface, so what varies goes into the fields.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from ash.errors import AshError

# A line for each request, with its URL, is not for the daemon's log.
_TOO_CHATTY = ("httpx", "httpcore")

_HIDDEN = "***"
# The last word of a name decides: `api_key` and `Authorization` are secret, `key_prefix` and
# `input_tokens` are not.
_SECRET_NAME = re.compile(
    r"(^|[_-])(key|secret|token|ticket|password|authorization|cookie|custom_headers)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<before>\bbearer\s+|\bsk-ant-|\bash_(?=[\w-]{32})|[?&]ticket=)[^\s\"'&,;]+",
    re.IGNORECASE,
)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Sets structlog up, and routes the standard library's logging through it.

    `level` and `form` are `log_level` and `log_format` of the settings. Hypercorn takes part
    when its config's `errorlog` is `logging.getLogger("hypercorn.error")`: from a name it
    would make a handler of its own.
    """
    out = stream or sys.stderr
    terminal = out.isatty()
    readable = form == "console" or (form == "auto" and terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_time,
            _put_in_words,
            structlog.processors.format_exc_info,
            redact,
            *_render(readable=readable, colors=terminal),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Tolerant(out))),
        cache_logger_on_first_use=False,
    )
    for name in _TOO_CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.root.handlers = [_ToStructlog()]
    logging.root.setLevel(level.upper())


def get_logger() -> structlog.stdlib.BoundLogger:
    """structlog's, once somebody has set that up; else the standard library's, named `ash`.

    A script that embeds ash decides where logs go: by itself structlog writes to stdout.
    """
    return cast("structlog.stdlib.BoundLogger", _Logger())


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides what a name or the text itself gives away as a secret, at any depth."""
    return {name: _clean(name, value) for name, value in event.items()}


def _put_in_words(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A failure that has words for its caller needs no stack: they say what to do."""
    given = event.get("exc_info")
    error = sys.exc_info()[1] if given is True else given
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, AshError):
        event["exc_info"] = None
        event["why"] = error.text
        if error.__cause__ is not None:
            event["cause"] = repr(error.__cause__)
    return event


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, str | bytes) and _SECRET_NAME.search(name):
        return _HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\g<before>{_HIDDEN}", value)
    if isinstance(value, Mapping):
        return {key: _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(name, inner) for inner in value]
    return value


def _add_time(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    event["timestamp"] = now.replace("+00:00", "Z")
    return event


def _render(*, readable: bool, colors: bool) -> list[Processor]:
    if readable:
        # Values are quoted: what an agent printed must not write to the terminal by itself.
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors,
                repr_native_str=True,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    return [_head_first, structlog.processors.JSONRenderer()]


def _head_first(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    head = {"timestamp": event.pop("timestamp"), "level": event.pop("level")}
    return {**head, "action": event.pop("event"), **event}


def _as_record(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """What a logger of the standard library is called with: one line, and the exception."""
    action, exc_info = event.pop("event"), event.pop("exc_info", None)
    fields = (f"{name}={value!r}" for name, value in event.items())
    return (" ".join([action, *fields]),), {"exc_info": exc_info}


_standard = structlog.wrap_logger(
    logging.getLogger("ash"),
    processors=[redact, _as_record],
    wrapper_class=structlog.stdlib.BoundLogger,
)


class _Logger:
    """Decides at each call: what is imported first must not matter."""

    def __getattr__(self, name: str) -> Any:
        log = structlog.get_logger() if structlog.is_configured() else _standard
        return getattr(log, name)


class _Tolerant:
    """A log whose disk is full must not end those who log: they have more important things to do.

    What could not be written is lost, or is written when there is room again.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._out.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._out.flush()


class _ToStructlog(logging.Handler):
    """Brings records of other packages into the pipeline; their logger's name is the action."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger()
            log.log(record.levelno, record.name, text=record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a record that can't be shown must not end its caller
            self.handleError(record)
