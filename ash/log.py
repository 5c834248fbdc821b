"""Structured logs on stderr: readable on a terminal, JSON lines otherwise.

Each line has an `action`, a noun and a verb: `log.info("session.recovered", session=…)`. Actions
and fields are an interface, listed in docs/running.md. What varies goes into the fields.
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

# These loggers write a line with the URL for each request, which is too much for the daemon's log.
_TOO_CHATTY = ("httpx", "httpcore")

_HIDDEN = "***"
# The last word of a field's name decides: `api_key` and `Authorization` are secret, `key_prefix`
# and `input_tokens` are not.
_SECRET_NAME = re.compile(
    r"(^|[_-])(key|secret|token|ticket|password|authorization|cookie|custom_headers)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<before>\bbearer\s+|\bsk-ant-|\bash_(?=[\w-]{32})|[?&]ticket=)[^\s\"'&,;]+",
    re.IGNORECASE,
)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Sets structlog up, and sends the standard library's logging through it.

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
    """A logger that writes to structlog if that is configured, else to `logging.getLogger("ash")`.

    So a script that embeds ash decides where its log goes. An unconfigured structlog would write
    to stdout.
    """
    return cast("structlog.stdlib.BoundLogger", _Logger())


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides secrets at any depth: fields whose name says so, and texts that look like one."""
    return {name: _clean(name, value) for name, value in event.items()}


def _put_in_words(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Logs an AshError as its text, without the stack: the text says what to do."""
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
        # Values are quoted, so that escape codes in an agent's output don't reach the terminal.
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
    """The arguments for a logger of the standard library: one line of text, and the exception."""
    action, exc_info = event.pop("event"), event.pop("exc_info", None)
    fields = (f"{name}={value!r}" for name, value in event.items())
    return (" ".join([action, *fields]),), {"exc_info": exc_info}


_standard = structlog.wrap_logger(
    logging.getLogger("ash"),
    processors=[redact, _as_record],
    wrapper_class=structlog.stdlib.BoundLogger,
)


class _Logger:
    """Chooses the logger at each call, as structlog may be configured after ash is imported."""

    def __getattr__(self, name: str) -> Any:
        log = structlog.get_logger() if structlog.is_configured() else _standard
        return getattr(log, name)


class _Tolerant:
    """Ignores errors of the log's own disk, so that a full one does not end whoever logs.

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
    """Passes records of other packages to structlog, with their logger's name as the action."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger()
            log.log(record.levelno, record.name, text=record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a record that can't be shown must not end its caller
            self.handleError(record)
